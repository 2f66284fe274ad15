"""Sweeps in the browser: the form that makes one, its page, stopping and trying again, without any script."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from portal.accounts.models import Project, User
from portal.billing.credits import grant_trial
from portal.catalog.models import Offering
from portal.jobs.models import Attempt, Job, Stop, Sweep, SweepTask
from portal.jobs.states import JobState
from tests.factories import JobFactory, OfferingFactory, PriceFactory, ProviderAccountFactory, SweepFactory, UserFactory


@pytest.fixture
def offering(db: None) -> Offering:
    offering = PriceFactory(offering=OfferingFactory(slug="dok-h100", name_en="DOK H100")).offering
    ProviderAccountFactory(provider=offering.provider)
    return offering


@pytest.fixture
def client(project: Project, owner: User, client_of: Any) -> Client:
    grant_trial(project.organization, founder=UserFactory())
    return client_of(owner, language="en")


def form(client: Client, **changed: str) -> dict[str, str]:
    page = client.get("/jobs/new/?template=empty").content.decode()
    key = re.search(r'name="key" value="([^"]+)"', page)
    assert key
    values = {
        "name": "search", "command": "echo $LR", "offering": "dok-h100", "gpus": "1", "time_amount": "10",
        "time_unit": "minutes", "cost_cap": "100", "key": key[1], "image": "python:3.11-slim",
        "parameters": "LR = 0.1, 0.01\nSEED = 1..2", "way": "grid",
    }  # fmt: skip
    return {**values, **changed}


def text_of(page: bytes) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", page.decode()).split())


def swept(project: Project, owner: User, count: int, **job: Any) -> Sweep:
    sweep = SweepFactory(project=project, submitted_by=owner, task_count=count, name="search")
    price = PriceFactory()
    for number in range(1, count + 1):
        made = JobFactory(project=project, submitted_by=owner, price=price, **job)
        SweepTask.objects.create(sweep=sweep, number=number, job=made, parameters={"LR": str(number)})
    return sweep


def test_the_form_with_parameters_makes_a_sweep(client: Client, offering: Offering) -> None:
    answer = client.post("/jobs/new/", form(client))
    sweep = Sweep.objects.get()
    assert (answer.status_code, answer["Location"]) == (302, f"/jobs/sweeps/{sweep.code}/")
    assert list(sweep.tasks.order_by("number").values_list("parameters", flat=True)) == [
        {"LR": lr, "SEED": seed} for lr in ("0.1", "0.01") for seed in ("1", "2")
    ]
    page = text_of(client.get(answer["Location"]).content)
    assert "0 of 4 tasks ended" in page and "LR SEED State" in page


def test_the_same_form_twice_is_one_sweep(client: Client, offering: Offering) -> None:
    values = form(client)
    first, second = client.post("/jobs/new/", values), client.post("/jobs/new/", values)
    assert (first["Location"], Job.objects.count()) == (second["Location"], 4)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"parameters": "N = 1..10001"}, "These parameters make 10,001 tasks; a sweep can have up to 10,000."),
        ({"parameters": "N"}, "Parameters, line 1: write NAME = value, value, … or NAME = 1..100."),
        ({"parameters": "A = 1", "environment": "A=2"}, "A is a parameter and a variable. Remove one of them."),
        ({"way": "both"}, "Choose how the parameters are read."),
        ({"parameters": "A = 1..1000", "cost_cap": "90000"}, "This exceeds the credit left"),
    ],
)
def test_what_cannot_be_is_said_and_nothing_is_stored(
    changed: dict[str, str], sentence: str, client: Client, offering: Offering
) -> None:
    answer = client.post("/jobs/new/", form(client, **changed))
    assert (answer.status_code, Job.objects.count()) == (422, 0)
    assert sentence in text_of(answer.content)
    if "parameters" in changed:
        assert changed["parameters"] in answer.content.decode()


def test_what_the_parameters_make_is_shown_with_the_quote_for_all(client: Client, offering: Offering) -> None:
    values = {name: value for name, value in form(client).items() if name != "key"}
    answer = client.post("/jobs/new/tasks/", values, headers={"HX-Request": "true"})
    page = text_of(answer.content)
    assert "4 tasks" in page and "1 0.1 1 2 0.1 2" in page
    assert "¥400" in page and "4 tasks, at most ¥100 each." in page
    counted = client.get("/jobs/new/quote/", {**values, "parameters": "", "task_count": "4"})
    assert "4 tasks, at most ¥100 each." not in text_of(counted.content)  # the parameters say it, where they come too
    del values["parameters"]
    counted = client.get("/jobs/new/quote/", {**values, "task_count": "4"})
    assert "4 tasks, at most ¥100 each." in text_of(counted.content)
    assert Job.objects.count() == 0


def test_the_page_shows_states_results_and_cost_and_sorts_them(
    client: Client, project: Project, owner: User, offering: Offering
) -> None:
    sweep = swept(project, owner, 3, state="succeeded", cost=7)
    for number, loss in ((1, 0.5), (2, 0.25), (3, 10)):
        SweepTask.objects.filter(number=number).update(result={"loss": loss, "note": "<b>x</b>"})
    page = client.get(f"/jobs/sweeps/{sweep.code}/").content.decode()
    assert "3 of 3 tasks ended" in page and "¥21" in page and "<b>x</b>" not in page
    order = [int(n) for n in re.findall(r'">(\d+)<span class="vh"> J-', page)]
    falling = client.get(f"/jobs/sweeps/{sweep.code}/?sort=loss&falling=1").content.decode()
    rising = client.get(f"/jobs/sweeps/{sweep.code}/?sort=loss").content.decode()
    assert order == [1, 2, 3]
    assert [int(n) for n in re.findall(r'">(\d+)<span class="vh"> J-', falling)] == [3, 1, 2]
    assert [int(n) for n in re.findall(r'">(\d+)<span class="vh"> J-', rising)] == [2, 1, 3]
    assert client.get(f"/jobs/sweeps/{sweep.code}/?sort=nothing&from=x&state=y").status_code == 200


def test_the_csv_has_a_line_for_each_task(client: Client, project: Project, owner: User, offering: Offering) -> None:
    sweep = swept(project, owner, 2, state="failed", exit_code=1)
    SweepTask.objects.filter(number=2).update(result={"loss": 0.25})
    answer = client.get(f"/jobs/sweeps/{sweep.code}/tasks.csv")
    lines = b"".join(answer.streaming_content).decode("utf-8-sig").split("\r\n")  # type: ignore[attr-defined]
    codes = list(Job.objects.order_by("pk").values_list("code", flat=True))
    assert lines == [
        'Task,LR,Job,State,Exit code,Run time (s),"Cost (yen, tax incl.)",loss',
        f"1,1,{codes[0]},Failed,1,,0,",
        f"2,2,{codes[1]},Failed,1,,0,0.25",
        "",
    ]


@pytest.mark.parametrize("path", ["/jobs/sweeps/", "/jobs/sweeps/{code}/"])
def test_statements_do_not_grow(path: str, client: Client, project: Project, owner: User, offering: Offering) -> None:
    def statements(count: int) -> int:
        for _n in range(count if path == "/jobs/sweeps/" else 1):
            sweep = swept(project, owner, 1 if path == "/jobs/sweeps/" else count)
        client.get(path.format(code=sweep.code))
        with CaptureQueriesContext(connection) as made:
            assert client.get(path.format(code=sweep.code)).status_code == 200
        return len(made)

    few, many = statements(1), statements(30)
    assert few == many <= 10


def test_stopping_asks_what_and_writes_the_wish(
    client: Client, project: Project, owner: User, offering: Offering
) -> None:
    sweep = swept(project, owner, 2)
    page = text_of(client.get(f"/jobs/sweeps/{sweep.code}/stop/").content)
    assert "2 tasks that have not begun; nothing is charged unless one begins before the stop reaches it" in page
    assert client.post(f"/jobs/sweeps/{sweep.code}/stop/", {"what": "none"}).status_code == 422
    assert client.post(f"/jobs/sweeps/{sweep.code}/stop/", {"what": "all"}).status_code == 302
    sweep.refresh_from_db()
    assert (sweep.stop_wanted, sweep.stop_wanted_by) == (Stop.ALL, owner)
    assert "All tasks are being stopped." in text_of(client.get(f"/jobs/sweeps/{sweep.code}/").content)


def test_failed_tasks_start_again_by_a_click(client: Client, offering: Offering) -> None:
    client.post("/jobs/new/", form(client))
    sweep = Sweep.objects.get()
    job = sweep.tasks.get(number=1).job
    Attempt.objects.filter(job=job).update(state="ended", collected_at=job.submitted_at)
    job.move_to(JobState.FAILED, by="portal:test")
    shown = client.get(f"/jobs/sweeps/{sweep.code}/again/").content
    page, price = text_of(shown), re.search(r'name="price" value="(\d+)"', shown.decode())
    assert price
    assert client.post(f"/jobs/sweeps/{sweep.code}/again/").status_code == 422  # by nobody who saw a price
    assert "1 task gets a new job with the same parameters." in page and "¥100" in page
    assert client.post(f"/jobs/sweeps/{sweep.code}/again/", {"price": price[1]}).status_code == 302
    assert Job.objects.count() == 5
    assert "There was no task left to start again." in text_of(
        client.post(f"/jobs/sweeps/{sweep.code}/again/", follow=True).content
    )


def test_the_list_of_jobs_points_at_the_sweeps_where_there_are_no_others(
    client: Client, project: Project, owner: User, offering: Offering
) -> None:
    assert "No jobs yet" in text_of(client.get("/jobs/").content)
    sweep = swept(project, owner, 2)
    page = client.get("/jobs/")
    assert "No single jobs yet" in text_of(page.content) and 'href="/jobs/sweeps/"' in page.content.decode()
    code = sweep.tasks.get(number=1).job.code
    assert code in client.get(f"/jobs/?q={code}").content.decode()
