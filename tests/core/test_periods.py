from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.core.periods import (
    JST,
    BillingMonth,
    FiscalSpan,
    Interval,
    billing_month,
    day_of,
    fiscal_year,
    interval_of_day,
    interval_of_fiscal_year,
    split_at_month_ends,
)

NOON = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
instants = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))


def test_month_changes_at_15_utc_because_japan_is_9_hours_ahead() -> None:
    border = datetime(2026, 11, 30, 15, 0, tzinfo=UTC)
    assert billing_month(border - timedelta(microseconds=1)) == BillingMonth(2026, 11)
    assert billing_month(border) == BillingMonth(2026, 12)
    assert BillingMonth(2026, 12).interval == Interval(border, datetime(2026, 12, 31, 15, 0, tzinfo=UTC))


def test_neighbours_of_a_month_cross_the_year() -> None:
    assert BillingMonth(2026, 12).next == BillingMonth(2027, 1)
    assert BillingMonth(2027, 1).previous == BillingMonth(2026, 12)
    assert (BillingMonth(2028, 2).first_day, BillingMonth(2028, 2).last_day) == (date(2028, 2, 1), date(2028, 2, 29))


def test_a_month_in_a_url_is_read_and_written_the_same() -> None:
    assert str(BillingMonth.parse("2026-01")) == "2026-01"


@pytest.mark.parametrize(
    "wrong", ["", "2026", "2026-13", "2026-00", "2026-1", "0000-01", "9999-01", "2026-1１", "20261-1", "a-b"]
)
def test_what_is_no_month_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError):
        BillingMonth.parse(wrong)


def test_interval_is_half_open_and_kept_in_utc() -> None:
    interval = Interval(NOON.astimezone(JST), NOON + HOUR)
    assert (interval.start, interval.start.tzinfo) == (NOON, UTC)
    assert (NOON in interval, NOON + HOUR in interval) == (True, False)
    assert (interval.duration, interval.seconds) == (HOUR, 3600)


def test_started_second_is_not_counted() -> None:
    assert Interval(NOON, NOON + timedelta(seconds=1.999)).seconds == 1


def test_neighbouring_intervals_do_not_overlap() -> None:
    first, second = Interval(NOON, NOON + HOUR), Interval(NOON + HOUR, NOON + 2 * HOUR)
    assert (first.overlaps(second), bool(first.intersection(second))) == (False, False)
    assert first.intersection(Interval(NOON + HOUR / 2, NOON + 9 * HOUR)) == Interval(NOON + HOUR / 2, NOON + HOUR)
    assert not second.intersection(Interval(NOON - 9 * HOUR, NOON))


def test_interval_refuses_no_zone_and_reversed_ends() -> None:
    with pytest.raises(ValueError, match="time zone"):
        Interval(NOON.replace(tzinfo=None), NOON)
    with pytest.raises(ValueError, match="before"):
        Interval(NOON, NOON - HOUR)


def test_split_at_month_ends_of_a_job_over_new_year() -> None:
    border = datetime(2026, 12, 31, 15, 0, tzinfo=UTC)
    assert split_at_month_ends(Interval(border - HOUR, border + HOUR)) == [
        Interval(border - HOUR, border),
        Interval(border, border + HOUR),
    ]
    assert split_at_month_ends(Interval(border - HOUR, border)) == [Interval(border - HOUR, border)]
    assert split_at_month_ends(Interval(NOON, NOON)) == []


@given(instants, st.timedeltas(timedelta(0), timedelta(days=400)))
def test_split_pieces_join_to_the_whole_and_stay_in_one_month(start: datetime, length: timedelta) -> None:
    whole = Interval(start, start + length)
    pieces = split_at_month_ends(whole)
    assert sum((p.duration for p in pieces), timedelta(0)) == length
    assert all(a.end == b.start for a, b in pairwise(pieces))
    for piece in pieces:
        assert billing_month(piece.start) == billing_month(piece.end - timedelta(microseconds=1))


def test_day_and_its_interval() -> None:
    assert day_of(datetime(2026, 11, 24, 15, 0, tzinfo=UTC)) == date(2026, 11, 25)
    assert interval_of_day(date(2026, 11, 25)) == Interval(
        datetime(2026, 11, 24, 15, 0, tzinfo=UTC), datetime(2026, 11, 25, 15, 0, tzinfo=UTC)
    )


def test_fiscal_year_is_april_to_march() -> None:
    border = datetime(2026, 3, 31, 15, 0, tzinfo=UTC)
    assert (fiscal_year(border - timedelta(seconds=1)), fiscal_year(border)) == (2025, 2026)
    assert interval_of_fiscal_year(2026).start == border
    assert interval_of_fiscal_year(2025).end == border


@pytest.mark.parametrize(
    ("code", "months", "previous", "following", "year_before"),
    [
        ("2026fy", ("2026-04", "2027-03", 12), "2025fy", "2027fy", "2025fy"),
        ("2026h1", ("2026-04", "2026-09", 6), "2025h2", "2026h2", "2025h1"),
        ("2026h2", ("2026-10", "2027-03", 6), "2026h1", "2027h1", "2025h2"),
    ],
)
def test_a_fiscal_year_and_its_halves(
    code: str, months: tuple[str, str, int], previous: str, following: str, year_before: str
) -> None:
    span = FiscalSpan.parse(code)
    assert str(span) == code
    assert (str(span.months[0]), str(span.months[-1]), len(span.months)) == months
    assert [str(s) for s in (span.previous, span.next, span.year_before)] == [previous, following, year_before]


@pytest.mark.parametrize("code", ["", "2026", "2026h3", "2026FY", "0000fy", "9999fy", "２０２６fy", "2026-04"])
def test_what_is_no_span_is_refused(code: str) -> None:
    with pytest.raises(ValueError):
        FiscalSpan.parse(code)
