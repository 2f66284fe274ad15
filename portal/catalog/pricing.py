"""Which price holds at which instant, and what an amount of use costs at it. Exact until somebody rounds by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from decimal import Decimal

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from portal.catalog.models import Offering, Price, PriceUnit, StoragePrice
from portal.core.caching import Briefly

SECONDS = {
    PriceUnit.SECOND: 1,
    PriceUnit.MINUTE: 60,
    PriceUnit.HOUR: 3600,
    PriceUnit.DAY: 86_400,
    PriceUnit.MONTH: 30 * 86_400,  # for comparison only: nothing metered by us is sold by the month
}
METERED = (PriceUnit.SECOND, PriceUnit.MINUTE, PriceUnit.HOUR)  # what a job can be charged by


@dataclass(frozen=True)
class NewPrice:
    unit: str
    amount: Decimal  # yen for one unit
    per_gpu: bool
    minimum_s: int
    valid_from: datetime
    source: str
    as_of: date
    confirmed: bool
    tax_included: bool = True
    tax_percent: Decimal = Decimal(10)


def units_like(unit: str) -> tuple[str, ...]:
    """Prices in these units take each other's place."""
    return METERED if unit in METERED else (unit,)


@transaction.atomic
def begin_price(offering: Offering, price: NewPrice) -> Price:
    """The one way a price gets in: a new dated row. What was valid ends where it begins, and it ends where a later one
    that is entered already begins. A job has one price: a new price by the minute ends one by the second too.

    The caller has locked the offering.
    """
    rows = Price.objects.filter(offering=offering, unit__in=units_like(price.unit))
    rows.filter(Q(valid_to=None) | Q(valid_to__gt=price.valid_from), valid_from__lte=price.valid_from).update(
        valid_to=price.valid_from
    )
    later = rows.filter(valid_from__gt=price.valid_from).order_by("valid_from").values_list("valid_from", flat=True)
    return Price.objects.create(offering=offering, valid_to=later.first(), **asdict(price))


def prices_at(at: datetime) -> QuerySet[Price]:
    """The rows valid at that instant, one per offering and unit."""
    return Price.objects.filter(Q(valid_to=None) | Q(valid_to__gt=at), valid_from__lte=at)


def price_at(offering: Offering, at: datetime) -> Price | None:
    """The price a job on this offering would be charged at, or None: not for sale by the job.

    Its `offering` is the row as it is now.
    """
    return (
        prices_at(at)
        .filter(offering=offering, unit__in=METERED)
        .select_related("offering")
        .order_by("-valid_from", "-pk")
        .first()
    )


def storage_price_at(at: datetime) -> StoragePrice | None:
    """What keeping data costs at that instant; None: nobody has decided it."""
    return StoragePrice.objects.filter(valid_from__lte=at).order_by("-valid_from").first()


_told = Briefly(30)


def storage_price_now() -> StoragePrice | None:
    """For showing, a few seconds old at most."""
    return _told.get("storage", lambda: storage_price_at(timezone.now()))


def forget_prices() -> None:
    """For tests, as jobs.offers.forget_offers."""
    _told.clear()


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


def cost_of_lease(prices: Sequence[Price], *, gpus: int, hours: int, best_of_units: bool) -> Decimal:
    """Exact yen, tax included, for a machine that is leased for so many hours. `prices`: the valid ones, at least one.

    `best_of_units`: no day costs more than the price of a day and no month more than that of a month, so that the mix
    is the cheapest. Otherwise one unit is chosen for all of the time, the cheapest; days and months are sold whole.
    A day is 24 hours and a month 30 days from the beginning of the lease: what 高火力 VRT means by them is not public.
    """
    if not best_of_units:
        return min(_in_one_unit(price, gpus=gpus, hours=hours) for price in prices)
    of_unit = {price.unit: _in_one_unit(price, gpus=gpus, hours=1) for price in prices}
    of_day, of_month = of_unit.get(PriceUnit.DAY), of_unit.get(PriceUnit.MONTH)
    by_use = [price for price in prices if price.unit in METERED]

    def within_a_day(hours: int) -> Decimal:
        ways = [cost_of_job(price, gpus=gpus, seconds=hours * 3600) for price in by_use]
        return min([*ways, *([of_day] if of_day is not None else [])])

    def within_a_month(hours: int) -> Decimal:
        days, rest = divmod(hours, 24)
        ways = [of_month] if of_month is not None else []
        if by_use or of_day is not None:
            ways.append(days * within_a_day(24) + (within_a_day(rest) if rest else 0))
        return min(ways)

    months, rest = divmod(hours, 30 * 24)
    return months * within_a_month(30 * 24) + (within_a_month(rest) if rest else 0)


def _in_one_unit(price: Price, *, gpus: int, hours: int) -> Decimal:
    """Days and months are sold whole; seconds, minutes and hours as used."""
    seconds = hours * 3600
    length = SECONDS[PriceUnit(price.unit)]
    if length >= 86_400:
        seconds = -(-seconds // length) * length
    return cost_of_job(price, gpus=gpus, seconds=seconds)


def per_gpu_hour(price: Price, *, gpus: int) -> Decimal:
    """Yen for one GPU and hour, tax included: what offers are compared by. `gpus`: how many the plan has."""
    hour = with_tax(price) * 3600 / SECONDS[PriceUnit(price.unit)]
    return hour if price.per_gpu else hour / gpus
