from datetime import date, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.db import IntegrityError, transaction
from django.utils import timezone, translation

from portal.accounts.models import Project, User
from portal.audit.models import AuditEvent
from portal.billing.budgets import (
    AlreadySet,
    BelowCommitted,
    Standing,
    Terms,
    binding,
    change,
    create,
    remove,
    set_limit,
    with_standings,
)
from portal.billing.holds import OverBudget, hold, release, room_for
from portal.billing.models import BillingAccount, Budget, BudgetAction, BudgetPeriod
from portal.billing.verification import verify
from tests.factories import PriceFactory, ProjectFactory
from tests.factories.billing import give_credit, jst, metered

MONTH, YEAR, FIXED = BudgetPeriod.MONTH, BudgetPeriod.FISCAL_YEAR, BudgetPeriod.FIXED


@pytest.fixture(autouse=True)
def clock() -> Any:
    """Noon within a month: "a moment ago" is always today and this month."""
    with time_machine.travel(jst(2026, 11, 24, 12)):
        yield


def budget_of(project: Project, owner: User, period: BudgetPeriod, limit: int, *, whole: bool = False) -> Budget:
    days: dict[str, Any] = {}
    if period == FIXED:
        days = {"name": "NEDO grant", "first_day": date(2026, 11, 10), "last_day": date(2027, 1, 31)}
    place = None if whole else project
    return create(project.organization, project=place, period=period, terms=Terms(limit, **days), by=owner)


def spent(project: Project, owner: User, at: datetime, yen: int, job_code: str) -> None:
    """At that moment, by a job that is over."""
    price = PriceFactory(amount="1", minimum_s=0)
    with time_machine.travel(at):
        metered(project, owner, price, job_code=job_code, started_at=at, seconds=yen, held=yen)
        release(job_code, by="portal:test")


def test_a_limit_is_set_changed_and_taken_away_and_each_time_told(project: Project, owner: User) -> None:
    organization = project.organization
    for limit in (500, 500, 700, None, None):
        set_limit(organization, project=project, monthly_limit=limit, by=owner)
    assert list(Budget.objects.values_list("limit")) == []
    events = AuditEvent.objects.order_by("sequence").values_list("actor", "act", "subject", "detail")

    def terms(limit: int | None) -> dict[str, Any] | None:
        return limit and {"limit": limit, "at_50": "nothing", "at_80": "tell", "at_100": "tell"}  # type: ignore[return-value]

    assert list(events) == [
        (
            f"user:{owner.pk}", "budget.set", f"project:{project.code}",
            {"period": "month", "name": "", "before": terms(before), "after": terms(after)},
        )
        for before, after in ((None, 500), (500, 700), (700, None))
    ]  # fmt: skip


def test_a_limit_is_never_below_what_is_spent_and_held(project: Project, owner: User) -> None:
    give_credit(project, 1000)
    now = timezone.now().replace(microsecond=0)
    price = PriceFactory(amount="1", minimum_s=0)
    metered(project, owner, price, job_code="J-1", started_at=now - timedelta(seconds=1), seconds=1, held=100)
    hold(project.organization, project=project, job_code="J-2", amount=50, by="user:1")
    for place in (project, None):
        with pytest.raises(BelowCommitted) as refused, translation.override("en"):
            set_limit(project.organization, project=place, monthly_limit=149, by=owner)
        assert refused.value.committed == 150
        budget = set_limit(project.organization, project=place, monthly_limit=150, by=owner)
        assert budget and budget.limit == 150


def test_each_period_counts_what_was_spent_in_it_and_all_that_is_held(project: Project, owner: User) -> None:
    give_credit(project, 10_000)
    spent(project, owner, jst(2026, 3, 31, 12), 1, "J-last-year")
    spent(project, owner, jst(2026, 4, 1), 20, "J-april")
    spent(project, owner, jst(2026, 11, 9, 12), 300, "J-before-the-grant")
    spent(project, owner, jst(2026, 11, 10), 4000, "J-in-the-grant")
    hold(project.organization, project=project, job_code="J-held", amount=7, by="user:1")
    other = ProjectFactory(organization=project.organization)
    hold(project.organization, project=other, job_code="J-other", amount=50, by="user:1")
    for whole in (False, True):
        for period in (MONTH, YEAR, FIXED):
            budget_of(project, owner, period, 9000, whole=whole)
    stands = [standing for _budget, standing in with_standings(Budget.objects.order_by("pk"), at=timezone.now())]
    assert stands == [Standing(9000, posted, held) for held in (7, 57) for posted in (4300, 4320, 4000)]


ENDS = [
    date(2026, 9, 30),
    date(2026, 10, 1),
    date(2026, 10, 15),
    date(2026, 10, 31),
    date(2026, 11, 1),
    date(2026, 11, 24),
]


@pytest.mark.parametrize("whole", [True, False], ids=["organization", "project"])
def test_a_period_counts_every_day_of_it_once_whole_months_or_parts(project: Project, owner: User, whole: bool) -> None:
    other = ProjectFactory(organization=project.organization)
    give_credit(project, 10_000)
    yen = {}
    for n, day in enumerate(ENDS):  # each combination of days has a sum of its own
        for k, place in enumerate([project, other]):
            yen[day, place] = 4**n * (k + 1)
            spent(place, owner, jst(day.year, day.month, day.day), yen[day, place], f"J-{n}-{k}")
    periods = [(first, last) for first in ENDS for last in ENDS if first <= last]
    with time_machine.travel(jst(2026, 9, 1)):
        for first, last in periods:
            terms = Terms(10_000, name=f"{first} to {last}", first_day=first, last_day=last)
            place = None if whole else project
            create(project.organization, project=place, period=FIXED, terms=terms, by=owner)
    found = {budget.name: stand.posted for budget, stand in with_standings(Budget.objects.all(), at=timezone.now())}
    assert found == {
        f"{first} to {last}": sum(
            n for (day, place), n in yen.items() if first <= day <= last and (whole or place == project)
        )
        for first, last in periods
    }


def test_all_that_bind_a_project_bind_at_once_the_organizations_first(project: Project, owner: User) -> None:
    give_credit(project, 10_000)
    other = ProjectFactory(organization=project.organization)
    for period, limit in ((FIXED, 900), (MONTH, 700)):
        budget_of(project, owner, period, limit)
        budget_of(other, owner, period, 1)
    budget_of(project, owner, YEAR, 800, whole=True)
    account = BillingAccount.objects.get()
    found = [(budget.project, budget.period, standing.limit) for budget, standing in binding(account, project)]
    assert found == [(None, YEAR, 800), (project, FIXED, 900), (project, MONTH, 700)]
    assert room_for(project).left == 700
    with pytest.raises(OverBudget), transaction.atomic():
        hold(project.organization, project=project, job_code="J-1", amount=701, by="user:1")
    hold(project.organization, project=project, job_code="J-1", amount=700, by="user:1")
    assert (room_for(project).left, verify()) == (0, [])


def test_a_fixed_period_binds_before_it_begins_and_no_more_when_it_is_over(project: Project, owner: User) -> None:
    give_credit(project, 10_000)
    budget = budget_of(project, owner, FIXED, 100)
    rooms = []
    for at in (jst(2026, 11, 9), jst(2026, 11, 10), jst(2027, 1, 31, 23, 59, 59), jst(2027, 2, 1)):
        with time_machine.travel(at):
            rooms.append(room_for(project).left)
    assert rooms == [100, 100, 100, 10_000]
    with time_machine.travel(jst(2026, 11, 9)):
        hold(project.organization, project=project, job_code="J-1", amount=60, by="user:1")
    assert with_standings(Budget.objects.all(), at=timezone.now()) == [(budget, Standing(100, posted=0, held=60))]


def test_the_same_budget_is_not_made_twice_but_grants_are_told_apart_by_name(project: Project, owner: User) -> None:
    for period in BudgetPeriod:
        budget_of(project, owner, period, 100)
        with pytest.raises(AlreadySet):
            budget_of(project, owner, period, 200)
    days = {"first_day": date(2026, 12, 1), "last_day": date(2026, 12, 1)}
    terms = Terms(300, name="JST grant", **days)  # type: ignore[arg-type]
    create(project.organization, project=project, period=FIXED, terms=terms, by=owner)
    assert list(Budget.objects.order_by("limit", "pk").values_list("period", "name", "limit")) == [
        ("month", "", 100), ("year", "", 100), ("fixed", "NEDO grant", 100), ("fixed", "JST grant", 300),
    ]  # fmt: skip


def test_new_terms_are_held_against_the_new_days(project: Project, owner: User) -> None:
    give_credit(project, 10_000)
    spent(project, owner, jst(2026, 11, 9, 12), 300, "J-before-the-grant")
    budget = budget_of(project, owner, FIXED, 100)
    earlier = Terms(100, at_80=BudgetAction.STOP, name="N", first_day=date(2026, 11, 9), last_day=date(2027, 1, 1))
    with pytest.raises(BelowCommitted) as refused:
        change(budget, terms=earlier, by=owner)
    assert (refused.value.committed, Budget.objects.get().first_day) == (300, date(2026, 11, 10))
    remove(budget, by=owner)
    remove(budget, by=owner)
    assert AuditEvent.objects.filter(act="budget.set").count() == 2
    with pytest.raises(Budget.DoesNotExist):
        change(budget, terms=earlier, by=owner)


@pytest.mark.parametrize(
    "wrong",
    [
        {"period": "fixed"},
        {"period": "fixed", "name": "N", "first_day": date(2026, 2, 2), "last_day": date(2026, 2, 1)},
        {"period": "fixed", "name": "", "first_day": date(2026, 2, 2), "last_day": date(2026, 2, 2)},
        {"period": "month", "last_day": date(2026, 2, 1)},
        {"period": "year", "name": "N"},
    ],
)
def test_the_database_refuses_a_period_without_its_days_and_days_without_their_period(
    project: Project, owner: User, wrong: dict[str, Any]
) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        Budget.objects.create(organization=project.organization, limit=1, updated_by=owner, **wrong)


def test_only_what_is_spent_stops_jobs_and_an_approval_is_asked_below_the_limit(project: Project, owner: User) -> None:
    budget = budget_of(project, owner, MONTH, 1000)
    budget.at_50, budget.at_80 = BudgetAction.ASK, BudgetAction.STOP
    stands = [Standing(1000, 0, 0), Standing(1000, 0, 1000), Standing(1000, 799, 0), Standing(1000, 800, 0)]
    assert [standing.is_stopped(budget) for standing in stands] == [False, False, False, True]
    assert [standing.without_approval(budget) for standing in stands] == [500, 0, 0, 0]
