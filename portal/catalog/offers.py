"""Offerings as the catalog shows them: today's price, what was last seen free, whether a job can be created now."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from django.db.models import Q
from django.utils import timezone

from portal.accounts.models import Organization
from portal.catalog import pricing
from portal.catalog.availability import Standing, standings
from portal.catalog.models import CapacityObservation, Offering, OfferingKind, Price, PriceUnit

_UNIT_ORDER = [PriceUnit.SECOND, PriceUnit.MINUTE, PriceUnit.HOUR, PriceUnit.DAY, PriceUnit.MONTH]


@dataclass(frozen=True)
class Wish:
    """What the comparison is made for."""

    gpus: int | None = None  # None: the smallest the offering has
    hours: int = 24
    with_tax: bool = True


@dataclass(frozen=True)
class Offer:
    """One row. Amounts are yen, exact, with or without tax as wished; None: nobody has published a price. `prices`: all
    that hold, that of the smallest unit, which is `price`, first."""

    offering: Offering
    gpus: int
    prices: tuple[Price, ...]
    per_gpu_hour: Decimal | None
    total: Decimal | None
    standing: Standing
    is_cheapest: bool = False
    is_soonest: bool = False

    @property
    def price(self) -> Price | None:
        return self.prices[0] if self.prices else None

    @property
    def can_submit(self) -> bool:
        """A job can be created on it here and now (it may still have to wait)."""
        takes_jobs = self.offering.kind == OfferingKind.JOB and self.offering.unlisted_since is None
        return takes_jobs and self.standing.account is not None and self.price is not None

    @property
    def seen(self) -> CapacityObservation | None:
        return self.standing.seen

    @property
    def state(self) -> str:
        """available, few, full: seen lately. on_request, by_order: no live figure. unknown: nobody can say."""
        if self.offering.on_request:
            return "on_request"
        if self.offering.kind != OfferingKind.JOB:
            return "by_order"
        return "unknown" if self.seen is None else self.seen.state

    @property
    def read_from(self) -> Price | Offering:
        """Whose source and date stand beside the price."""
        return self.price or self.offering

    @property
    def is_confirmed(self) -> bool:
        return self.price.confirmed if self.price else self.offering.confirmed


def offers(
    wish: Wish,
    offerings: Iterable[Offering] | None = None,
    *,
    organization: Organization | None = None,
    at: datetime | None = None,
) -> list[Offer]:
    """In the catalog's order, as they stand for those of an organization, or of none. Three statements besides the
    offerings' own, however many there are."""
    now = at or timezone.now()
    chosen = list(listed(now) if offerings is None else offerings)
    ids = [offering.pk for offering in chosen]
    prices: dict[int, list[Price]] = {}
    for price in pricing.prices_at(now).filter(offering__in=ids).order_by("valid_from"):
        prices.setdefault(price.offering_id, []).append(price)
    standing = standings(chosen, organization=organization, at=now)
    return _mark_best([_offer(one, prices.get(one.pk, []), standing[one.pk], wish) for one in chosen])


def listed(now: datetime) -> Iterable[Offering]:
    today = timezone.localdate(now)
    return (
        Offering.objects.filter(Q(ends_on=None) | Q(ends_on__gte=today), active=True)
        .select_related("provider", "site")
        .order_by("provider__position", "pk")
    )


def _offer(offering: Offering, prices: list[Price], standing: Standing, wish: Wish) -> Offer:
    gpus = wish.gpus or offering.gpus_min
    prices = sorted(prices, key=lambda p: _UNIT_ORDER.index(PriceUnit(p.unit)))
    price = prices[0] if prices else None
    per_hour = total = None
    if price is not None:
        factor = Decimal(1) if wish.with_tax else pricing.without_tax(price) / pricing.with_tax(price)
        per_hour = pricing.per_gpu_hour(price, gpus=gpus) * factor
        total = factor * pricing.cost_of_lease(
            prices, gpus=gpus, hours=wish.hours, best_of_units=offering.best_of_units
        )
    return Offer(
        offering=offering,
        gpus=gpus,
        prices=tuple(prices),
        per_gpu_hour=per_hour,
        total=total,
        standing=standing,
    )


def _mark_best(rows: list[Offer]) -> list[Offer]:
    """The lowest price per GPU-hour of all shown; the first that is free now among those that take jobs."""
    priced = [row.per_gpu_hour for row in rows if row.per_gpu_hour is not None]
    cheapest = min(priced) if len(priced) > 1 else None
    free = [row.seen.free_gpus or 0 for row in rows if row.state == "available" and row.seen]
    most_free = max(free) if free else None
    return [
        replace(
            row,
            is_cheapest=cheapest is not None and row.per_gpu_hour == cheapest,
            is_soonest=most_free is not None
            and row.state == "available"
            and row.seen is not None
            and row.seen.free_gpus == most_free
            and len(rows) > 1,
        )
        for row in rows
    ]
