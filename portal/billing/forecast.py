"""What the rest of the month will cost if the last seven full days repeat: simple enough to check by hand."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta

WEEK = 7


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
