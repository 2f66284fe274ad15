"""The most that may be spent and held in a month in Japan, of a project or of a whole organization."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import transaction
from django.db.models import Q, Sum
from django.utils import timezone
from django.utils.translation import gettext as _

from portal.accounts.models import Organization, Project, User
from portal.audit import recording as audit
from portal.billing import ledger
from portal.billing.models import BillingAccount, Budget, DailyCharge, Hold
from portal.core.periods import BillingMonth, billing_month
from portal.core.templatetags.formats import yen


class BelowCommitted(Exception):
    """A budget cannot be cut below what is spent this month and held for jobs."""

    def __init__(self, committed: int) -> None:
        super().__init__(committed)
        self.committed = committed

    @property
    def message(self) -> str:
        return _(
            "%(committed)s is already spent this month or held for jobs."
            " Enter at least this amount, or stop jobs first."
        ) % {"committed": yen(self.committed)}


@dataclass(frozen=True)
class Standing:
    """Where a budget stands: whole yen."""

    limit: int
    posted: int
    held: int

    @property
    def left(self) -> int:
        return max(0, self.limit - self.posted - self.held)


@transaction.atomic
def set_limit(
    organization: Organization, *, project: Project | None, monthly_limit: int | None, by: User
) -> Budget | None:
    """Set the monthly limit of the project, or of the organization without one; None takes the budget away.

    Raises BelowCommitted. The caller has checked that the person may.
    """
    account = ledger.locked(organization)
    budget = Budget.objects.select_for_update().filter(organization=organization, project=project).first()
    before = budget.monthly_limit if budget else None
    if monthly_limit == before:
        return budget
    if budget and monthly_limit is None:
        budget.delete()
        budget = None
    elif monthly_limit is not None:
        committed = _committed(account, project)
        if monthly_limit < committed:
            raise BelowCommitted(committed)
        budget = budget or Budget(organization=organization, project=project)
        budget.monthly_limit, budget.updated_by, budget.updated_at = monthly_limit, by, timezone.now()
        budget.save()
    audit.record(
        "budget.set",
        f"project:{project.code}" if project else f"organization:{organization.code}",
        actor=f"user:{by.pk}",
        chain=organization.code,
        detail={"before": before, "after": monthly_limit},
    )
    return budget


def standings(account: BillingAccount, project: Project, *, lock: bool = False) -> list[Standing]:
    """Of the budgets that bind the project now: its own and its organization's. Two or three queries."""
    budgets = Budget.objects.filter(organization=account.organization_id)
    budgets = budgets.filter(Q(project=None) | Q(project=project)).order_by("pk")
    if lock:
        budgets = budgets.select_for_update()
    return [
        Standing(
            limit=budget.monthly_limit,
            posted=_posted(account.organization_id, project if budget.project_id else None),
            held=_held(project) if budget.project_id else account.held,
        )
        for budget in budgets
    ]


def _committed(account: BillingAccount, project: Project | None) -> int:
    return _posted(account.organization_id, project) + (_held(project) if project else account.held)


def _posted(organization_id: int, project: Project | None) -> int:
    month: BillingMonth = billing_month(timezone.now())
    charges = DailyCharge.objects.filter(organization=organization_id, day__range=(month.first_day, month.last_day))
    if project:
        charges = charges.filter(project=project)
    return int(charges.aggregate(sum=Sum("amount", default=0))["sum"])


def _held(project: Project) -> int:
    """Also for jobs that began last month: what they will still use counts against this one."""
    open_holds = Hold.objects.filter(project=project, released_at=None)
    return int(open_holds.aggregate(sum=Sum("amount", default=0) - Sum("used", default=0))["sum"])
