"""The most that may be spent and held in a period in Japan, of a project or of a whole organization."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import BigIntegerField, Q, QuerySet
from django.db.models.expressions import RawSQL
from django.utils import timezone
from django.utils.translation import gettext as _

from portal.accounts.models import Organization, Project, User
from portal.audit import recording as audit
from portal.billing import ledger
from portal.billing.models import THRESHOLDS, BillingAccount, Budget, BudgetAction, BudgetPeriod
from portal.core.periods import billing_month, day_of, fiscal_year, interval_of_fiscal_year
from portal.core.templatetags.formats import yen


class BelowCommitted(Exception):
    """A budget cannot be cut below what is spent in its period and held for jobs."""

    def __init__(self, committed: int) -> None:
        super().__init__(committed)
        self.committed = committed

    @property
    def message(self) -> str:
        return _(
            "%(committed)s is already spent in this period or held for jobs."
            " Enter at least this amount, or stop jobs first."
        ) % {"committed": yen(self.committed)}


class AlreadySet(Exception):
    """There is such a budget already: it can be changed, not made a second time."""


@dataclass(frozen=True)
class Terms:
    """What people choose of a budget. Whole yen; name and days of a fixed period only."""

    limit: int
    at_50: BudgetAction = BudgetAction.NOTHING
    at_80: BudgetAction = BudgetAction.TELL
    at_100: BudgetAction = BudgetAction.TELL
    name: str = ""
    first_day: date | None = None
    last_day: date | None = None


@dataclass(frozen=True)
class Standing:
    """Where a budget stands: whole yen. `approved`: of the other two, what somebody has allowed beyond the limit."""

    limit: int
    posted: int
    held: int
    approved: int = 0

    @property
    def used(self) -> int:
        return self.posted + self.held

    @property
    def committed(self) -> int:
        """What counts against the limit."""
        return self.used - self.approved

    @property
    def left(self) -> int:
        return max(0, self.limit - self.committed)

    def is_stopped(self, budget: Budget) -> bool:
        """So much is spent that nothing may run any more. What is held alone stops nothing."""
        return any(
            action == BudgetAction.STOP and reaches(self.posted, percent, self.limit)
            for percent, action in budget.actions.items()
        )

    def without_approval(self, budget: Budget) -> int:
        """Yen that may still be held before a threshold asks for an approval; 0 beyond it."""
        asking = [p for p, action in budget.actions.items() if action == BudgetAction.ASK]
        return max(0, self.limit * min([*asking, 100]) // 100 - self.committed)


def reaches(used: int, percent: int, limit: int) -> bool:
    return used > 0 and used * 100 >= percent * limit


@transaction.atomic
def create(
    organization: Organization, *, project: Project | None, period: BudgetPeriod, terms: Terms, by: User
) -> Budget:
    """One more budget that binds. Raises AlreadySet, BelowCommitted. The caller has checked that the person may."""
    ledger.locked(organization)
    budget = Budget(organization=organization, project=project, period=period)
    alike = Budget.objects.filter(organization=organization, project=project, period=period)
    if period == BudgetPeriod.FIXED:
        alike = alike.filter(name=terms.name)
    if alike.exists():
        raise AlreadySet
    return _set(budget, terms, by)


@transaction.atomic
def change(budget: Budget, *, terms: Terms, by: User) -> Budget:
    """New terms from now on; place and period stay. Raises BelowCommitted; Budget.DoesNotExist when it is gone."""
    ledger.locked(budget.organization_id)
    locked = Budget.objects.select_for_update(of=("self",)).select_related("organization", "project").get(pk=budget.pk)
    return _set(locked, terms, by)


@transaction.atomic
def remove(budget: Budget, *, by: User) -> None:
    """Once more is once enough."""
    ledger.locked(budget.organization_id)
    for locked in Budget.objects.select_for_update().filter(pk=budget.pk):
        _record(locked, before=_terms(locked), after=None, by=by)
        locked.delete()


def set_limit(
    organization: Organization, *, project: Project | None, monthly_limit: int | None, by: User
) -> Budget | None:
    """Set the monthly limit of the project, or of the organization without one; None takes the budget away.

    What it does at its thresholds stays. Raises BelowCommitted. The caller has checked that the person may.
    """
    with transaction.atomic():
        ledger.locked(organization)  # so that it is still there, or still not
        found = Budget.objects.filter(organization=organization, project=project, period=BudgetPeriod.MONTH).first()
        if monthly_limit is None:
            if found:
                remove(found, by=by)
            return None
        if found is None:
            return create(organization, project=project, period=BudgetPeriod.MONTH, terms=Terms(monthly_limit), by=by)
        return change(found, terms=Terms(**{**asdict(_terms(found)), "limit": monthly_limit}), by=by)


def _set(budget: Budget, terms: Terms, by: User) -> Budget:
    before = _terms(budget) if budget.pk else None
    if terms == before:
        return budget
    for name, value in asdict(terms).items():
        setattr(budget, name, value)
    budget.updated_by, budget.updated_at = by, timezone.now()
    budget.save()
    [(_stored, standing)] = with_standings(Budget.objects.filter(pk=budget.pk), at=timezone.now())
    if terms.limit < standing.committed:
        raise BelowCommitted(standing.committed)
    _record(budget, before=before, after=terms, by=by)
    return budget


def _terms(budget: Budget) -> Terms:
    return Terms(
        limit=budget.limit,
        **{f"at_{percent}": action for percent, action in budget.actions.items()},
        name=budget.name,
        first_day=budget.first_day,
        last_day=budget.last_day,
    )


def _record(budget: Budget, *, before: Terms | None, after: Terms | None, by: User) -> None:
    audit.record(
        "budget.set",
        place_of(budget.organization, budget.project),
        actor=f"user:{by.pk}",
        chain=budget.organization.code,
        detail={"period": budget.period, "name": budget.name, "before": _told(before), "after": _told(after)},
    )


def _told(terms: Terms | None) -> dict[str, Any] | None:
    if terms is None:
        return None
    told: dict[str, Any] = {"limit": terms.limit, **{f"at_{p}": getattr(terms, f"at_{p}").value for p in THRESHOLDS}}
    if terms.first_day and terms.last_day:
        told |= {"first_day": terms.first_day.isoformat(), "last_day": terms.last_day.isoformat()}
    return told


def place_of(organization: Organization, project: Project | None) -> str:
    """As the subject of an event in the audit trail."""
    return f"project:{project.code}" if project else f"organization:{organization.code}"


def binding(account: BillingAccount, project: Project, *, lock: bool = False) -> list[tuple[Budget, Standing]]:
    """The budgets that bind the project now, its organization's before its own, and where each stands. One query.

    `lock`: of a locked account; nobody else moves money of the organization then.
    """
    now = timezone.now()
    budgets = Budget.objects.filter(Q(project=None) | Q(project=project), organization=account.organization_id)
    budgets = budgets.not_over(now).in_order()
    return with_standings(budgets.select_for_update() if lock else budgets, at=now)


@dataclass(frozen=True)
class Stops:
    """The places, as (organization id, project id or None), in which a budget lets nothing run any more."""

    places: frozenset[tuple[int, int | None]]

    def __contains__(self, project: Project) -> bool:
        organization = project.organization_id
        return (organization, project.pk) in self.places or (organization, None) in self.places


def stops_of(organizations: Collection[int]) -> Stops:
    """Of the organizations with these ids, now. One query."""
    now = timezone.now()
    budgets = Budget.objects.not_over(now).that_may_stop().filter(organization__in=organizations)
    stand = with_standings(budgets, at=now)
    return Stops(frozenset((b.organization_id, b.project_id) for b, standing in stand if standing.is_stopped(b)))


def with_standings(budgets: QuerySet[Budget], *, at: datetime) -> list[tuple[Budget, Standing]]:
    """Each with where it stands in its period of that instant. One query, of whatever organizations."""
    month, year = billing_month(at), interval_of_fiscal_year(fiscal_year(at))
    days = [day_of(year.start), month.first_day, day_of(year.end) - timedelta(days=1), month.last_day]
    yen = BigIntegerField()
    found = budgets.annotate(
        posted=RawSQL(_POSTED, days, yen),  # noqa: S611 - constants of this file
        held=RawSQL(_HELD, [], yen),  # noqa: S611
        approved=RawSQL(_APPROVED, days, yen),  # noqa: S611
    )
    return [(budget, Standing(budget.limit, budget.posted, budget.held, budget.approved)) for budget in found]


_FIRST = """
    CASE billing_budget.period WHEN 'fixed' THEN billing_budget.first_day WHEN 'year' THEN %s::date ELSE %s::date END
"""
_LAST = """
    CASE billing_budget.period WHEN 'fixed' THEN billing_budget.last_day WHEN 'year' THEN %s::date ELSE %s::date END
"""
_PLACE = """
    c.organization_id = billing_budget.organization_id
    AND (billing_budget.project_id IS NULL OR c.project_id = billing_budget.project_id)
"""
# Whole months from their own sums, only what is left at both ends from those of days: a year of many projects is tens
# of thousands of days.
_POSTED = f"""
    SELECT coalesce(sum(amount), 0)::bigint
    FROM (SELECT {_FIRST} AS first, {_LAST} AS last) AS period
    CROSS JOIN LATERAL (
        SELECT date_trunc('month', first + interval '1 month' - interval '1 day')::date AS whole_from,
               date_trunc('month', last + interval '1 day')::date AS whole_to
    ) AS whole
    CROSS JOIN LATERAL (
        SELECT amount FROM billing_monthlycharge c WHERE {_PLACE} AND month >= whole_from AND month < whole_to
        UNION ALL
        SELECT amount FROM billing_dailycharge c WHERE {_PLACE} AND day BETWEEN first AND least(last, whole_from - 1)
        UNION ALL
        SELECT amount FROM billing_dailycharge c WHERE {_PLACE} AND day BETWEEN greatest(whole_from, whole_to) AND last
    ) AS booked
"""  # noqa: S608 - constants of this file
_HELD = """
    CASE WHEN billing_budget.project_id IS NULL
         THEN coalesce((SELECT held FROM billing_billingaccount a
                        WHERE a.organization_id = billing_budget.organization_id), 0)
         ELSE (SELECT coalesce(sum(amount - used), 0)::bigint FROM billing_hold h
               WHERE h.project_id = billing_budget.project_id AND h.released_at IS NULL) END
"""
# Of an allowance counts in the period what its job has spent in it and still holds: so a job that is released, or goes
# on into the next period, leaves no room behind that was allowed for it alone.
_APPROVED = f"""
    SELECT coalesce(sum(least(w.amount, of_job.committed)), 0)::bigint
    FROM billing_allowance w JOIN billing_hold h ON h.id = w.hold_id
    CROSS JOIN LATERAL (
        SELECT greatest(0, coalesce(sum(c.amount), 0))
               + CASE WHEN h.released_at IS NULL THEN h.amount - h.used ELSE 0 END AS committed
        FROM billing_charge c WHERE c.job_code = h.job_code AND c.day BETWEEN {_FIRST} AND {_LAST}) of_job
    WHERE w.budget_id = billing_budget.id
"""  # noqa: S608 - constants of this file
