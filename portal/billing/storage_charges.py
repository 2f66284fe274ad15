"""Each day of stored bytes becomes one charge, at the price of storage that held when the day began.

Of a project and a month the charges come to the exact total cut to whole yen. They are paid out of the credit that is
free, within the budgets; what cannot be paid is never charged and never asked for again: the audit trail says how much.
"""

from __future__ import annotations

from datetime import date
from decimal import ROUND_DOWN, Decimal
from itertools import groupby

from django.db import transaction
from django.db.models import Min, Sum
from django.utils import timezone

from portal.audit import recording as audit
from portal.billing import holds, ledger, sums
from portal.billing.credit_uses import Spent, spread
from portal.billing.models import BillingAccount, Charge, ChargeKind, LedgerAccount
from portal.billing.periods import closed_of, day_to_book
from portal.billing.rating import add_to_days
from portal.catalog.models import StoragePrice
from portal.catalog.pricing import storage_price_at
from portal.core.periods import BillingMonth, day_of
from portal.usage.models import StorageUsage

BY = "portal:storage"
_BYTE_HOURS = 1000**3 * 24 * 30  # what a price is for: a GB over a month of 30 days
_SNAP = Decimal("1e-15")
_KEPT = Decimal("1e-9")


def charge_storage() -> int:
    """Charge every day that has no charge and a price, the oldest first, one organization per transaction. How many
    charges came of it; again: none. Days without a price, or with one of 0, have no charge."""
    first = StoragePrice.objects.filter(amount__gt=0).aggregate(first=Min("valid_from"))["first"]
    if first is None:
        return 0
    due = StorageUsage.objects.filter(charge=None, started_at__gte=first)
    organizations = due.order_by("organization").values_list("organization", flat=True).distinct()
    return sum(_charge(organization) for organization in list(organizations))


@transaction.atomic
def _charge(organization_id: int) -> int:
    account = ledger.locked(organization_id)
    due = StorageUsage.objects.filter(charge=None, organization=organization_id).select_related("project")
    prices: dict[date, StoragePrice | None] = {}
    charged = 0
    for day, rows in groupby(due.order_by("day", "project", "kind", "site"), key=lambda row: row.day):
        for row in rows:
            if day not in prices:
                prices[day] = storage_price_at(row.started_at)
            if (price := prices[day]) is not None and not price.is_free:
                _charge_row(account, row, price)
                charged += 1
    return charged


def _charge_row(account: BillingAccount, row: StorageUsage, price: StoragePrice) -> None:
    assert price.seller_id is not None  # the database takes no price without
    before = _cost_of_month(row)
    total = before + _cost(price, row.byte_hours)
    due = int(total.quantize(_SNAP)) - int(before.quantize(_SNAP))
    amount = min(due, holds.room_without_hold(account, row.project)) if due else 0
    booked = day_to_book(
        row.day,
        organization_id=row.organization_id,
        member_id=price.seller_id,
        today=day_of(timezone.now()),
        closed=closed_of([row.organization_id]),
    )
    in_place = booked == row.day
    charge: Charge = Charge.objects.create(
        kind=ChargeKind.STORAGE if in_place else ChargeKind.CORRECTION,
        storage=row,
        organization_id=row.organization_id,
        project_id=row.project_id,
        provider_id=price.seller_id,
        storage_price=price,
        day=booked,
        of_month=None if in_place else row.day.replace(day=1),
        amount=amount,
        exact=total.quantize(_KEPT, ROUND_DOWN) - before.quantize(_KEPT, ROUND_DOWN),
        tax_percent=price.tax_percent,
        contracting_member_id=price.seller_id,
        service_member_id=price.seller_id,
        host_member_id=price.seller_id,
    )
    spread(account, [Spent(charge.pk, "", amount)])
    sides = {LedgerAccount.AVAILABLE: -amount, LedgerAccount.SPENT: amount}
    ledger.post(account, sides, reference=f"charge:{charge.pk}", by=BY)
    add_to_days([(row.organization_id, booked, row.project_id, price.seller_id, None, amount)])
    sums.add([charge.pk])
    if due > amount:
        audit.record(
            "charge.overrun",
            f"project:{row.project.code}",
            actor=BY,
            chain=account.organization.code,
            detail={"charge": charge.pk, "not_charged": due - amount},
        )


def _cost_of_month(row: StorageUsage) -> Decimal:
    """Exact yen of the project's charged days in the month of the row."""
    month = BillingMonth(row.day.year, row.day.month)
    charged = Charge.objects.filter(
        storage__project=row.project_id, storage__day__range=(month.first_day, month.last_day)
    )
    parts = dict(charged.values_list("storage_price").annotate(sum=Sum("storage__byte_hours")).order_by())
    prices = StoragePrice.objects.in_bulk(parts)
    return sum((_cost(prices[price], byte_hours) for price, byte_hours in parts.items()), Decimal(0))


def _cost(price: StoragePrice, byte_hours: Decimal) -> Decimal:
    yen = price.amount if price.tax_included else price.amount * (1 + price.tax_percent / 100)
    return yen * byte_hours / _BYTE_HOURS
