"""Money put aside at submit, used up by charges, released at the end: no job starts that cannot be paid to its end."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from portal.accounts.models import Organization, Project
from portal.billing import alerts, budgets, credits, ledger, spend_requests, tasks
from portal.billing.budgets import Standing
from portal.billing.models import Allowance, BillingAccount, Budget, Hold, LedgerAccount
from portal.celery import nudge
from portal.core.templatetags.formats import yen

LimitKind = Literal["credit", "budget", "approval", "stopped"]


class OverBudget(Exception):
    """This exceeds the remaining budget or the credit left, needs an approval first, or the budget lets nothing in."""

    def __init__(self, *, left: int, limit_kind: LimitKind) -> None:
        super().__init__(left, limit_kind)
        self.left = left
        self.limit_kind = limit_kind

    @property
    def can_be_approved(self) -> bool:
        return self.limit_kind in ("budget", "approval")

    @property
    def message(self) -> str:
        """What the reader sees, in their language."""
        if self.limit_kind == "credit":
            sentence = _("This exceeds the credit left (%(left)s). Lower the cap or ask an administrator for credit.")
        elif self.limit_kind == "approval":
            sentence = _("More than %(left)s needs an approval. Lower the cap or ask for one.")
        elif self.limit_kind == "stopped":
            sentence = _("The budget is spent to the point where it stops jobs. Ask an administrator to raise it.")
        else:
            sentence = _("This exceeds the remaining budget (%(left)s). Lower the cap or ask an administrator.")
        return sentence % {"left": yen(self.left)}


@dataclass(frozen=True)
class Room:
    """Whole yen that a new job in a project may hold."""

    credit_left: int
    budget_left: int | None  # None: neither the project nor its organization has a budget
    left: int
    without_approval: int  # of `left`, what needs nobody's approval
    is_stopped: bool = False  # so much is spent that a budget lets nothing in


@transaction.atomic(savepoint=False)
def hold(
    organization: Organization, *, project: Project, job_code: str, amount: int, by: str, digest: str = ""
) -> Hold:
    """Put `amount` yen aside for the job, once: the database refuses a second hold of one job.

    `digest`: of the job, under which an approval may have been given; it is used up if it is needed.
    Raises OverBudget; nothing is held then. Locks the account, then the budgets, until the transaction ends.
    """
    if amount < 0:
        raise ValueError("A hold is not negative.")
    account = ledger.locked(organization)
    credits.expire(account, timezone.now())
    bound = budgets.binding(account, project, lock=True)
    refusal = _refusal(account, bound, amount)
    approved = None
    if refusal is not None:
        if refusal.can_be_approved:
            in_the_way = [budget for budget, standing in bound if amount > standing.without_approval(budget)]
            approved = spend_requests.take(
                project, by=by, digest=digest, amount=amount, job_code=job_code,
                of_organization=any(budget.project_id is None for budget in in_the_way),
            )  # fmt: skip
        if approved is None:
            raise refusal
    held = Hold.objects.create(organization=organization, project=project, job_code=job_code, amount=amount)
    if approved is not None:
        beyond = [(budget, standing.committed + amount - standing.limit) for budget, standing in bound]
        Allowance.objects.bulk_create(
            Allowance(budget=budget, hold=held, amount=excess) for budget, excess in beyond if excess > 0
        )
    _put_aside(account, bound, job_code, amount, by)
    return held


@transaction.atomic(savepoint=False)
def hold_each(organization: Organization, *, project: Project, job_codes: Sequence[str], amount: int, by: str) -> None:
    """Put `amount` yen aside for each of the jobs, or for none: together they must fit where one hold must.

    An approval beyond a budget is given for one job, so none is used here. Raises OverBudget. Locks as `hold` does.
    """
    if amount < 0:
        raise ValueError("A hold is not negative.")
    account = ledger.locked(organization)
    credits.expire(account, timezone.now())
    bound = budgets.binding(account, project, lock=True)
    if refusal := _refusal(account, bound, amount * len(job_codes)):
        raise refusal
    Hold.objects.bulk_create(
        [Hold(organization=organization, project=project, job_code=code, amount=amount) for code in job_codes],
        batch_size=1_000,
    )
    sides = {LedgerAccount.AVAILABLE: -amount, LedgerAccount.HELD: amount}
    ledger.post_all(account, [(f"hold:{code}", sides) for code in job_codes], by=by)
    if any(alerts.is_reached_by(amount * len(job_codes), budget, standing) for budget, standing in bound):
        nudge(tasks.watch_budgets, account.organization_id)


def _put_aside(
    account: BillingAccount, bound: list[tuple[Budget, Standing]], job_code: str, amount: int, by: str
) -> None:
    ledger.post(
        account,
        {LedgerAccount.AVAILABLE: -amount, LedgerAccount.HELD: amount},
        reference=f"hold:{job_code}",
        by=by,
    )
    if any(alerts.is_reached_by(amount, budget, standing) for budget, standing in bound):
        nudge(tasks.watch_budgets, account.organization_id)


def _refusal(account: BillingAccount, bound: list[tuple[Budget, Standing]], amount: int) -> OverBudget | None:
    """Why so much may not be held, the reason that nobody here can lift first; None: it may."""
    room = _room(account, bound)
    if room.is_stopped:
        return OverBudget(left=0, limit_kind="stopped")
    if amount > room.credit_left:
        return OverBudget(left=room.credit_left, limit_kind="credit")
    if amount > room.left:
        return OverBudget(left=room.left, limit_kind="budget")
    if amount > room.without_approval:
        return OverBudget(left=room.without_approval, limit_kind="approval")
    return None


class Released(Exception):
    """Nothing is held for the job any more: it is over."""


@transaction.atomic(savepoint=False)
def grow(job_code: str, *, amount: int, by: str) -> int:
    """Put `amount` yen more aside for a job that is to go on; yen held for it in all, used or not.

    What was approved for it beyond a budget stays as it was. Raises OverBudget, Released; nothing is held then.
    Locks as `hold` does.
    """
    if amount < 0:
        raise ValueError("A hold does not grow by less than nothing.")
    found = Hold.objects.select_related("project").filter(job_code=job_code).first()
    if found is None:
        raise Released
    account = ledger.locked(found.organization_id)
    credits.expire(account, timezone.now())
    bound = budgets.binding(account, found.project, lock=True)
    hold = Hold.objects.select_for_update().get(pk=found.pk)
    if hold.released_at is not None:
        raise Released
    if (refusal := _refusal(account, bound, amount)) is not None:
        raise refusal
    hold.amount += amount
    hold.save(update_fields=["amount"])
    _put_aside(account, bound, job_code, amount, by)
    return hold.amount


@transaction.atomic(savepoint=False)
def shrink(job_code: str, *, amount: int, by: str) -> int:
    """Give back so much of what is held for a job that goes on, at most what it has left. Yen given back."""
    found = Hold.objects.filter(job_code=job_code).first()
    if found is None:
        return 0
    account = ledger.locked(found.organization_id)
    hold = Hold.objects.select_for_update().get(pk=found.pk)
    back = min(amount, hold.left)
    hold.amount -= back
    hold.save(update_fields=["amount"])
    ledger.post(
        account,
        {LedgerAccount.HELD: -back, LedgerAccount.AVAILABLE: back},
        reference=f"hold:{job_code}",
        by=by,
    )
    return back


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
    account = account or BillingAccount(organization_id=project.organization_id)
    return _room(account, budgets.binding(account, project))


def room_without_hold(account: BillingAccount, project: Project) -> int:
    """Yen of free credit that may be charged now to the project, for what nothing is held for. The account is locked;
    locks the budgets."""
    return _room(account, budgets.binding(account, project, lock=True)).left


def _room(account: BillingAccount, bound: list[tuple[Budget, Standing]]) -> Room:
    credit_left = account.available
    is_stopped = any(standing.is_stopped(budget) for budget, standing in bound)
    budget_left = 0 if is_stopped else min((standing.left for _, standing in bound), default=None)
    left = credit_left if budget_left is None else min(credit_left, budget_left)
    return Room(
        credit_left=credit_left,
        budget_left=budget_left,
        left=left,
        without_approval=min([left, *(standing.without_approval(budget) for budget, standing in bound)]),
        is_stopped=is_stopped,
    )
