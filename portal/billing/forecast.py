"""What the days to come will cost if the last ones repeat: simple enough to check by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

WEEK = 7
WEEKS = 4


def days_to_come(
    by_day: Mapping[date, Mapping[str, int]], *, today: date, last_day: date
) -> dict[date, dict[str, int]]:
    """Yen by provider for each day after today: what was charged on the same weekday of the last seven full days.

    Empty when nothing was charged in them: there is nothing to forecast from. What today still brings is left out.
    """
    week = [today - timedelta(days=n) for n in range(1, WEEK + 1)]
    if not any(sum(by_day.get(day, {}).values()) for day in week):
        return {}
    same_weekday = {day.weekday(): dict(by_day.get(day, {})) for day in week}
    rest = [today + timedelta(days=n) for n in range(1, (last_day - today).days + 1)]
    return {day: same_weekday[day.weekday()] for day in rest}


@dataclass(frozen=True)
class Outlook:
    """Where a budget ends. Whole yen, cut; None: nothing was charged lately, so there is nothing to forecast from."""

    expected: int | None  # spent by the end of the period
    runs_out_on: date | None  # the first day on which more than the limit would be spent; None: it fits


def outlook(
    by_day: Mapping[date, int], *, today: date, first_day: date, last_day: date, posted: int, limit: int
) -> Outlook:
    """If each weekday of the period still to come costs what that weekday cost on average in the last four full weeks.

    `by_day`: yen charged; absent days cost nothing. What today still brings is left out.
    """
    lately = [today - timedelta(days=n) for n in range(1, WEEKS * WEEK + 1)]
    of_weekday = [0] * WEEK  # of four such days together
    for day in lately:
        of_weekday[day.weekday()] += by_day.get(day, 0)
    if not any(of_weekday):
        return Outlook(None, None)
    runs_out_on, to_come = None, 0
    day = max(today + timedelta(days=1), first_day)
    while day <= last_day:
        to_come += of_weekday[day.weekday()]
        if runs_out_on is None and posted + to_come // WEEKS > limit:
            runs_out_on = day
        day += timedelta(days=1)
    return Outlook(posted + to_come // WEEKS, runs_out_on)
