"""DOK's bill, from the tasks' execution seconds and the unit prices.

Chosen, as nothing is documented: a task counts on the day, in Japan, on which it ended, with its plan's least seconds
at least; one line for each day and plan; yen are rounded down line by line; `usage_type` is 0; the bill closes with
its month and is up to date with the last task that ended. Documented: usage is counted by the day (a reading).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import ROUND_DOWN, Decimal
from typing import Any

from portal.providers.emulators.machine import Job

JST = timezone(timedelta(hours=9))


def bills(
    jobs: Iterable[Job], query: Mapping[str, str], *, account: str, names: Mapping[str, str],
    prices: Mapping[str, Decimal], least_s: Mapping[str, int],
) -> list[dict[str, Any]]:  # fmt: skip
    """What GET /billing_infos/ answers; without a query the current month. Raises ValueError for what is no date."""
    today = datetime.now(JST).date()
    first = date(int(query.get("year", today.year)), int(query.get("month", today.month)), int(query.get("day", 1)))
    seconds: defaultdict[tuple[date, str], int] = defaultdict(int)
    ended = []
    for job in jobs:
        if job.state != "ended" or job.started_at is None or job.ended_at is None:
            continue
        day = datetime.fromtimestamp(job.ended_at, UTC).astimezone(JST).date()
        if day == first if "day" in query else (day.year, day.month) == (first.year, first.month):
            plan = job.request["containers"][0]["plan"]
            seconds[day, plan] += max(least_s[plan], job.elapsed_s(job.ended_at))
            ended.append(job.ended_at)
    if not seconds:
        return []
    details = [
        {
            "sequence_no": number,
            "plan": plan,
            "usage_type": 0,
            "usage": used,
            "amount": int((used * prices[plan]).to_integral_value(ROUND_DOWN)),
            "description": f"{day} {names[plan]}",
        }
        for number, ((day, plan), used) in enumerate(sorted(seconds.items()), start=1)
    ]
    closes = datetime(first.year + first.month // 12, first.month % 12 + 1, 1, tzinfo=JST)
    return [
        {
            "account": account,
            "bill_close_at": closes.isoformat(timespec="milliseconds"),
            "details": details,
            "last_upload_at": datetime.fromtimestamp(max(ended), UTC)
            .astimezone(JST)
            .isoformat(timespec="milliseconds"),
        }
    ]
