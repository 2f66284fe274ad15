import threading
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from portal.accounts.models import Project, User
from portal.catalog.models import Price
from portal.usage.models import DailyUsage, UsageRecord
from portal.usage.recording import OtherNumbers, record
from tests.factories import PriceFactory, UserFactory
from tests.factories.billing import jst


@pytest.fixture
def facts(project: Project) -> dict[str, Any]:
    price: Price = PriceFactory()
    user: User = UserFactory()
    return {
        "attempt_code": "a1",
        "job_code": "J-1",
        "organization": project.organization,
        "project": project,
        "user": user,
        "offering": price.offering,
        "price": price,
        "gpus": 2,
    }


def shown(records: list[UsageRecord]) -> list[tuple[Any, ...]]:
    return [(r.started_at, r.ended_at, r.seconds, r.gpu_seconds, r.day) for r in records]


def days() -> list[tuple[Any, ...]]:
    return list(DailyUsage.objects.order_by("day").values_list("day", "gpu_seconds", "metered_until"))


def test_record_is_cut_at_midnight_in_japan_and_so_at_the_month_end(facts: dict[str, Any]) -> None:
    start, midnight, end = jst(2026, 11, 30, 23, 59, 30), jst(2026, 12, 1), jst(2026, 12, 1, 0, 1)
    assert midnight == datetime(2026, 11, 30, 15, tzinfo=UTC)
    records = record(**facts, started_at=start, ended_at=end)
    assert shown(records) == [
        (start, midnight, 30, 60, date(2026, 11, 30)),
        (midnight, end, 60, 120, date(2026, 12, 1)),
    ]
    assert days() == [(date(2026, 11, 30), 60, midnight), (date(2026, 12, 1), 120, end)]


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (jst(2026, 12, 31, 23, 59, 59), jst(2027, 1, 1), [(date(2026, 12, 31), 1)]),
        (jst(2027, 1, 1), jst(2027, 1, 1, 0, 0, 1), [(date(2027, 1, 1), 1)]),
        (
            jst(2028, 2, 28, 12),
            jst(2028, 3, 1, 12),
            [(date(2028, 2, 28), 43200), (date(2028, 2, 29), 86400), (date(2028, 3, 1), 43200)],
        ),
    ],
)
def test_an_interval_belongs_to_the_days_it_touches(
    facts: dict[str, Any], start: datetime, end: datetime, expected: list[tuple[date, int]]
) -> None:
    assert [(r.day, r.seconds) for r in record(**facts, started_at=start, ended_at=end)] == expected


def test_the_same_interval_again_changes_nothing(facts: dict[str, Any]) -> None:
    start, end = jst(2026, 11, 30, 23), jst(2026, 12, 1, 1)
    first = record(**facts, started_at=start, ended_at=end)
    before = days()
    assert record(**facts, started_at=start, ended_at=end) == first
    assert (UsageRecord.objects.count(), days()) == (2, before)


@pytest.mark.parametrize(("start", "end"), [(0, 61), (0, 59), (30, 90), (-10, 5), (10, 20)])
def test_other_numbers_for_recorded_time_are_refused(facts: dict[str, Any], start: int, end: int) -> None:
    noon = jst(2026, 11, 24, 12)
    record(**facts, started_at=noon, ended_at=noon + timedelta(seconds=60))
    with pytest.raises(OtherNumbers):
        record(**facts, started_at=noon + timedelta(seconds=start), ended_at=noon + timedelta(seconds=end))
    assert days() == [(date(2026, 11, 24), 120, noon + timedelta(seconds=60))]


def test_fractions_of_seconds_are_neither_lost_nor_counted_twice(facts: dict[str, Any]) -> None:
    noon = jst(2026, 11, 24, 12)
    marks = [noon + timedelta(milliseconds=ms) for ms in (0, 900, 1700, 2600, 3999, 4000)]
    for start, end in pairwise(marks):
        record(**facts, started_at=start, ended_at=end)
    assert days() == [(date(2026, 11, 24), 8, noon + timedelta(seconds=4))]


def test_less_than_a_second_is_nothing(facts: dict[str, Any]) -> None:
    noon = jst(2026, 11, 24, 12)
    assert record(**facts, started_at=noon, ended_at=noon + timedelta(milliseconds=999)) == []
    assert days() == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"gpus": 0},
        {"gpus": -1},
        {"ended_at": jst(2026, 11, 24, 11)},
        {"ended_at": datetime(2026, 11, 24, 13)},
    ],
)
def test_impossible_intervals_are_refused(facts: dict[str, Any], wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        record(**{**facts, "started_at": jst(2026, 11, 24, 12), "ended_at": jst(2026, 11, 24, 13), **wrong})
    assert days() == []


def test_the_database_refuses_to_change_or_remove_a_record(facts: dict[str, Any]) -> None:
    record(**facts, started_at=jst(2026, 11, 24), ended_at=jst(2026, 11, 25))
    for statement in ("UPDATE usage_usagerecord SET gpus = 1", "DELETE FROM usage_usagerecord"):
        with pytest.raises(IntegrityError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement)
    assert UsageRecord.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_writers_at_the_same_moment_lose_nothing_and_repeat_nothing(facts: dict[str, Any]) -> None:
    """8 writers: each its own attempt, and all of them the same attempt too."""
    noon = jst(2026, 11, 24, 12)

    def work(number: int) -> None:
        try:
            for minute in range(5):
                start = noon + timedelta(minutes=minute)
                for code in (f"own{number}", "shared"):
                    with transaction.atomic():
                        record(
                            **{**facts, "attempt_code": code}, started_at=start, ended_at=start + timedelta(minutes=1)
                        )
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=[n]) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert days() == [(date(2026, 11, 24), 9 * 5 * 60 * 2, noon + timedelta(minutes=5))]
    assert UsageRecord.objects.count() == 45
