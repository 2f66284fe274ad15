"""The list of jobs for people who have many: filters in the URL, its CSV, and the boxes to choose by."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from portal.accounts.models import Organization, Project, User
from portal.accounts.roles import Role
from portal.jobs.models import Job
from portal.jobs.states import JobState
from tests.factories import JobFactory, MembershipFactory, PriceFactory, ProjectFactory

HEADER = (
    "Code,Job,Project,State,Reason,Provider,Plan,GPUs,Person,Created,Started,Ended,Run time (s),GPU time (s),"
    '"Cost (yen, tax incl.)"'
)


def names(page: Any) -> list[str]:
    return re.findall(r'class="name" href="[^"]+">([^<]+)</a>', page.content.decode())


def rows_of(response: Any) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(b"".join(response.streaming_content).decode("utf-8-sig"))))


@pytest.fixture
def dated(project: Project) -> None:
    """One at the last second of the 9th in Japan, one at the first of the 10th, one on the 11th."""
    price = PriceFactory()
    for name, at in (
        ("ninth", datetime(2026, 11, 9, 14, 59, 59, tzinfo=UTC)),
        ("tenth", datetime(2026, 11, 9, 15, 0, 0, tzinfo=UTC)),
        ("eleventh", datetime(2026, 11, 11, 3, 0, 0, tzinfo=UTC)),
    ):
        JobFactory(project=project, price=price, name=name, submitted_at=at)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("since=2026-11-10", ["eleventh", "tenth"]),
        ("until=2026-11-10", ["tenth", "ninth"]),
        ("since=2026-11-10&until=2026-11-10", ["tenth"]),
        ("since=2026-11-11&until=2026-11-10", []),
        ("since=never&until=0001-01-01", ["eleventh", "tenth", "ninth"]),
        ("since=9999-12-31", ["eleventh", "tenth", "ninth"]),
    ],
)
@pytest.mark.usefixtures("dated")
def test_days_of_the_filter_are_days_in_japan(
    query: str, expected: list[str], client_of: Callable[..., Client], member: User
) -> None:
    assert names(client_of(member).get(f"/jobs/?{query}")) == expected
    assert [row["ジョブ"] for row in rows_of(client_of(member).get(f"/jobs/jobs.csv?{query}"))] == expected


def test_the_csv_has_what_the_list_shows_with_units_and_nothing_of_others(
    client_of: Callable[..., Client], member: User, project: Project
) -> None:
    price = PriceFactory()
    ended = JobFactory(
        project=project, price=price, name="=1+1", submitted_by=member, state=JobState.FAILED, failure="program",
        submitted_at=datetime(2026, 11, 9, 0, 0, tzinfo=UTC), started_at=datetime(2026, 11, 9, 0, 1, tzinfo=UTC),
        ended_at=datetime(2026, 11, 9, 0, 3, tzinfo=UTC), gpus=2, gpu_seconds=240, cost=67,
    )  # fmt: skip
    JobFactory(project=project, price=price, name="succeeded", state=JobState.SUCCEEDED)
    JobFactory(name="of others", state=JobState.FAILED)
    JobFactory(project=ProjectFactory(organization=project.organization), price=price, state=JobState.FAILED)

    response = client_of(member, language="en").get(f"/jobs/jobs.csv?state=failed&project={project.code}")

    assert response["Content-Disposition"] == 'attachment; filename="jobs.csv"'
    [row] = rows_of(response)
    assert list(row) == next(csv.reader([HEADER]))
    assert list(row.values()) == [
        ended.code, "'=1+1", project.name, "Failed", "The program ended with an error",
        price.offering.provider.short_en, price.offering.name_en, "2", str(member),
        "2026-11-09T09:00:00+09:00", "2026-11-09T09:01:00+09:00",
        "2026-11-09T09:03:00+09:00", "120", "240", "67",
    ]  # fmt: skip


@pytest.mark.parametrize("role", [Role.OWNER, Role.MEMBER])
def test_the_csv_takes_the_same_statements_for_one_job_and_for_many(
    role: Role, client_of: Callable[..., Client], organization: Organization, project: Project
) -> None:
    client = client_of(MembershipFactory(organization=organization, role=role).user)
    price, counts = PriceFactory(), []
    for _more in range(2):
        for _job in range(30):
            JobFactory(project=project, price=price)
        with CaptureQueriesContext(connection) as asked:
            assert len(rows_of(client.get("/jobs/jobs.csv"))) == Job.objects.count()
        counts.append(len(asked))
    assert counts[0] == counts[1] <= 10


def test_each_row_has_a_box_of_the_form_that_acts_on_the_chosen(
    client_of: Callable[..., Client], member: User, project: Project
) -> None:
    job = JobFactory(project=project, name="mine")
    page = client_of(member, language="en").get("/jobs/?state=active").content.decode()
    assert re.findall(r'<input type="checkbox" id="([^"]+)" name="job" value="([^"]+)" form="chosen">', page) == [
        (f"c-{job.code}", job.code)
    ]
    form = re.search(r'<form class="actions" id="chosen" method="get" action="/jobs/compare/".*?</form>', page, re.S)
    assert form is not None
    assert re.findall(r'name="(\w+)" value="([^"]+)"', form[0]) == [
        ("state", "active"), ("project", project.code), ("all", "1"), ("all", "1"),
    ]  # fmt: skip
    assert re.findall(r'formaction="([^"]+)"', form[0]) == [
        "/jobs/many/copy/", "/jobs/many/stop/", "/jobs/many/copy/", "/jobs/many/stop/",
    ]  # fmt: skip


def test_who_may_not_create_jobs_is_offered_to_compare_only(
    client_of: Callable[..., Client], viewer: User, project: Project
) -> None:
    JobFactory(project=project)
    page = client_of(viewer).get("/jobs/").content.decode()
    assert ('action="/jobs/compare/"' in page, "/jobs/many/" in page) == (True, False)


def test_the_link_to_the_csv_keeps_the_filters(
    client_of: Callable[..., Client], member: User, project: Project
) -> None:
    JobFactory(project=project, name="100% of all")
    asked = {"project": project.code, "since": "2026-01-01", "q": "100%"}
    page = client_of(member).get(f"/jobs/?{urlencode(asked)}&before=999999999").content.decode()
    assert f'href="/jobs/jobs.csv?{urlencode(asked).replace("&", "&amp;")}"' in page
