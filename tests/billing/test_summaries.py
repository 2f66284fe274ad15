from datetime import date
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext

from portal.accounts.models import Project, User
from portal.billing.overview import Scope, overview
from portal.billing.summaries import daily_rows, dearest_jobs, month_of_use
from portal.core.periods import BillingMonth
from portal.jobs.states import JobState
from tests.factories import (
    AttemptFactory,
    JobFactory,
    OfferingFactory,
    PriceFactory,
    ProjectFactory,
    ProviderAccountFactory,
    ProviderFactory,
)
from tests.factories.billing import give_credit, jst, metered

NOVEMBER = BillingMonth(2026, 11)
NOW = jst(2026, 11, 24, 13)


@pytest.fixture(autouse=True)
def clock() -> Any:
    with time_machine.travel(NOW, tick=False):
        yield


@pytest.fixture
def used(project: Project, owner: User) -> Project:
    """1 yen a second at Sakura, 2 at KDDI; two projects; October 20 and 28, November 1, 20 and 24."""
    give_credit(project, 10_000)
    other = ProjectFactory(organization=project.organization, name="rag-eval")
    sakura = PriceFactory(amount="1", minimum_s=0, offering__gpu_model="H100")
    kddi = PriceFactory(
        amount="2",
        minimum_s=0,
        offering=OfferingFactory(provider=ProviderFactory(slug="kddi"), gpu_model="GB200", site=None),
    )
    for code, place, price, start, seconds in (
        ("J-1", project, sakura, jst(2026, 10, 20, 12), 50),
        ("J-2", project, sakura, jst(2026, 10, 28, 12), 70),
        ("J-3", project, sakura, jst(2026, 11, 1), 100),
        ("J-4", other, kddi, jst(2026, 11, 20), 200),
        ("J-5", project, kddi, jst(2026, 11, 24, 12), 10),
    ):
        metered(place, owner, price, job_code=code, started_at=start, seconds=seconds, held=1000)
    return project


def test_month_of_use_sums_by_place_and_by_day(used: Project) -> None:
    use = month_of_use(used.organization, NOVEMBER, until=date(2026, 11, 24))
    assert [(c.provider.slug, c.project_name, c.gpu_model, c.amount, c.before, c.gpu_seconds) for c in use.cells] == [
        ("kddi", "llm-jp-tuning", "GB200", 20, 0, 10),
        ("kddi", "rag-eval", "GB200", 400, 0, 200),
        ("sakura", "llm-jp-tuning", "H100", 100, 50, 100),  # October 28 is after the 24th
    ]
    assert {day: amounts for day, amounts in use.by_day.items() if any(amounts.values())} == {
        date(2026, 10, 28): {"sakura": 70},
        date(2026, 11, 1): {"sakura": 100},
        date(2026, 11, 20): {"kddi": 400},
        date(2026, 11, 24): {"kddi": 20},
    }
    assert use.metered_until == {"kddi": jst(2026, 11, 24, 12, 0, 10), "sakura": jst(2026, 11, 1, 0, 1, 40)}
    assert (use.amount, use.before, use.gpu_seconds, use.per_gpu_hour) == (520, 50, 310, 6038)
    assert [p.slug for p in use.providers] == ["kddi", "sakura"]


def test_use_is_complete_up_to_what_is_metered_of_every_job_under_way(used: Project, project: Project) -> None:
    """One at Sakura runs and is metered up to 12:59, one has not been looked at since 12:50; KDDI's are over."""
    other = ProjectFactory(organization=project.organization)
    account, kddi = ProviderAccountFactory(), ProviderAccountFactory(provider=ProviderFactory(slug="kddi"))
    for place, of, changes in (
        (project, account, {"remote_id": "1", "started_at": NOW, "metered_until": jst(2026, 11, 24, 12, 59)}),
        (other, account, {"remote_id": "2", "seen_at": jst(2026, 11, 24, 12, 50)}),
        (project, account, {"remote_id": "", "seen_at": jst(2026, 11, 24, 9)}),
        (project, kddi, {"remote_id": "3", "metered_until": jst(2026, 11, 1), "collected_at": NOW, "state": "ended"}),
    ):  # fmt: skip
        offering = OfferingFactory(provider=of.provider, site=None)
        AttemptFactory(job=JobFactory(project=place, price=PriceFactory(offering=offering)), account=of, **changes)
    organization, late, early = project.organization, jst(2026, 11, 24, 12, 59), jst(2026, 11, 24, 12, 50)
    assert [
        month_of_use(organization, NOVEMBER, until=NOW.date(), projects=projects).complete_until
        for projects in (None, [project.pk], [])
    ] == [{"sakura": early}, {"sakura": late}, {}]
    shown = [
        overview(Scope(organization, None), month=month, by="provider", may_see_credit=True, all_open=False).freshness
        for month in (None, BillingMonth(2026, 10))
    ]
    assert [[(provider.slug, at) for provider, at in month] for month in shown] == [
        [("kddi", NOW), ("sakura", early)],
        [("sakura", jst(2026, 11, 1))],
    ]


def test_a_month_that_is_over_is_compared_with_the_whole_month_before(used: Project) -> None:
    use = month_of_use(used.organization, NOVEMBER, until=date(2026, 11, 30))
    assert use.before == 120


def test_projects_narrow_every_figure(used: Project) -> None:
    use = month_of_use(used.organization, NOVEMBER, until=date(2026, 11, 24), projects=[used.pk])
    assert (use.amount, use.gpu_seconds) == (120, 110)
    assert month_of_use(used.organization, NOVEMBER, until=date(2026, 11, 24), projects=[]).cells == []
    assert [j.code for j in dearest_jobs(used.organization, NOVEMBER, projects=[used.pk])] == ["J-3", "J-5"]


def test_dearest_jobs_come_in_order_and_stop_at_the_limit(used: Project) -> None:
    jobs = dearest_jobs(used.organization, NOVEMBER, limit=2)
    assert [(j.code, j.project_name, j.provider.slug, j.gpu_model, j.amount, j.gpu_seconds) for j in jobs] == [
        ("J-4", "rag-eval", "kddi", "GB200", 400, 200),
        ("J-3", "llm-jp-tuning", "sakura", "H100", 100, 100),
    ]


def test_dearest_jobs_say_name_person_and_state_of_the_projects_described(used: Project, owner: User) -> None:
    other = Project.objects.get(name="rag-eval")
    JobFactory(code="J-4", project=other, submitted_by=owner, name="secret", state=JobState.RUNNING)
    JobFactory(code="J-3", project=used, submitted_by=owner, name="tuning", state=JobState.FAILED)
    told = [
        [(j.code, j.name, j.person, j.state) for j in dearest_jobs(used.organization, NOVEMBER, limit=2, described=d)]
        for d in (None, [used.pk], [])
    ]
    four, three = ("J-4", "secret", str(owner), JobState.RUNNING), ("J-3", "tuning", str(owner), JobState.FAILED)
    untold = [("J-4", "", "", None), ("J-3", "", "", None)]
    assert told == [[four, three], [untold[0], three], untold]


def test_daily_rows_are_what_the_sums_are_made_of(used: Project) -> None:
    rows = [(r[0], r[1], r[2], r[5], r[6], r[7]) for r in daily_rows(used.organization, NOVEMBER)]
    assert rows == [
        (date(2026, 11, 1), "さくらインターネット", "llm-jp-tuning", "H100", 100, 100),
        (date(2026, 11, 20), "KDDI", "rag-eval", "GB200", 200, 400),
        (date(2026, 11, 24), "KDDI", "llm-jp-tuning", "GB200", 10, 20),
    ]


def test_the_overview_says_one_thing_everywhere(used: Project) -> None:
    with CaptureQueriesContext(connection) as queries:
        page = overview(Scope(used.organization, None), month=None, by="provider", may_see_credit=True, all_open=False)
    assert len(queries) == 4
    csv_sum = sum(row[7] for row in daily_rows(used.organization, NOVEMBER))
    figures = {
        "kpi": page.use.amount,
        "lines": sum(line.amount for line in page.lines),
        "sub-lines": sum(child.amount for line in page.lines for child in line.lines),
        "chart": sum(int(day.total) for day in page.days if not day.forecast),
        "table": sum(total for _day, expected, _amounts, total in page.rows if not expected),
        "curve": page.actual_sums[-1],
        "csv": csv_sum,
        "jobs": sum(job.amount for job in page.jobs),
    }
    assert figures == dict.fromkeys(figures, 520)
    assert (page.expected, page.expected_sums[-1]) == (920, 920)  # 20 November, a Friday, repeats on the 27th
    assert [(line.name, line.amount, str(line.change)) for line in page.lines] == [
        ("KDDI", 420, "None"),
        ("さくらインターネット", 100, "100.0"),
    ]


@pytest.mark.parametrize("by", ["provider", "project", "gpu"])
def test_each_breakdown_has_the_same_total(used: Project, by: str) -> None:
    page = overview(Scope(used.organization, None), month=None, by=by, may_see_credit=True, all_open=False)
    assert sum(line.amount for line in page.lines) == 520
    assert sum(line.gpu_hours for line in page.lines) == page.gpu_hours == Decimal("0.086")
    assert [sum(child.gpu_hours for child in line.lines) for line in page.lines] == [
        line.gpu_hours for line in page.lines
    ]
    assert sum(line.share for line in page.lines) == 100
