"""From the month's total down to the records: each page adds up to the one above it."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from typing import Any

import pytest
import time_machine
from django.test import Client

from portal.accounts.models import Project, User
from portal.accounts.roles import Role
from portal.billing.models import Charge
from portal.usage.models import UsageRecord
from tests.factories import (
    JobFactory,
    MembershipFactory,
    OfferingFactory,
    PriceFactory,
    ProjectFactory,
    ProviderFactory,
    UserFactory,
)
from tests.factories.billing import give_credit, jst, metered

SignIn = Callable[..., Client]


@pytest.fixture(autouse=True)
def clock() -> Any:
    with time_machine.travel(jst(2026, 11, 24, 12)):
        yield


@pytest.fixture
def used(project: Project, owner: User) -> Project:
    """Three people, two projects, two providers, fractions of yen, a job over a month's end, one with two records."""
    give_credit(project, 1_000_000)
    other = ProjectFactory(organization=project.organization, name="rag-eval")
    people = [
        owner,
        *(
            MembershipFactory(organization=project.organization, project=project, role=Role.MEMBER).user
            for _ in range(2)
        ),
    ]
    sakura = PriceFactory(amount="0.28", minimum_s=0)
    kddi = PriceFactory(
        amount="1.07",
        per_gpu=True,
        minimum_s=60,
        tax_included=False,
        offering=OfferingFactory(provider=ProviderFactory(slug="kddi"), gpu_model="GB200", site=None),
    )
    for number in range(12):
        place, price = (project, other)[number % 4 == 3], (sakura, kddi)[number % 3 == 0]
        start = jst(2026, 11, 1 + number) if number else jst(2026, 10, 31, 23, 50)
        code = f"J-{number}"
        metered(place, people[number % 3], price, job_code=code, started_at=start, seconds=601 + 97 * number, held=9000)
        if number == 5:
            later = jst(2026, 11, 20)
            metered(place, people[number % 3], price, job_code=code, started_at=later, seconds=333)
        JobFactory(code=code, project=place, submitted_by=people[number % 3], name=f"work {number}")
    return project


def pages(client: Client, url: str) -> list[Any]:
    """The context of this page and of all that follow it."""
    found = []
    while url:
        found.append(client.get(url).context)
        url = found[-1]["older_url"]
    return found


@pytest.mark.parametrize("scope", ["organization", "project"])
def test_every_total_is_the_sum_of_what_stands_below_it(
    used: Project, owner: User, client_of: SignIn, scope: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("portal.billing.views.drilling.JOBS_AT_ONCE", 2)
    monkeypatch.setattr("portal.billing.views.drilling.CHARGES_AT_ONCE", 1)
    client = client_of(owner, "en")
    query = "month=2026-11" + (f"&project={used.code}" if scope == "project" else "")
    top = client.get(f"/usage/?{query}").context["page"].use
    people = client.get(f"/usage/people/?{query}").context["people"]
    assert (people.amount, people.gpu_seconds) == (top.amount, top.gpu_seconds)
    seen = 0
    for line in people.lines:
        jobs = [job for page in pages(client, f"/usage/jobs/?{query}&person={line.pk}") for job in page["jobs"]]
        assert (sum(j.amount for j in jobs), sum(j.gpu_seconds for j in jobs)) == (line.amount, line.gpu_seconds)
        for job in jobs:
            charged = pages(client, f"/usage/jobs/{job.code}/")
            charges = [charge for page in charged for charge in page["charges"]]
            assert sum(charge.amount for charge in charges) == charged[0]["sum"]
            november = [charge for charge in charges if charge.day.month == 11]
            assert sum(charge.amount for charge in november) == job.amount
            assert sum(charge.record.gpu_seconds for charge in november) == job.gpu_seconds
            seen += len(november)
    everything = Charge.objects.filter(day__month=11)
    if scope == "project":
        everything = everything.filter(project=used)
    assert seen == everything.count() and top.amount == sum(everything.values_list("amount", flat=True))
    all_jobs = [job for page in pages(client, f"/usage/jobs/?{query}") for job in page["jobs"]]
    assert sum(job.amount for job in all_jobs) == top.amount
    rows = client.get(f"/usage/csv/?{query}").getvalue().decode().splitlines()[1:]
    assert sum(int(row.rsplit(",", 1)[1]) for row in rows) == top.amount


def test_the_year_is_the_sum_of_its_months_pages(used: Project, owner: User, client_of: SignIn) -> None:
    client = client_of(owner)
    months = [client.get(f"/usage/?month=2026-{month:02}").context["page"].use for month in (10, 11)]
    year = client.get("/usage/?month=2026fy").context["page"].use
    assert (year.amount, year.gpu_seconds) == (sum(m.amount for m in months), sum(m.gpu_seconds for m in months))
    rows = client.get("/usage/csv/?month=2026fy").getvalue().decode().splitlines()[1:]
    assert sum(int(row.rsplit(",", 1)[1]) for row in rows) == year.amount
    assert sum(int(row.rsplit(",", 2)[1]) for row in rows) == sum(
        UsageRecord.objects.values_list("gpu_seconds", flat=True)
    )


def test_accountants_see_what_people_cost_together_and_no_names(used: Project, client_of: SignIn) -> None:
    accountant = MembershipFactory(organization=used.organization, role=Role.BILLING).user
    client = client_of(accountant, "en")
    people = client.get("/usage/people/?month=2026-11").context["people"]
    assert [(line.pk, line.name, line.people) for line in people.lines] == [(None, "", 3)]
    html = client.get("/usage/jobs/?month=2026-11").content.decode()
    assert "work 1" not in html and "J-11" in html
    somebody = UsageRecord.objects.values_list("user", flat=True).first()
    assert client.get(f"/usage/jobs/?month=2026-11&person={somebody}").context["jobs"] == []


def test_members_of_one_project_see_its_jobs_alone(used: Project, client_of: SignIn) -> None:
    person = MembershipFactory(organization=used.organization, project=used, role=Role.VIEWER).user
    client = client_of(person)
    shown = [client.get(f"/usage/jobs/J-{number}/").status_code for number in (1, 3)]
    assert shown == [200, 404]  # J-3 is the other project's


def test_what_is_no_person_or_job_is_not_found(used: Project, owner: User, client_of: SignIn) -> None:
    stranger = UserFactory()
    client = client_of(owner)
    urls = [f"/usage/jobs/?person={stranger.pk}", "/usage/jobs/J-NONE/"]
    assert [client.get(url).status_code for url in urls] == [404, 404]
    odd = ["?month=2026-13", "?month=9999fy", "?person=x", "?after=1", "?after=~", "?after=1~%00", "?month=2099-01"]
    assert {client.get(f"/usage/jobs/{query}").status_code for query in odd} == {200}
    assert client.get("/usage/?month=9999fy").status_code == 200


def test_people_come_as_a_file_too(used: Project, owner: User, client_of: SignIn) -> None:
    client = client_of(owner, "en")
    lines = client.get("/usage/people/?month=2026-11&format=csv").getvalue().decode().lstrip("\ufeff").splitlines()
    assert lines[0] == 'Person,GPU-seconds,"Cost (yen, tax included)"' and len(lines) == 1 + 3 + 1
    assert re.fullmatch(r".+,\d+,\d+", lines[1])


def test_jobs_come_as_a_file_with_every_row_of_the_pages(
    used: Project, owner: User, client_of: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("portal.billing.views.drilling.JOBS_AT_ONCE", 2)
    client, query = client_of(owner, "en"), "month=2026-11"
    somebody = UsageRecord.objects.order_by("pk").values_list("user", flat=True)[0]
    for asked in (query, f"{query}&project={used.code}", f"{query}&person={somebody}"):
        shown = [job for page in pages(client, f"/usage/jobs/?{asked}") for job in page["jobs"]]
        header, *lines = rows_of(client, f"/usage/jobs/?{asked}&format=csv")
        assert header == [
            "Job", "Job name", "Project", "Provider", "GPU", "Person", "State", "GPU-seconds",
            "Cost (yen, tax included)",
        ]  # fmt: skip
        assert lines == [
            [
                job.code, job.name, job.project_name, job.provider.name, job.gpu_model, job.person, "Queued",
                str(job.gpu_seconds), str(job.amount),
            ]
            for job in shown
        ]  # fmt: skip
        assert lines


def test_the_file_of_jobs_names_nobody_whose_jobs_the_reader_does_not_see(used: Project, client_of: SignIn) -> None:
    accountant = MembershipFactory(organization=used.organization, role=Role.BILLING).user
    _header, *lines = rows_of(client_of(accountant, "en"), "/usage/jobs/?month=2026-11&format=csv")
    assert len(lines) == 12 and {(line[1], line[5], line[6]) for line in lines} == {("", "", "")}


def test_a_jobs_charges_come_as_a_file(used: Project, owner: User, client_of: SignIn) -> None:
    client = client_of(owner, "en")
    header, *lines = rows_of(client, "/usage/jobs/J-5/?format=csv")
    records = UsageRecord.objects.filter(job_code="J-5").order_by("pk")
    assert header == [
        "From (Japan)", "To (Japan)", "Usage record", "Attempt", "Provider", "Offering", "GPUs", "GPU-seconds",
        "Price (yen)", "Unit", "Tax", "Correction for", "Cost (yen, tax included)",
    ]  # fmt: skip
    assert [line[:3] + line[6:9] + line[10:] for line in lines] == [
        ["2026-11-06 00:00:00", "2026-11-06 00:18:06", str(records[0].pk), "1", "1086", "0.280000", "tax incl.", "",
         "304"],
        ["2026-11-20 00:00:00", "2026-11-20 00:05:33", str(records[1].pk), "1", "333", "0.280000", "tax incl.", "",
         "93"],
    ]  # fmt: skip
    assert client.get("/usage/jobs/J-NONE/?format=csv").status_code == 404


def rows_of(client: Client, url: str) -> list[list[str]]:
    text = client.get(url).getvalue().decode()
    assert text[0] == "\ufeff"
    return list(csv.reader(io.StringIO(text[1:])))


def test_people_beyond_those_shown_are_in_the_totals_and_the_file(
    used: Project, owner: User, client_of: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, url = client_of(owner, "en"), "/usage/people/?month=2026-11"
    everybody = client.get(url).context["people"]
    monkeypatch.setattr("portal.billing.drilling.PEOPLE_SHOWN", 1)
    some = client.get(url).context["people"]
    assert (len(everybody.lines), len(some.lines), some.more) == (3, 1, 2)
    assert (some.amount, some.gpu_seconds) == (everybody.amount, everybody.gpu_seconds)
    files = []
    for shown in (1, 3):
        monkeypatch.setattr("portal.billing.drilling.PEOPLE_SHOWN", shown)
        rows = [row.split(",") for row in client.get(f"{url}&format=csv").getvalue().decode().splitlines()[1:-1]]
        files.append((sum(int(row[1]) for row in rows), sum(int(row[2]) for row in rows)))
    assert files[0] == files[1] == (everybody.gpu_seconds, everybody.amount)


@pytest.mark.parametrize("path", ["people/", "jobs/", "jobs/J-1/"])
def test_each_page_says_until_when_the_use_is_complete(
    path: str, used: Project, owner: User, client_of: SignIn
) -> None:
    page = re.sub(r"<[^>]+>", "", client_of(owner, language="en").get(f"/usage/{path}").content.decode())
    assert "Complete until:" in page
    providers = {"people/": ["KDDI", "SAKURA"], "jobs/": ["KDDI", "SAKURA"], "jobs/J-1/": ["SAKURA"]}[path]
    said = page.split("Complete until:")[1][:120]
    assert [name for name in ("KDDI", "SAKURA") if name in said] == providers, said
