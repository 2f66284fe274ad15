from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from portal.jobs import waits
from portal.jobs.models import Attempt
from portal.jobs.waits import ENOUGH, Expected, Start, expected, expected_now, expected_of
from tests.bench.waits import PLACES, held_out, simulated
from tests.factories import AttemptFactory, JobFactory, OfferingFactory, PriceFactory, ProviderAccountFactory


@pytest.fixture(autouse=True)
def _nothing_kept() -> None:
    waits.forget_starts()


def test_too_few_starts_say_nothing() -> None:
    assert expected([Start(10, 60)] * (ENOUGH - 1), hour=10) is None
    assert expected([Start(10, 60)] * ENOUGH, hour=10) == Expected(60, 60, ENOUGH)


def test_an_hour_is_learned_from_itself_and_those_beside_it() -> None:
    night = [Start(hour, 10) for hour in (23, 0, 1) for _n in range(20)]
    day = [Start(12, 1000)] * 100
    assert expected(night + day, hour=0) == Expected(10, 10, 60)
    assert expected(night + day, hour=12) == Expected(1000, 1000, 100)


def test_an_hour_with_too_few_is_learned_from_all() -> None:
    assert expected([Start(3, 5)] * 10 + [Start(12, 100)] * 90, hour=3) == Expected(100, 100, 100)


def test_the_quantiles_are_the_upper_ones_of_one_more() -> None:
    starts = [Start(1, wait) for wait in range(1, 100)]  # 99, so that one more makes 100
    assert expected(starts, hour=1) == Expected(50, 90, 99)


def test_who_has_waited_is_compared_with_those_who_waited_longer() -> None:
    starts = [Start(1, wait) for wait in range(1, 100)]
    assert expected(starts, hour=1, waited_s=49) == Expected(26, 46, 50)
    assert expected(starts, hour=1, waited_s=95) is None


def test_it_is_learned_from_the_starts_of_the_offering_in_the_last_weeks(db: None) -> None:
    offering = PriceFactory(offering=OfferingFactory()).offering
    price = offering.prices.get()
    at = datetime(2026, 12, 1, 1, 30, tzinfo=UTC)  # half past ten in Japan
    job, account = JobFactory(price=price), ProviderAccountFactory(provider=price.offering.provider)
    now = timezone.now()
    for number in range(40):
        begun = now - timedelta(days=1) if number < 35 else now - timedelta(days=29)
        AttemptFactory(
            job=JobFactory(price=price),
            account=account,
            created_at=begun,
            started_at=begun + timedelta(seconds=90),
            state="ended",
        )
    AttemptFactory(
        job=JobFactory(), account=account, created_at=now, started_at=now + timedelta(hours=9), state="ended"
    )
    waiting = AttemptFactory(job=job, account=account, created_at=now - timedelta(seconds=30))
    assert expected_now(offering.pk, now=at) == Expected(90, 90, 35)
    with CaptureQueriesContext(connection) as asked:
        assert expected_of(waiting, now=now) == Expected(60, 60, 35)
    assert len(asked) == 0


def test_of_very_many_starts_an_even_part_is_read(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits, "MOST_STARTS", 10)
    price = PriceFactory()
    now, account = timezone.now(), ProviderAccountFactory(provider=price.offering.provider)
    Attempt.objects.bulk_create(
        AttemptFactory.build(
            job=JobFactory(price=price), account=account, offering=price.offering, price=price,
            state="ended", created_at=now, started_at=now + timedelta(seconds=n),
        )
        for n in range(40)
    )  # fmt: skip
    assert [start.wait_s for start in waits.starts_of(price.offering_id)] == [3, 7, 11, 15, 19, 23, 27, 31, 35, 39]


@pytest.mark.parametrize("place", PLACES[:3], ids=lambda place: place.name)
def test_nine_of_ten_begin_within_what_was_said_in_weeks_that_were_not_seen(place: object) -> None:
    """More weeks, and a place of many short jobs: tests/bench/waits.py."""
    kept = held_out(simulated(place, weeks=8, seed=7), weeks=8)  # type: ignore[arg-type]
    assert kept.asked >= 200
    assert 0.85 <= kept.most <= 0.95, kept
