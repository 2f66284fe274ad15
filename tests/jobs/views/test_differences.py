"""The desk's pages of what statements and our records say differently."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from django.test import Client

from portal.audit.models import AuditEvent
from portal.usage.models import Difference
from tests.factories import DifferenceFactory, StaffFactory


@pytest.fixture
def different(db: None) -> Difference:
    return DifferenceFactory(subject="abcdefghjkmn")


@pytest.fixture
def desk(db: None, desk_of: Callable[..., Client]) -> Client:
    return desk_of(StaffFactory(), "en")


def cells(client: Client, url: str) -> list[list[str]]:
    """The rows of all tables of the page."""
    rows = re.findall(r"<tr>(.*?)</tr>", client.get(url).content.decode(), re.DOTALL)
    return [
        [" ".join(re.sub(r"<[^>]+>", " ", cell).split()) for cell in re.findall(r"<t[hd].*?</t[hd]>", row, re.DOTALL)]
        for row in rows
    ]


def test_what_nobody_has_decided_is_listed_with_both_figures(desk: Client, different: Difference) -> None:
    assert cells(desk, "/desk/usage/")[1:] == [
        [
            "Tue 24 Nov",
            f"S SAKURA {different.account}",
            "One job, in GPU-seconds abcdefghjkmn",
            "2,000",
            "2,200",
            "200",
            "Open",
        ]
    ]  # fmt: skip
    assert cells(desk, "/desk/usage/?decided=1") == []


def test_a_difference_shows_the_lines_of_the_statement(desk: Client, different: Difference) -> None:
    found = cells(desk, f"/desk/usage/{different.pk}/")
    assert found[1:3] == [["abcdefghjkmn", "Tue 24 Nov 12:00", "2,200"], ["Total", "2,200"]]


def test_a_person_decides_once_with_a_reason_and_no_figure_changes(desk: Client, different: Difference) -> None:
    url = f"/desk/usage/{different.pk}/"
    unsaid = desk.post(url, {"state": "explained", "reason": " "})
    told = desk.post(url, {"state": "explained", "reason": "their clock"})
    again = desk.post(url, {"state": "accepted", "reason": "other"})
    assert [(answer.status_code, "Say why." in answer.content.decode()) for answer in (unsaid, told, again)] == [
        (422, True), (302, False), (302, False),
    ]  # fmt: skip
    row = Difference.objects.get()
    assert (row.state, row.reason, row.ours, row.theirs) == ("explained", "their clock", 2000, 2200)
    assert AuditEvent.objects.filter(act="difference.decided").count() == 1
    assert cells(desk, "/desk/usage/") == []
    [_header, decided] = cells(desk, "/desk/usage/?decided=1")
    assert decided[-1].startswith("Explained their clock (")
    assert "Keep the decision" not in desk.get(url).content.decode()


def test_the_list_says_that_there_is_more(desk: Client, different: Difference) -> None:
    DifferenceFactory.create_batch(50, account=different.account)
    assert len(cells(desk, "/desk/usage/")) == 1 + 50
    assert "Only the newest are shown." in desk.get("/desk/usage/").content.decode()
