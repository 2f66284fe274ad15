"""What a stream of usage reports must come to, told by a program that shares nothing with the portal but the rules.

Plain Python and fractions, one report after the other. `stream` makes reports up: doubled, late, disordered, corrected.
"""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from fractions import Fraction
from math import floor
from zoneinfo import ZoneInfo

JAPAN = ZoneInfo("Asia/Tokyo")
SLOT_S = 900
SLOTS = 50  # of one attempt


@dataclass(frozen=True)
class Tariff:
    """Yen, tax included, for a second of the whole job; a job that ran at all pays so many seconds at least."""

    per_second: Fraction
    minimum_s: int


@dataclass(frozen=True)
class Work:
    """An attempt, the only one of its job."""

    code: str
    job: str
    place: tuple[int, int, int]  # organization, project, offering
    gpus: int
    tariff: Tariff
    starts_at: int  # seconds since 1970


@dataclass(frozen=True)
class Told:
    line: str
    work: Work
    start: int
    end: int


@dataclass
class Books:
    """GPU-seconds and yen of each place and day in Japan, and yen of each job."""

    gpu_seconds: dict[tuple[int, int, int, date], int] = field(default_factory=lambda: defaultdict(int))
    yen: dict[tuple[int, int, int, date], int] = field(default_factory=lambda: defaultdict(int))
    of_job: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    seconds: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    ever: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    closed: set[tuple[int, int]] = field(default_factory=set)  # years and months
    today: date = date(1970, 1, 1)

    def hear(self, told: Told) -> None:
        known = self.ever.setdefault(told.line, [])
        if (told.start, told.end) in known:
            return
        if known:
            for start, end in by_day(*known[-1]):
                self._book(told.work, start, end, -1)
        for start, end in by_day(told.start, told.end):
            self._book(told.work, start, end, 1)
        known.append((told.start, told.end))

    def _book(self, work: Work, start: int, end: int, sign: int) -> None:
        day = in_japan(start).date()
        self.gpu_seconds[*work.place, day] += sign * (end - start) * work.gpus
        self.seconds[work.job] += sign * (end - start)
        used = self.seconds[work.job]
        owed = floor(work.tariff.per_second * max(used, work.tariff.minimum_s)) if used else 0
        booked = self.today if (day.year, day.month) in self.closed else day
        self.yen[*work.place, booked] += owed - self.of_job[work.job]
        self.of_job[work.job] = owed


def in_japan(second: int) -> datetime:
    return datetime.fromtimestamp(second, JAPAN)


def by_day(start: int, end: int) -> list[tuple[int, int]]:
    at = in_japan(start)
    midnight = datetime(at.year, at.month, at.day, tzinfo=JAPAN) + timedelta(days=1)
    border = int(midnight.timestamp())
    return [(start, end)] if end <= border else [(start, border), *by_day(border, end)]


def stream(works: list[Work], dice: random.Random) -> list[Told]:
    """SLOTS reports of each, in the order in which they arrive. Of every hundred, ten come much too late, five in
    another order than they were made, twenty twice, and one is told once more with other numbers."""
    arriving: list[tuple[float, int, Told]] = []
    number = 0

    def arrive(at: float, told: Told) -> None:
        nonlocal number
        number += 1
        arriving.append((at, number, told))

    for work in works:
        for slot in range(SLOTS):
            start = work.starts_at + slot * SLOT_S
            told = Told(f"{work.code}/{slot}", work, start, start + SLOT_S)
            at = float(told.end)
            luck = dice.random()
            if luck < 0.10:
                at += dice.uniform(86_400, 45 * 86_400)
            elif luck < 0.15:
                at += dice.uniform(-SLOT_S, SLOT_S) * 3
            arrive(at, told)
            if dice.random() < 0.20:
                arrive(at + dice.uniform(0, 86_400), told)
            if dice.random() < 0.01:
                other = Told(told.line, work, start + dice.choice((0, 0, 7)), start + dice.randrange(60, SLOT_S))
                arrive(at + dice.uniform(1, 20 * 86_400), other)
    arriving.sort(key=lambda each: each[:2])
    return [told for _at, _number, told in arriving]
