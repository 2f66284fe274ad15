"""Which credits many charges are taken from, and which get back what is taken back: gone through in memory, in order.

Soonest-expiring first, and what is to be invoiced after all that is given or paid. A job gets back what it used last.
"""

from __future__ import annotations

from bisect import insort
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from django.db import connection

from portal.billing.models import BillingAccount, CreditKind
from portal.core.bulk import copy_rows

_NEVER = datetime.max.replace(tzinfo=UTC)


class Spent(NamedTuple):
    """What one charge takes, or gives back: less than zero."""

    charge_id: int
    job_code: str
    amount: int


class NotCovered(RuntimeError):
    """More was charged than there is credit for, or given back than was charged: verify_ledger tells where."""


@dataclass(slots=True)
class _Purse:
    left: dict[int, int] = field(default_factory=dict)  # by credit
    order: list[tuple[bool, datetime, int]] = field(default_factory=list)  # of those with something left
    place: dict[int, tuple[bool, datetime, int]] = field(default_factory=dict)
    used: defaultdict[str, list[list[int]]] = field(default_factory=lambda: defaultdict(list))  # by job: [credit, yen]

    def take(self, spent: Spent) -> dict[int, int]:
        parts: dict[int, int] = {}
        due = spent.amount
        while due:
            if not self.order:
                raise NotCovered(f"charge:{spent.charge_id}")
            credit = self.order[0][-1]
            part = min(due, self.left[credit])
            self.left[credit] -= part
            if not self.left[credit]:
                del self.order[0]
            parts[credit] = part
            self.used[spent.job_code].append([credit, part])
            due -= part
        return parts

    def give_back(self, spent: Spent) -> dict[int, int]:
        parts: dict[int, int] = {}
        due = -spent.amount
        newest_last = self.used[spent.job_code]
        while due:
            if not newest_last:
                raise NotCovered(f"charge:{spent.charge_id}")
            credit, yen = newest_last[-1]
            part = min(due, yen)
            newest_last[-1][1] -= part
            if not newest_last[-1][1]:
                newest_last.pop()
            if not self.left[credit]:
                insort(self.order, self.place[credit])
            self.left[credit] += part
            parts[credit] = parts.get(credit, 0) - part
            due -= part
        return parts


def spread(account: BillingAccount, spent: Sequence[Spent]) -> None:
    """For one locked account, in order. Raises NotCovered."""
    spent = [each for each in spent if each.amount]
    if not spent:
        return
    purse = _purse(account, sorted({each.job_code for each in spent if each.amount < 0}))
    before = dict(purse.left)
    rows: list[tuple[int, int, int]] = []
    for each in spent:
        parts = purse.take(each) if each.amount > 0 else purse.give_back(each)
        rows += [(each.charge_id, credit, yen) for credit, yen in parts.items()]
    copy_rows("billing_credituse", ("charge_id", "credit_id", "amount"), rows)
    moved = {credit: before[credit] - left for credit, left in purse.left.items() if left != before[credit]}
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE billing_credit SET used = used + moved.yen"
            " FROM unnest(%s::bigint[], %s::bigint[]) AS moved (id, yen) WHERE billing_credit.id = moved.id",
            [list(moved), list(moved.values())],
        )


def _purse(account: BillingAccount, giving_back: list[str]) -> _Purse:
    """Credits with something left; and of jobs that give back what they used, the last one last, with its credits."""
    purse = _Purse()
    if giving_back:
        for job_code, credit, yen in _fetch(_USED, [giving_back]):
            purse.used[job_code].append([credit, yen])
    used = [credit for uses in purse.used.values() for credit, _yen in uses]
    for credit, kind, expires_at, left in _fetch(_LEFT, [account.organization_id, used]):
        purse.left[credit] = left
        purse.place[credit] = (kind == CreditKind.INVOICE, expires_at or _NEVER, credit)
        if left:
            purse.order.append(purse.place[credit])
    purse.order.sort()
    return purse


def _fetch(sql: str, values: list[Any]) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        rows: list[Any] = cursor.fetchall()
    return rows


_LEFT = """
    SELECT id, kind, expires_at, amount - used - expired FROM billing_credit
    WHERE organization_id = %s AND (amount > used + expired OR id = ANY(%s::bigint[]))
"""
_USED = """
    SELECT charge.job_code, used.credit_id, sum(used.amount)::bigint
    FROM billing_charge charge JOIN billing_credituse used ON used.charge_id = charge.id
    WHERE charge.job_code = ANY(%s) GROUP BY charge.job_code, used.credit_id HAVING sum(used.amount) > 0
    ORDER BY max(used.id) FILTER (WHERE used.amount > 0)
"""
