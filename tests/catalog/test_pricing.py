from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from portal.catalog.models import Price, StoragePrice
from portal.catalog.pricing import (
    cost,
    cost_of_job,
    cost_of_lease,
    per_gpu_hour,
    price_at,
    prices_at,
    storage_price_at,
    with_tax,
    without_tax,
)
from tests.factories import OfferingFactory, PriceFactory, ProviderFactory

CHANGE = datetime(2026, 11, 24, 15, tzinfo=UTC)
INSTANT = timedelta(microseconds=1)


def price(**changes: Any) -> Price:
    given = {"unit": "second", "amount": Decimal("0.28"), "per_gpu": False, "tax_percent": Decimal(10)}
    return Price(**{**given, "tax_included": True, "minimum_s": 0, **changes})


def test_a_price_holds_from_its_first_instant_to_the_first_of_the_next(db: None) -> None:
    old = PriceFactory(valid_to=CHANGE)
    new = PriceFactory(offering=old.offering, valid_from=CHANGE)
    assert [price_at(old.offering, at) for at in (CHANGE - INSTANT, CHANGE, old.valid_from - INSTANT)] == [
        old,
        new,
        None,
    ]
    assert [set(prices_at(at)) for at in (CHANGE - INSTANT, CHANGE)] == [{old}, {new}]


def test_nothing_metered_is_charged_by_the_day_or_month(db: None) -> None:
    offering = OfferingFactory()
    for unit in ("day", "month"):
        PriceFactory(offering=offering, unit=unit)
    assert price_at(offering, CHANGE) is None
    hourly = PriceFactory(offering=offering, unit="hour")
    assert price_at(offering, CHANGE) == hourly


def test_of_two_rows_at_once_the_newer_holds(db: None) -> None:
    first = PriceFactory()
    second = PriceFactory(offering=first.offering)
    third = PriceFactory(offering=first.offering, valid_from=first.valid_from - timedelta(days=1))
    assert (price_at(first.offering, CHANGE), third.pk > second.pk) == (second, True)


def test_tax_is_added_or_taken_out_exactly() -> None:
    gross, net = price(amount=Decimal(110)), price(amount=Decimal(100), tax_included=False)
    assert [(with_tax(each), without_tax(each)) for each in (gross, net)] == [(110, 100), (110, 100)]


@pytest.mark.parametrize(
    ("changes", "gpus", "seconds", "yen"),
    [
        ({}, 1, 100, "28.00"),
        ({}, 8, 100, "28.00"),  # the plan's price, however many GPUs it has
        ({"per_gpu": True}, 8, 100, "224.00"),
        ({"unit": "minute", "amount": Decimal(20), "per_gpu": True}, 2, 90, "60"),
        ({"unit": "hour", "amount": Decimal(400), "tax_included": False}, 1, 1800, "220"),
        ({}, 1, 0, "0"),
        ({"minimum_s": 60}, 1, 1, "0.28"),  # the minimum is a matter of the whole job
    ],
)
def test_cost_of_use(changes: dict[str, Any], gpus: int, seconds: int, yen: str) -> None:
    assert cost(price(**changes), gpus=gpus, seconds=seconds) == Decimal(yen)


@pytest.mark.parametrize(("seconds", "yen"), [(0, "0"), (1, "16.8"), (60, "16.8"), (61, "17.08")])
def test_a_job_that_ran_at_all_costs_the_minimum(seconds: int, yen: str) -> None:
    assert cost_of_job(price(minimum_s=60), gpus=1, seconds=seconds) == Decimal(yen)


def test_slices_of_a_job_cost_what_the_whole_costs() -> None:
    whole = price(unit="hour", amount=Decimal("333.333333"), per_gpu=True)
    assert sum(cost(whole, gpus=3, seconds=600) for _ in range(6)) == cost(whole, gpus=3, seconds=3600)


@pytest.mark.parametrize(
    ("changes", "gpus", "yen"),
    [
        ({}, 1, "1008"),
        ({}, 8, "126"),
        ({"per_gpu": True}, 8, "1008"),
        ({"unit": "minute", "amount": Decimal(20), "per_gpu": True}, 4, "1200"),
        ({"unit": "month", "amount": Decimal(720_000)}, 8, "125"),
    ],
)
def test_offers_are_compared_by_one_gpu_and_hour(changes: dict[str, Any], gpus: int, yen: str) -> None:
    assert per_gpu_hour(price(**changes), gpus=gpus) == Decimal(yen)


def test_the_price_of_storage_holds_until_the_next_begins(db: None) -> None:
    instants = [datetime(2026, month, 1, tzinfo=UTC) for month in (11, 12)]
    seller = ProviderFactory()
    rows = [
        StoragePrice.objects.create(amount=amount, valid_from=at, source="x", as_of=at.date(), seller=seller)
        for amount, at in zip((0, 3), instants, strict=True)
    ]
    asked = [instants[0] - INSTANT, instants[0], instants[1] - INSTANT, instants[1]]
    assert [storage_price_at(at) for at in asked] == [None, rows[0], rows[0], rows[1]]
    assert [row.is_free for row in rows] == [True, False]


VRT = [price(unit=unit, amount=Decimal(yen)) for unit, yen in (("hour", 990), ("day", 23_100), ("month", 385_000))]


@pytest.mark.parametrize(
    ("hours", "yen"),
    [
        (1, 990),
        (23, 22_770),
        (24, 23_100),  # 24 x 990 = 23,760
        (25, 23_100 + 990),
        (16 * 24 + 15, 16 * 23_100 + 15 * 990),  # 384,450: still below a month
        (16 * 24 + 16, 385_000),
        (30 * 24, 385_000),
        (30 * 24 + 1, 385_000 + 990),
        (61 * 24, 2 * 385_000 + 23_100),
    ],
)
def test_the_cheapest_mix_of_units(hours: int, yen: int) -> None:
    assert cost_of_lease(VRT, gpus=1, hours=hours, best_of_units=True) == yen
    assert cost_of_lease(VRT[::-1], gpus=1, hours=hours, best_of_units=True) == yen


def test_one_unit_is_chosen_where_the_provider_mixes_none() -> None:
    chosen = [cost_of_lease(VRT, gpus=1, hours=hours, best_of_units=False) for hours in (1, 24, 25, 720, 721)]
    assert chosen == [990, 23_100, 24_750, 385_000, 713_790]


def test_a_mix_of_what_there_is() -> None:
    hour, day, month = VRT
    ways = [cost_of_lease(few, gpus=1, hours=25, best_of_units=True) for few in ([hour], [day], [month], [day, month])]
    assert ways == [24_750, 46_200, 385_000, 46_200]
