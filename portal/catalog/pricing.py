"""Which price holds at which instant, and what an amount of use costs at it. Exact until somebody rounds by name."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from django.db.models import Q, QuerySet

from portal.catalog.models import Offering, Price, PriceUnit

SECONDS = {
    PriceUnit.SECOND: 1,
    PriceUnit.MINUTE: 60,
    PriceUnit.HOUR: 3600,
    PriceUnit.DAY: 86_400,
    PriceUnit.MONTH: 30 * 86_400,  # for comparison only: nothing metered by us is sold by the month
}


def prices_at(at: datetime) -> QuerySet[Price]:
    """The rows valid at that instant, one per offering and unit."""
    return Price.objects.filter(Q(valid_to=None) | Q(valid_to__gt=at), valid_from__lte=at)


def price_at(offering: Offering, at: datetime) -> Price | None:
    """The price a job on this offering would be charged at, or None: not for sale by the job.

    Its `offering` is the row as it is now.
    """
    return (
        prices_at(at)
        .filter(offering=offering, unit__in=[PriceUnit.SECOND, PriceUnit.MINUTE, PriceUnit.HOUR])
        .select_related("offering")
        .order_by("-valid_from", "-pk")
        .first()
    )


def with_tax(price: Price) -> Decimal:
    """Yen for one unit, tax included, not rounded."""
    return price.amount if price.tax_included else price.amount * (1 + price.tax_percent / 100)


def without_tax(price: Price) -> Decimal:
    return price.amount / (1 + price.tax_percent / 100) if price.tax_included else price.amount


def cost(price: Price, *, gpus: int, seconds: int) -> Decimal:
    """Exact yen, tax included, for that many GPUs over that many seconds. The minimum duration is not applied here."""
    units = Decimal(seconds) / SECONDS[PriceUnit(price.unit)]
    return with_tax(price) * units * (gpus if price.per_gpu else 1)


def cost_of_job(price: Price, *, gpus: int, seconds: int) -> Decimal:
    """Exact yen for a whole job: a job that ran at all is charged at least the price's minimum duration."""
    return cost(price, gpus=gpus, seconds=max(seconds, price.minimum_s) if seconds > 0 else 0)


def per_gpu_hour(price: Price, *, gpus: int) -> Decimal:
    """Yen for one GPU and hour, tax included: what offers are compared by. `gpus`: how many the plan has."""
    hour = with_tax(price) * 3600 / SECONDS[PriceUnit(price.unit)]
    return hour if price.per_gpu else hour / gpus
