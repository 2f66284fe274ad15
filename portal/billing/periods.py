"""Months that are closed take no more charges: what comes late is booked on a day of an open one."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date

from portal.billing.models import BillingPeriod, PeriodState
from portal.core.periods import BillingMonth

Period = tuple[int, int, BillingMonth]  # organization, contracting member, month


def is_closed(organization_id: int, member_id: int, month: BillingMonth) -> bool:
    """Also while it closes. Asked under the account's lock, which closing takes too: the answer stays true until the
    transaction ends."""
    return (organization_id, member_id, month) in closed_of([organization_id])


def closed_of(organization_ids: Collection[int]) -> set[Period]:
    """Every closed month of these organizations, in one query."""
    rows = BillingPeriod.objects.filter(organization__in=organization_ids).exclude(state=PeriodState.OPEN)
    return {
        (organization, issuer, BillingMonth(month.year, month.month))
        for organization, issuer, month in rows.values_list("organization", "issuer", "month")
    }


def day_to_book(day: date, *, organization_id: int, member_id: int, today: date, closed: set[Period]) -> date:
    """The day itself while its month is open; else today, or the first day of the first month that is open."""

    def is_open(month: BillingMonth) -> bool:
        return (organization_id, member_id, month) not in closed

    if is_open(BillingMonth(day.year, day.month)):
        return day
    month, booked = BillingMonth(today.year, today.month), today
    while not is_open(month):
        month = month.next
        booked = month.first_day
    return booked
