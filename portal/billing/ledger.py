"""Double entry: the only writer of ledger entries and of an account's sums.

Money moves between four accounts of one organization: issued -> available -> held -> spent, and back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID, uuid4

from django.db import connection
from django.utils import timezone

from portal.accounts.models import Organization
from portal.billing.models import BillingAccount, LedgerAccount

# One trip: whoever spends or holds money of the organization waits until the account's row is free again.
_POST = """
WITH entries AS (
    INSERT INTO billing_ledgerentry (organization_id, posting, account, amount, reference, by, at)
    SELECT %(organization)s, posting, side, amount, reference, %(by)s, %(at)s
    FROM unnest(%(postings)s::uuid[], %(sides)s::text[], %(amounts)s::bigint[], %(references)s::text[])
        AS moved (posting, side, amount, reference)
)
UPDATE billing_billingaccount SET held = %(held)s, credit = %(credit)s, posted = %(posted)s
WHERE organization_id = %(organization)s
"""


Sides = Mapping[LedgerAccount, int]  # whole yen


class Unbalanced(Exception):
    """The sides of a posting do not add up to zero."""


def locked(organization: Organization | int) -> BillingAccount:
    """The organization's purse, made when there is none, locked until the transaction ends.

    Every act on money takes this lock first, then budgets, then the hold, then the audit chain: one order, no deadlock.
    """
    _require_transaction()
    pk = organization if isinstance(organization, int) else organization.pk
    accounts = BillingAccount.objects.select_for_update()
    if (account := accounts.filter(organization_id=pk).first()) is None:
        BillingAccount.objects.bulk_create([BillingAccount(organization_id=pk)], ignore_conflicts=True)
        account = accounts.get(organization_id=pk)
    return account


def post(account: BillingAccount, sides: Sides, *, reference: str, by: str) -> UUID | None:
    """Write one posting of a locked account and move its sums with it. Nothing to move: nothing is written, None."""
    return next(iter(post_all(account, [(reference, sides)], by=by)), None)


def post_all(account: BillingAccount, postings: Iterable[tuple[str, Sides]], *, by: str) -> list[UUID]:
    """Write many, each with its reference, in one trip. Those that move nothing are left out."""
    _require_transaction()
    rows: list[tuple[UUID, str, int, str]] = []
    written: list[UUID] = []
    for reference, sides in postings:
        if sum(sides.values()):
            raise Unbalanced(reference)
        moved = {side: amount for side, amount in sides.items() if amount}
        if not moved:
            continue
        posting = uuid4()
        written.append(posting)
        account.held += moved.get(LedgerAccount.HELD, 0)
        account.credit += moved.get(LedgerAccount.HELD, 0) + moved.get(LedgerAccount.AVAILABLE, 0)
        account.posted += moved.get(LedgerAccount.SPENT, 0)
        rows += [(posting, side.value, amount, reference) for side, amount in moved.items()]
    if not rows:
        return []
    ids, sides_, amounts, references = (list(column) for column in zip(*rows, strict=True))
    values: dict[str, Any] = {
        "organization": account.organization_id,
        "postings": ids,
        "sides": sides_,
        "amounts": amounts,
        "references": references,
        "by": by,
        "at": timezone.now(),
        "held": account.held,
        "credit": account.credit,
        "posted": account.posted,
    }
    with connection.cursor() as cursor:
        cursor.execute(_POST, values)
    return written


def _require_transaction() -> None:
    if not connection.in_atomic_block:
        raise RuntimeError("Money moves inside the transaction of the act that moves it.")
