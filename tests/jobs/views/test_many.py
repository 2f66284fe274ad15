"""Acts on many jobs, through their pages: nothing happens before it is confirmed, and everything is told."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from portal.accounts.models import Organization, Project, User
from portal.billing.credits import grant_trial
from portal.catalog.models import Price, ProviderAccount
from portal.jobs.models import Job
from portal.jobs.offers import forget_offers
from portal.jobs.states import JobState
from tests.factories import (
    AttemptFactory,
    JobFactory,
    OfferingFactory,
    PriceFactory,
    ProviderAccountFactory,
    UserFactory,
)


@pytest.fixture
def price(organization: Organization) -> Price:
    price = PriceFactory(offering=OfferingFactory(slug="plan", containers=True), amount=1, minimum_s=0)
    ProviderAccountFactory(provider=price.offering.provider)
    grant_trial(organization, founder=UserFactory())
    forget_offers()
    return price


def hidden(page: Any) -> dict[str, list[str]]:
    form = re.search(r'<form method="post" action="/jobs/many/.*?</form>', page.content.decode(), re.S)
    assert form is not None
    said: dict[str, list[str]] = {}
    for name, value in re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', form[0]):
        said.setdefault(name, []).append(value)
    said.pop("csrfmiddlewaretoken", None)
    return said


def test_stopping_is_confirmed_first_and_says_what_stays(
    client_of: Callable[..., Client], member: User, project: Project, price: Price
) -> None:
    one, two = (JobFactory(project=project, price=price, submitted_by=member, image="a:1") for _job in range(2))
    account = ProviderAccount.objects.get()
    for job in (one, two):
        AttemptFactory(job=job, account=account)
    ended = JobFactory(project=project, price=price, submitted_by=member, state=JobState.FAILED)
    foreign = JobFactory(name="of others")
    client = client_of(member, language="en")

    page = client.get("/jobs/many/stop/", {"job": [two.code, one.code, ended.code, foreign.code, "J-gone"]})

    assert hidden(page) == {"job": [two.code, one.code]}
    text = page.content.decode()
    assert "2 jobs will be stopped" in text and "It has already ended." in text and "of others" not in text
    assert "2 of the chosen jobs do not exist or are not yours to see." in text
    assert set(Job.objects.filter(pk__in=[one.pk, two.pk]).values_list("state", flat=True)) == {"submitted"}

    for _sent in range(2):
        answer = client.post("/jobs/many/stop/", {**hidden(page), "job": [*hidden(page)["job"], foreign.code]})
        assert answer.status_code == 200 and "Done for 2 jobs" in answer.content.decode()
    states = dict(Job.objects.values_list("code", "state"))
    assert [states[job.code] for job in (one, two, ended, foreign)] == [
        "cancelled", "cancelled", "failed", "submitted",
    ]  # fmt: skip


def test_copies_are_confirmed_with_their_total_and_made_once(
    client_of: Callable[..., Client], member: User, project: Project, price: Price
) -> None:
    jobs = [
        JobFactory(project=project, price=price, image="a:1", cost_cap=cap, name=f"up to {cap}") for cap in (700, 800)
    ]
    client = client_of(member, language="en")

    page = client.get("/jobs/many/copy/", {"job": [job.code for job in jobs]})

    said = hidden(page)
    assert said == {"key": said["key"], "prices": [str(price.pk)], "job": [job.code for job in jobs]}
    assert re.findall(r'<td class="num">(?:<b>)?(¥[\d,]+)', page.content.decode()) == ["¥700", "¥800", "¥1,500"]
    assert Job.objects.count() == 2

    made = [
        re.findall(r'<a href="/jobs/([^/"]+)/">up to', client.post("/jobs/many/copy/", said).content.decode())
        for _sent in range(2)
    ]
    assert made[0] == made[1] and len(made[0]) == 2
    assert Job.objects.count() == 4
    assert set(Job.objects.filter(code__in=made[0]).values_list("name", "cost_cap")) == {
        ("up to 700", 700), ("up to 800", 800),
    }  # fmt: skip


@pytest.mark.parametrize("act", ["stop", "copy"])
def test_all_that_match_are_those_of_the_filters_and_at_most_a_hundred(
    act: str, client_of: Callable[..., Client], manager: User, project: Project, price: Price
) -> None:
    jobs = [JobFactory(project=project, price=price, image="a:1", cost_cap=1) for _job in range(3)]
    JobFactory(project=project, price=price, state=JobState.SUCCEEDED)
    Job.objects.bulk_create(
        JobFactory.build(
            project=project, organization=project.organization, submitted_by=manager, price=price, image="a:1",
            offering=price.offering, code=f"J-{n}", cost_cap=70, name="many",
        )
        for n in range(101)
    )  # fmt: skip
    client = client_of(manager, language="en")

    page = client.get(f"/jobs/many/{act}/", {"all": "1", "state": "active", "q": jobs[0].name})
    told = [*[job.code for job, _state, _cost in page.context["rows"]], *[r.job.code for r in page.context["refused"]]]
    assert (told, page.context["are_more"]) == ([jobs[0].code], False)

    page = client.get(f"/jobs/many/{act}/", {"all": "1", "state": "active"})
    assert len(page.context["rows"]) + len(page.context["refused"]) == 100
    assert "At most 100 jobs at once: these are the first 100." in page.content.decode()


@pytest.mark.parametrize("act", ["stop", "copy"])
@pytest.mark.parametrize("method", ["get", "post"])
def test_nothing_chosen_is_a_sentence(
    act: str, method: str, client_of: Callable[..., Client], member: User, project: Project
) -> None:
    page = getattr(client_of(member, language="en"), method)(f"/jobs/many/{act}/", {"job": ["J-gone", "\0"]})
    assert (page.status_code, "No job is chosen. Tick some in the list." in page.content.decode()) == (200, True)


def test_copies_count_as_submits_but_not_twice(
    client_of: Callable[..., Client], member: User, project: Project, price: Price, settings: Any
) -> None:
    settings.LIMITS = {**settings.LIMITS, "submit": 2}
    jobs = [JobFactory(project=project, price=price, image="a:1", cost_cap=70) for _job in range(3)]
    client = client_of(member)
    said = hidden(client.get("/jobs/many/copy/", {"job": [job.code for job in jobs[:2]]}))
    assert [client.post("/jobs/many/copy/", said).status_code for _sent in range(2)] == [200, 200]
    more = hidden(client.get("/jobs/many/copy/", {"job": [jobs[2].code]}))
    assert (client.post("/jobs/many/copy/", more).status_code, Job.objects.count()) == (429, 5)
