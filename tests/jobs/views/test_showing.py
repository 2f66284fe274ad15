"""The page of a job that failed: why, the lines that show it, what it costs, and what could help."""

from __future__ import annotations

import html
import re
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from portal.accounts.models import Project, User
from portal.accounts.roles import Role
from portal.catalog.models import Price
from portal.jobs.diagnosis import Diagnosis, Line
from portal.jobs.failure_rules import Cause
from portal.jobs.models import Job
from portal.jobs.states import FailureClass
from tests.factories import (
    JobFactory,
    LogChunkFactory,
    MembershipFactory,
    OfferingFactory,
    PriceFactory,
    ProviderAccountFactory,
)

OUT_OF_MEMORY = Diagnosis(
    FailureClass.OUT_OF_MEMORY, Cause.CUDA_OUT_OF_MEMORY, "", (Line(3, "CUDA out of memory. <b>Tried</b>"),)
)


@pytest.fixture
def price(db: None) -> Price:
    price = PriceFactory(offering=OfferingFactory(slug="small", gpu_memory_gb=32, name_en="Small"))
    ProviderAccountFactory(provider=price.offering.provider)
    PriceFactory(offering=OfferingFactory(slug="large", gpu_memory_gb=80, name_en="Large"), amount="0.50")
    return price


def failed(project: Project, person: User, price: Price, diagnosis: Diagnosis | None, **fields: Any) -> Job:
    now = timezone.now()
    values = {
        "state": "failed",
        "failure": diagnosis.failure if diagnosis else "",
        "diagnosis": diagnosis.stored() if diagnosis else {},
        "started_at": now - timedelta(minutes=10),
        "ended_at": now,
        "cost": 168,
        "log_lines": 3,
        **fields,
    }
    job = JobFactory(project=project, submitted_by=person, price=price, **values)
    LogChunkFactory(job=job, line_count=3, text="a\nb\nCUDA out of memory. <b>Tried</b>")
    return job


def words_of(page: str, part: str) -> str:
    """The text of one part of the page, without marks."""
    found = re.search(rf"<{part}.*?</(?:section|ul)>", page, re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", found[0])).split()) if found else ""


def test_the_page_says_why_shows_the_lines_and_what_is_charged(client_of, member, project, price) -> None:
    job = failed(project, member, price, OUT_OF_MEMORY)
    page = client_of(member, "en").get(f"/jobs/{job.code}/").content.decode()
    assert "The program needed more GPU memory than one GPU of this plan has." in page
    assert "Your program ended with an error." not in page
    assert words_of(page, 'ul class="shows"') == "Line 3 CUDA out of memory. <b>Tried</b>"
    assert f'<a class="mono" href="/jobs/{job.code}/?line=3#L3">' in page
    assert 'id="L3"' in page  # what the link leads to
    assert "You are charged ¥168 (tax incl.) for the time it ran, whatever the cause." in page


def test_cures_are_links_to_the_filled_form_with_what_they_cost(client_of, member, project, price) -> None:
    job = failed(project, member, price, OUT_OF_MEMORY)
    page = client_of(member, "en").get(f"/jobs/{job.code}/").content.decode()
    assert words_of(page, 'section class="card mt-4" aria-labelledby="cures-h"') == (
        "What could help A copy of the job, filled in; nothing starts yet"
        " A GPU with more memory Large, 80 GB up to ¥1,800 Correct it in a copy up to ¥1,000"
    )
    link = html.unescape(re.search(r'<a href="(/jobs/new/\?copy[^"]+cap=most)">', page)[1])
    form = client_of(member, "en").get(link)
    assert [form.context["form"][name].value() for name in ("name", "offering", "cost_cap")] == [
        job.name,
        "large",
        1800,
    ]


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"started_at": None, "cost": 0}, "Nothing is charged: it never began to run."),
        ({"cost": 0}, "Nothing is charged: the time it ran costs less than a yen."),
        ({"failure": "machine"}, "You are charged ¥168 (tax incl.) for the time it ran, whatever the cause."),
        (
            {"failure": "portal_fault"},
            "You are charged ¥168 (tax incl.) for the time it ran. If you think that the portal or its storage was at"
            " fault, tell our support the job's code: people look at it and decide whether it is given back.",
        ),
    ],
)
def test_who_pays_is_said_as_it_was_charged(client_of, member, project, price, fields, sentence) -> None:
    job = failed(project, member, price, Diagnosis(FailureClass.PROGRAM, Cause.PROGRAM_ERROR), **fields)
    assert sentence in client_of(member, "en").get(f"/jobs/{job.code}/").content.decode()


def test_who_may_not_submit_is_offered_nothing(client_of, member, project, organization, price) -> None:
    job = failed(project, member, price, OUT_OF_MEMORY)
    viewer = MembershipFactory(organization=organization, project=project, role=Role.VIEWER).user
    page = client_of(viewer, "en").get(f"/jobs/{job.code}/").content.decode()
    assert ("The program needed more GPU memory" in page, "What could help" in page) == (True, False)


@pytest.mark.parametrize("state", ["succeeded", "cancelled", "running"])
def test_a_job_that_has_not_failed_has_no_cures(client_of, member, project, price, state) -> None:
    wished = {"failure": "over_budget"} if state == "running" else {}
    job = failed(project, member, price, None, state=state, **wished)
    assert "What could help" not in client_of(member, "en").get(f"/jobs/{job.code}/").content.decode()


def test_cures_cost_the_page_one_statement(client_of, member, project, price) -> None:
    client = client_of(member, "en")

    def statements(job: Job) -> list[str]:
        client.get(f"/jobs/{job.code}/")  # what a process remembers of a job that has ended
        with CaptureQueriesContext(
            connection,
        ) as counted:
            client.get(f"/jobs/{job.code}/")
        return [one["sql"] for one in counted.captured_queries]

    stopped = statements(failed(project, member, price, None, state="cancelled"))
    with_cures = statements(failed(project, member, price, OUT_OF_MEMORY))
    assert len(with_cures) == len(stopped) + 1


def test_a_poll_that_sees_the_end_brings_the_cures(client_of, member, project, price) -> None:
    job = failed(project, member, price, OUT_OF_MEMORY)
    headers = {"HX-Request": "true", "HX-Request-Type": "partial"}
    fragment = client_of(member, "en").get(f"/jobs/{job.code}/", headers=headers).content.decode()
    assert '<div id="job-cures" hx-swap-oob="outerMorph"><section' in fragment


def test_a_job_that_has_not_ended_says_what_it_will_likely_cost(client_of, member, project, price) -> None:
    past = [JobFactory(project=project, price=price, state="succeeded", gpu_seconds=s) for s in (100, 200, 300, 400)]
    job = JobFactory(project=project, price=price, submitted_by=member)
    client = client_of(member, "en")
    row = r"<dt>Low / likely / high</dt><dd>(.*?)</dd>"
    unsaid = re.search(row, client.get(f"/jobs/{job.code}/").content.decode(), re.DOTALL)
    past.append(JobFactory(project=project, price=price, state="succeeded", gpu_seconds=500))
    job = JobFactory(project=project, price=price, submitted_by=member)
    page = client.get(f"/jobs/{job.code}/").content.decode()
    said = re.search(row, page, re.DOTALL)
    Job.objects.filter(pk=job.pk).update(state="succeeded", cost=84, version=2)
    ended = client.get(f"/jobs/{job.code}/").content.decode()
    assert [" ".join(re.sub(r"<[^>]+>", " ", found[1]).split()) for found in (unsaid, said) if found] == [
        "¥16 / not known yet / ¥1,000 only 4 jobs like this have succeeded in this project, too few to tell",
        "¥28 / ¥84 / ¥1,000 cheapest and middle of the last 5 jobs like this in this project (template, plan, GPUs),"
        " and what is set aside",
    ]
    assert "Low / likely / high" not in ended
