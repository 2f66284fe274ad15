"""Half-open intervals of time, and the months, days and fiscal years of Asia/Tokyo in which usage is billed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

JST = ZoneInfo("Asia/Tokyo")  # no summer time: a day there is always 24 hours and begins at 15:00 UTC


@dataclass(frozen=True, order=True, slots=True)
class Interval:
    """From `start` up to, not including, `end`. Both are aware and kept in UTC; it may be empty, never reversed."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        for name in ("start", "end"):
            instant = getattr(self, name)
            if instant.tzinfo is None:
                raise ValueError(f"Interval.{name} needs a time zone.")
            object.__setattr__(self, name, instant.astimezone(UTC))
        if self.end < self.start:
            raise ValueError("Interval ends before it starts.")

    @property
    def duration(self) -> timedelta:
        return self.end - self.start

    @property
    def seconds(self) -> int:
        """Whole seconds; a started second is not counted."""
        return self.duration // timedelta(seconds=1)

    def __bool__(self) -> bool:
        return self.start < self.end

    def __contains__(self, instant: datetime) -> bool:
        return self.start <= instant < self.end

    def overlaps(self, other: Interval) -> bool:
        return bool(self.intersection(other))

    def intersection(self, other: Interval) -> Interval:
        """What both share; an empty interval when that is nothing."""
        start = max(self.start, other.start)
        return Interval(start, max(start, min(self.end, other.end)))


@dataclass(frozen=True, order=True, slots=True)
class BillingMonth:
    """A calendar month in Japan."""

    year: int
    month: int

    def __post_init__(self) -> None:
        if not (1 <= self.year <= 9998 and 1 <= self.month <= 12):
            raise ValueError(f"No month {self.year}-{self.month}.")

    @classmethod
    def parse(cls, code: str) -> BillingMonth:
        """`"2026-11"`. ValueError for anything else."""
        year, dash, month = code.partition("-")
        if not (dash and code.isascii() and year.isdigit() and len(year) == 4 and month.isdigit() and len(month) == 2):
            raise ValueError(f"Not a month: {code[:20]!r}")
        return cls(int(year), int(month))

    def __str__(self) -> str:
        return f"{self.year:04}-{self.month:02}"

    @property
    def first_day(self) -> date:
        return date(self.year, self.month, 1)

    @property
    def last_day(self) -> date:
        return self.next.first_day - timedelta(days=1)

    @property
    def interval(self) -> Interval:
        return Interval(_midnight(self.first_day), _midnight(self.next.first_day))

    @property
    def next(self) -> BillingMonth:
        return BillingMonth(self.year + 1, 1) if self.month == 12 else BillingMonth(self.year, self.month + 1)

    @property
    def previous(self) -> BillingMonth:
        return BillingMonth(self.year - 1, 12) if self.month == 1 else BillingMonth(self.year, self.month - 1)


@dataclass(frozen=True, order=True, slots=True)
class FiscalSpan:
    """A Japanese fiscal year, April to March, or one half of it (前期, 後期). Codes: `2026fy`, `2026h1`, `2026h2`."""

    year: int  # in which the fiscal year begins
    half: Literal[0, 1, 2] = 0  # 0: all of it

    def __post_init__(self) -> None:
        if not (1 <= self.year <= 9997 and self.half in (0, 1, 2)):
            raise ValueError(f"No span {self.year} {self.half}.")

    @classmethod
    def parse(cls, code: str) -> FiscalSpan:
        """ValueError for anything but a code."""
        year, kind = code[:4], code[4:]
        if not (year.isascii() and year.isdigit() and len(year) == 4 and kind in _HALVES):
            raise ValueError(f"Not a fiscal year or half: {code[:20]!r}")
        return cls(int(year), _HALVES[kind])

    def __str__(self) -> str:
        return f"{self.year:04}{next(kind for kind, half in _HALVES.items() if half == self.half)}"

    @property
    def months(self) -> list[BillingMonth]:
        first = BillingMonth(self.year, 10 if self.half == 2 else 4)
        months = [first]
        while len(months) < (6 if self.half else 12):
            months.append(months[-1].next)
        return months

    @property
    def year_before(self) -> FiscalSpan:
        return FiscalSpan(self.year - 1, self.half)

    @property
    def previous(self) -> FiscalSpan:
        if self.half == 0:
            return self.year_before
        return FiscalSpan(self.year, 1) if self.half == 2 else FiscalSpan(self.year - 1, 2)

    @property
    def next(self) -> FiscalSpan:
        if self.half == 0:
            return FiscalSpan(self.year + 1)
        return FiscalSpan(self.year, 2) if self.half == 1 else FiscalSpan(self.year + 1, 1)


_HALVES: dict[str, Literal[0, 1, 2]] = {"fy": 0, "h1": 1, "h2": 2}


def billing_month(instant: datetime) -> BillingMonth:
    day = day_of(instant)
    return BillingMonth(day.year, day.month)


def split_at_month_ends(interval: Interval) -> list[Interval]:
    """The same time in pieces, none of which crosses a month's end in Japan. Nothing for an empty interval."""
    pieces = []
    start = interval.start
    while start < interval.end:
        end = min(interval.end, billing_month(start).interval.end)
        pieces.append(Interval(start, end))
        start = end
    return pieces


def day_of(instant: datetime) -> date:
    """The calendar day in Japan."""
    if instant.tzinfo is None:
        raise ValueError("day_of needs an instant with a time zone.")
    return instant.astimezone(JST).date()


def interval_of_day(day: date) -> Interval:
    return Interval(_midnight(day), _midnight(day + timedelta(days=1)))


def fiscal_year(instant: datetime) -> int:
    """The Japanese fiscal year, April to March, named by the year in which it begins."""
    return fiscal_year_of_day(day_of(instant))


def fiscal_year_of_day(day: date) -> int:
    return day.year if day.month >= 4 else day.year - 1


def interval_of_fiscal_year(year: int) -> Interval:
    return Interval(_midnight(date(year, 4, 1)), _midnight(date(year + 1, 4, 1)))


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=JST)
