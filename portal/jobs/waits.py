"""When will it begin: learned from how long the attempts before waited, by offering and hour of the day in Japan.

No forecast is better than a wrong one: with fewer than ENOUGH past starts nothing is said but that. Tried on simulated
weeks in tests/jobs/test_waits.py and `python -m tests.bench.waits`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from django.utils import timezone

from portal.core.caching import Briefly
from portal.core.periods import JST
from portal.jobs.models import Attempt

LEARNED_FROM = timedelta(days=28)
MOST_STARTS = 3_000  # evenly of all those weeks: the newest of a busy place would be those of one day
ENOUGH = 30
HOURS_BESIDE = 1  # an hour is learned from itself and those beside it
KEPT_S = 600


@dataclass(frozen=True, slots=True)
class Start:
    """An attempt that began: the hour of the day (Japan) at which it began to wait, and for how many seconds."""

    hour: int
    wait_s: int


@dataclass(frozen=True)
class Expected:
    """From now on half of those like it began within `half_s` seconds, nine of ten within `most_s`. Of `starts`."""

    half_s: int
    most_s: int
    starts: int


def expected(starts: Sequence[Start], *, hour: int, waited_s: int = 0) -> Expected | None:
    """For one that began to wait in `hour` and has waited so long; None: not enough is known.

    Those that had begun by then say nothing of it any more. The quantiles are the upper ones of n + 1, so that the next
    start is within them as often as promised.
    """
    near = {(hour + beside) % 24 for beside in range(-HOURS_BESIDE, HOURS_BESIDE + 1)}
    of_the_hour = [start.wait_s for start in starts if start.hour in near]
    waits = of_the_hour if len(of_the_hour) >= ENOUGH else [start.wait_s for start in starts]
    if len(waits) < ENOUGH:
        return None
    left = sorted(wait - waited_s for wait in waits if wait > waited_s)
    if len(left) < ENOUGH // 3:  # it waits longer than nearly all before: nobody knows
        return None
    return Expected(_quantile(left, 0.5), _quantile(left, 0.9), len(left))


def _quantile(ordered: Sequence[int], share: float) -> int:
    return ordered[min(len(ordered), math.ceil((len(ordered) + 1) * share)) - 1]


_starts = Briefly(KEPT_S)


def expected_of(attempt: Attempt, *, now: datetime) -> Expected | None:
    """Of an attempt that waits to begin. One statement in ten minutes for each offering."""
    waited_s = max(0, int((now - attempt.created_at).total_seconds()))
    return expected(starts_of(attempt.offering_id), hour=_hour(attempt.created_at), waited_s=waited_s)


def expected_now(offering_id: int, *, now: datetime) -> Expected | None:
    """Of a job that is created now."""
    return expected(starts_of(offering_id), hour=_hour(now))


def starts_of(offering_id: int) -> Sequence[Start]:
    """At most about MOST_STARTS of the last weeks, in the order in which they came; up to ten minutes old."""
    return _starts.get(offering_id, lambda: _read(offering_id))


def forget_starts() -> None:
    """For tests, where hours pass in a moment."""
    _starts.clear()


# Every n-th by id, by one walk through the offering's part of the index.
_SAMPLE = """
    SELECT created_at, started_at FROM (
        SELECT created_at, started_at, row_number() OVER (ORDER BY id) AS place, count(*) OVER () AS all_of_them
        FROM jobs_attempt WHERE offering_id = %(offering)s AND started_at IS NOT NULL AND created_at >= %(since)s
    ) AS begun WHERE place %% greatest(all_of_them / %(most)s, 1) = 0 ORDER BY place
"""


def _read(offering_id: int) -> Sequence[Start]:
    values: dict[str, Any] = {"offering": offering_id, "since": timezone.now() - LEARNED_FROM, "most": MOST_STARTS}
    with connection.cursor() as cursor:
        cursor.execute(_SAMPLE, values)
        rows: list[tuple[datetime, datetime]] = cursor.fetchall()
    # A machine's clock may be a little behind ours.
    return [Start(_hour(created), max(0, int((started - created).total_seconds()))) for created, started in rows]


def _hour(at: datetime) -> int:
    return at.astimezone(JST).hour
