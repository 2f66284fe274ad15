"""Money put aside at submit, used up by charges, released at the end: no job starts that cannot be paid to its end."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from portal.accounts.models import Organization, Project
from portal.billing import budgets, credits, ledger
from portal.billing.models import BillingAccount, Hold, LedgerAccount
from portal.core.templatetags.formats import yen

LimitKind = Literal["credit", "budget"]


class OverBudget(Exception):
    """This exceeds the remaining budget, or the credit left."""

    def __init__(self, *, left: int, limit_kind: LimitKind) -> None:
        super().__init__(left, limit_kind)
        self.left = left
        self.limit_kind = limit_kind

    @property
    def message(self) -> str:
        """What the reader sees, in their language."""
        if self.limit_kind == "credit":
            sentence = _("This exceeds the credit left (%(left)s). Lower the cap or ask an administrator for credit.")
        else:
            sentence = _("This exceeds the remaining budget (%(left)s). Lower the cap or ask an administrator.")
        return sentence % {"left": yen(self.left)}


@dataclass(frozen=True)
class Room:
    """Whole yen that a new job in a project may hold."""

    credit_left: int
    budget_left: int | None  # None: neither the project nor its organization has a budget
    left: int


@transaction.atomic(savepoint=False)
def hold(organization: Organization, *, project: Project, job_code: str, amount: int, by: str) -> Hold:
    """Put `amount` yen aside for the job, once: the database refuses a second hold of one job.

    Raises OverBudget; nothing is held then. Locks the account, then the budgets, until the transaction ends.
    """
    if amount < 0:
        raise ValueError("A hold is not negative.")
    account = ledger.locked(organization)
    credits.expire(account, timezone.now())
    room = _room(account, project, lock=True)
    if amount > room.credit_left:
        raise OverBudget(left=room.credit_left, limit_kind="credit")
    if amount > room.left:
        raise OverBudget(left=room.left, limit_kind="budget")
    held = Hold.objects.create(organization=organization, project=project, job_code=job_code, amount=amount)
    ledger.post(
        account,
        {LedgerAccount.AVAILABLE: -amount, LedgerAccount.HELD: amount},
        reference=f"hold:{job_code}",
        by=by,
    )
    return held


@transaction.atomic(savepoint=False)
def release(job_code: str, *, by: str) -> int:
    """Give back what the job did not use. Yen given back; 0 when there is no hold or it is released already."""
    organization_id = Hold.objects.filter(job_code=job_code).values_list("organization_id", flat=True).first()
    if organization_id is None:
        return 0
    account = ledger.locked(organization_id)
    hold = Hold.objects.select_for_update().get(job_code=job_code)
    if hold.released_at is not None:
        return 0
    rest = hold.left
    hold.released_at = timezone.now()
    hold.save(update_fields=["released_at"])
    ledger.post(
        account,
        {LedgerAccount.HELD: -rest, LedgerAccount.AVAILABLE: rest},
        reference=f"release:{job_code}",
        by=by,
    )
    return rest


def left_of(job_code: str) -> int:
    """Yen still set aside for the job; 0 when nothing is."""
    hold = Hold.objects.filter(job_code=job_code).first()
    return hold.left if hold else 0


def amounts_of(job_codes: Collection[str]) -> dict[str, int]:
    """Yen set aside for each of the jobs at its submit, by code."""
    return dict(Hold.objects.filter(job_code__in=job_codes).values_list("job_code", "amount"))


def room_for(project: Project) -> Room:
    """For showing before the act: nothing is locked, so `hold` may still refuse."""
    account = BillingAccount.objects.filter(organization=project.organization_id).first()
    return _room(account or BillingAccount(organization_id=project.organization_id), project)


def room_without_hold(account: BillingAccount, project: Project) -> int:
    """Yen of free credit that may be charged now to the project, for what nothing is held for. The account is locked;
    locks the budgets."""
    return _room(account, project, lock=True).left


def _room(account: BillingAccount, project: Project, *, lock: bool = False) -> Room:
    credit_left = account.available
    budget_left = min((s.left for s in budgets.standings(account, project, lock=lock)), default=None)
    return Room(credit_left, budget_left, credit_left if budget_left is None else min(credit_left, budget_left))
