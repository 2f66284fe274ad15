"""Any order of submits, extensions, reports (late, doubled, out of order, taken back), price changes, budgets of all
periods and thresholds, approvals, credit given, ends, months that are closed and days that pass: what is spent and held
never exceeds a budget, and every yen is where it should be.

The whole set: `python3 manage.py test tests/billing/test_ledger_machine.py -m faults_full -s` (2,000 sequences of 50
steps).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

import pytest
import time_machine
from django.db import transaction
from django.db.models import Sum
from django.utils import timezone
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from portal.accounts.models import Project
from portal.billing import approvals, budgets, credits, invoicing
from portal.billing.alerts import note_reached
from portal.billing.budgets import BelowCommitted, Standing, Terms, with_standings
from portal.billing.holds import OverBudget, Released, grow, hold, release
from portal.billing.models import (
    BillingAccount,
    Budget,
    BudgetAction,
    BudgetAlert,
    BudgetPeriod,
    Charge,
    CreditKind,
    LedgerEntry,
)
from portal.billing.verification import verify
from portal.core.periods import billing_month, day_of
from tests.factories import MembershipFactory, PriceFactory, ProjectFactory
from tests.factories.billing import give_credit, jst, metered, set_issuer, taken_back

pytestmark = [pytest.mark.django_db, pytest.mark.timeout(0)]

CREDIT = 5_000
BEGAN = jst(2027, 3, 28, 9)  # a month, a fiscal year and the grant end in the days after
GRANT = {"name": "grant", "first_day": date(2027, 3, 30), "last_day": date(2027, 4, 2)}
ACTIONS = st.sampled_from([BudgetAction.NOTHING, BudgetAction.ASK, BudgetAction.STOP])


@dataclass
class Work:
    """A job as the oracle knows it: yen by day, and what was approved of it beyond each budget."""

    project: int
    amount: int
    until: datetime  # reported without a gap up to here
    due: int = 0  # yen it has used, whether its hold paid for them or not
    by_day: dict[date, int] = field(default_factory=lambda: defaultdict(int))
    beyond: dict[int, int] = field(default_factory=dict)
    is_over: bool = False

    @property
    def charged(self) -> int:
        return sum(self.by_day.values())

    @property
    def left(self) -> int:
        return 0 if self.is_over else self.amount - self.charged


class Ledger(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.clock = time_machine.travel(BEGAN, tick=False)
        self.traveller = self.clock.start()
        self.outer = transaction.atomic()
        self.outer.__enter__()
        first: Project = ProjectFactory()
        self.organization = first.organization
        self.projects = [first, ProjectFactory(organization=self.organization)]
        self.person = MembershipFactory(organization=self.organization, role="owner").user
        give_credit(first, CREDIT)
        self.credit = CREDIT
        self.price, self.per_second = PriceFactory(amount="1", minimum_s=0, tax_percent=0), 1
        self.jobs: dict[str, Work] = {}
        self.last: tuple[str, datetime, int] | None = None
        self.told: list[tuple[str, Charge, int]] = []  # that can be taken back, with the yen that its time was worth
        self.closed: set[date] = set()
        set_issuer(self.price.offering.contracting_member.slug)

    def teardown(self) -> None:
        if hasattr(self, "outer"):
            transaction.set_rollback(True)
            self.outer.__exit__(None, None, None)
            self.clock.stop()

    # --- what people do

    @rule(which=st.integers(0, 1), amount=st.sampled_from([1, 30, 100, 400]), asks=st.booleans())
    def submit(self, which: int, amount: int, asks: bool) -> None:
        project, code = self.projects[which], f"J-{len(self.jobs) + 1}"
        bound = [budget for budget in self._not_over() if budget.project_id in (None, project.pk)]
        stand = {budget.pk: self._standing(budget) for budget in bound}
        stopped = any(stand[budget.pk].is_stopped(budget) for budget in bound)
        credit_left = self.credit - sum(job.charged + job.left for job in self.jobs.values())
        fits = all(amount <= stand[budget.pk].without_approval(budget) for budget in bound)
        if asks and not fits:
            request = approvals.ask(
                project, job_name="n", amount=amount, digest=code, form={}, reason="r", by=self.person
            )
            approvals.approve(request, by=self.person)
        try:
            with transaction.atomic():
                by = f"user:{self.person.pk}"
                hold(self.organization, project=project, job_code=code, amount=amount, by=by, digest=code)
        except OverBudget:
            assert stopped or amount > credit_left or (not fits and not asks)
            return
        assert not stopped and amount <= credit_left and (fits or asks)
        job = self.jobs[code] = Work(which, amount, until=timezone.now())
        if not fits:
            excess = {budget.pk: stand[budget.pk].committed + amount - budget.limit for budget in bound}
            job.beyond = {pk: yen for pk, yen in excess.items() if yen > 0}

    @rule(which=st.integers(0, 20), amount=st.sampled_from([1, 100, 400]))
    def extend(self, which: int, amount: int) -> None:
        if not self.jobs:
            return
        code = sorted(self.jobs)[which % len(self.jobs)]
        job = self.jobs[code]
        bound = [budget for budget in self._not_over() if budget.project_id in (None, self.projects[job.project].pk)]
        stand = {budget.pk: self._standing(budget) for budget in bound}
        stopped = any(stand[budget.pk].is_stopped(budget) for budget in bound)
        credit_left = self.credit - sum(job.charged + job.left for job in self.jobs.values())
        fits = all(amount <= stand[budget.pk].without_approval(budget) for budget in bound)
        try:
            with transaction.atomic():
                assert grow(code, amount=amount, by=f"user:{self.person.pk}") == job.amount + amount
        except Released:
            assert job.is_over
        except OverBudget:
            assert stopped or amount > credit_left or not fits
        else:
            assert not job.is_over and not stopped and amount <= credit_left and fits
            job.amount += amount

    @rule(amount=st.sampled_from([1, 250]), kind=st.sampled_from([CreditKind.REFUND, CreditKind.COMPENSATION]))
    def give_back(self, amount: int, kind: CreditKind) -> None:
        credits.grant(self.organization, kind=kind, amount=amount, expires_at=None, by="portal:test")
        self.credit += amount

    @rule(
        whole=st.booleans(),
        which=st.integers(0, 1),
        period=st.sampled_from(BudgetPeriod),
        limit=st.sampled_from([0, 50, 200, 1000]),
        at_50=ACTIONS,
        at_100=ACTIONS,
    )
    def set_budget(
        self, whole: bool, which: int, period: BudgetPeriod, limit: int, at_50: BudgetAction, at_100: BudgetAction
    ) -> None:
        project = None if whole else self.projects[which]
        known = Budget.objects.filter(project=project, period=period).first()
        days = GRANT if period == BudgetPeriod.FIXED else {}
        terms = Terms(limit, at_50=at_50, at_100=at_100, **days)  # type: ignore[arg-type]
        place = Budget(pk=known.pk if known else None, project=project, period=period, limit=limit, **days)
        committed = self._standing(place).committed
        try:
            with transaction.atomic():
                if known:
                    budgets.change(known, terms=terms, by=self.person)
                else:
                    budgets.create(self.organization, project=project, period=period, terms=terms, by=self.person)
        except BelowCommitted as more:
            assert (more.committed, limit < committed) == (committed, True)
        else:
            # An unchanged one stands where it stood, a grant that is over too.
            assert limit >= committed or (known and known.limit == limit)

    @rule(which=st.integers(0, 5))
    def remove_budget(self, which: int) -> None:
        for budget in Budget.objects.order_by("pk")[which : which + 1]:
            budgets.remove(budget, by=self.person)
            for job in self.jobs.values():
                job.beyond.pop(budget.pk, None)

    @rule(per_second=st.integers(1, 3))
    def price_changes(self, per_second: int) -> None:
        self.price, self.per_second = PriceFactory(amount=str(per_second), minimum_s=0, tax_percent=0), per_second

    # --- what providers report

    @rule(which=st.integers(0, 20), seconds=st.sampled_from([1, 20, 90]), gap=st.booleans())
    def report(self, which: int, seconds: int, gap: bool) -> None:
        """With a gap: the later of two intervals first."""
        running = [code for code, job in self.jobs.items() if not job.is_over]
        if not running:
            return
        code = running[which % len(running)]
        job = self.jobs[code]
        starts = [job.until + timedelta(seconds=seconds), job.until] if gap else [job.until]
        job.until += timedelta(seconds=seconds * len(starts))
        if job.until > timezone.now():
            self.traveller.move_to(job.until, tick=False)
        for start in starts:
            self._charge(code, start, seconds)
        self.last = (code, starts[-1], seconds)

    def _charge(self, code: str, start: datetime, seconds: int) -> None:
        job = self.jobs[code]
        charges = metered(
            self.projects[job.project], self.person, self.price, job_code=code, started_at=start, seconds=seconds
        )
        before = job.charged
        job.due += seconds * self.per_second
        for charge in charges:
            job.by_day[charge.day] += charge.amount
            assert charge.record is not None
            self.told.append((code, charge, charge.record.seconds * self.per_second))
        assert job.charged == min(job.amount, job.due) >= before
        own = {day_of(start), day_of(start + timedelta(seconds=seconds - 1))}
        booked = {charge.of_month or charge.day for charge in charges}
        assert booked == {day.replace(day=1) if day.replace(day=1) in self.closed else day for day in own}

    @rule(which=st.integers(0, 40))
    def a_report_is_taken_back(self, which: int) -> None:
        """What comes back is free again, and held for the job no more."""
        if not self.told:
            return
        code, charge, worth = self.told.pop(which % len(self.told))
        job = self.jobs[code]
        before = job.charged
        job.due -= worth
        reversal = taken_back(charge)
        job.by_day[reversal.day] += reversal.amount
        if reversal.amount < 0 and not job.is_over:
            job.amount += reversal.amount
        if not job.is_over:
            assert job.charged == min(job.amount, job.due)
        else:
            assert min(before, job.due) <= job.charged <= max(before, job.due)

    @rule()
    def month_is_closed(self) -> None:
        month = billing_month(timezone.now()).previous
        member = self.price.offering.contracting_member
        if invoicing.close(self.organization, member=member, month=month, by="portal:test") is not None:
            self.closed.add(month.first_day)

    @rule()
    def report_the_same_again(self) -> None:
        if self.last:
            code, start, seconds = self.last
            metered(
                self.projects[self.jobs[code].project], self.person, self.price, job_code=code, started_at=start,
                seconds=seconds,
            )  # fmt: skip

    @rule(which=st.integers(0, 20))
    def job_ends(self, which: int) -> None:
        if not self.jobs:
            return
        code = sorted(self.jobs)[which % len(self.jobs)]
        assert release(code, by="portal:test") == self.jobs[code].left
        self.jobs[code].is_over = True
        if self.last and self.last[0] == code:
            self.last = None

    @rule(hours=st.sampled_from([1, 14, 24, 24 * 20]))
    def time_passes(self, hours: int) -> None:
        self.traveller.shift(timedelta(hours=hours))

    # --- what always holds

    @invariant()
    def every_yen_is_where_it_should_be(self) -> None:
        if not hasattr(self, "outer"):
            return
        assert verify() == []
        assert (LedgerEntry.objects.aggregate(sum=Sum("amount"))["sum"] or 0) == 0
        account = BillingAccount.objects.get(organization=self.organization)
        jobs = self.jobs.values()
        assert (account.held, account.posted) == (sum(job.left for job in jobs), sum(job.charged for job in jobs))
        for budget, standing in with_standings(Budget.objects.not_over(timezone.now()), at=timezone.now()):
            assert standing == self._standing(budget)
            assert standing.committed <= standing.limit

    @invariant()
    def no_threshold_is_noted_twice(self) -> None:
        if hasattr(self, "outer"):
            note_reached()
            assert note_reached() == 0
            keys = list(BudgetAlert.objects.values_list("budget", "first_day", "percent", "limit", "action"))
            assert len(keys) == len(set(keys))

    def _not_over(self) -> list[Budget]:
        return list(Budget.objects.not_over(timezone.now()))

    def _standing(self, budget: Budget) -> Standing:
        """From the jobs as the oracle knows them."""
        first, last = budget.days(timezone.now())
        here = [job for job in self.jobs.values() if budget.project_id in (None, self.projects[job.project].pk)]
        in_period = {id(job): sum(yen for day, yen in job.by_day.items() if first <= day <= last) for job in here}
        beyond = [min(job.beyond.get(budget.pk, 0), max(0, in_period[id(job)]) + job.left) for job in here]
        return Standing(budget.limit, sum(in_period.values()), sum(job.left for job in here), sum(beyond))


def _check(sequences: int, steps: int) -> None:
    run_state_machine_as_test(
        Ledger,
        settings=settings(
            max_examples=sequences,
            report_multiple_bugs=False,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )


def test_a_few_sequences() -> None:
    _check(4, 25)


@pytest.mark.faults_full
@pytest.mark.parametrize("part", range(4))
def test_five_hundred_sequences_of_fifty_steps(part: int) -> None:
    """Four times: as many processes may share them."""
    _check(500, 50)
