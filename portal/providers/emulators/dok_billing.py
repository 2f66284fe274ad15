"""DOK's bill, from the tasks' execution seconds and the unit prices.

Chosen, as nothing is documented: a task counts on the day, in Japan, on which it ended, with its plan's least seconds
at least; one line for each day and plan; yen are rounded down line by line; `usage_type` is 0; the bill closes with
its month and is up to date with the last task that ended; a deleted task stays on it, one that was forgotten after 72
hours does not. Usage by the day is a reading of DOK's own pages.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import ROUND_DOWN, Decimal
from pathlib import Path
from typing import Any

from portal.providers.emulators.faults import Faults
from portal.providers.emulators.machine import Job

JST = timezone(timedelta(hours=9))


@dataclass(frozen=True)
class Tariff:
    name: str
    least_s: int
    price: Decimal  # yen per second


class Billing:
    def __init__(self, state: Path, *, account: str, tariffs: Mapping[str, Tariff]) -> None:
        self._deleted = state / "deleted.jsonl"  # what tasks used that are no longer there
        self._account, self._tariffs = account, tariffs

    def keep(self, job: Job) -> None:
        """Before its task is deleted."""
        with self._deleted.open("a") as file:
            file.writelines(json.dumps(use) + "\n" for use in _uses([job]))

    def bills(self, jobs: Iterable[Job], query: Mapping[str, str], faults: Faults) -> list[dict[str, Any]]:
        """What GET /billing_infos/ answers; without a query the current month. Raises ValueError for no date."""
        today = datetime.fromtimestamp(faults.now(), JST).date()
        first = date(int(query.get("year", today.year)), int(query.get("month", today.month)), int(query.get("day", 1)))
        kept = self._deleted.read_text().splitlines() if self._deleted.exists() else []
        used: defaultdict[tuple[date, str], int] = defaultdict(int)
        newest = 0.0
        wrong, skew_s = faults.of_usage(), faults.skew_s()
        uses = [(plan, seconds, at + skew_s) for plan, seconds, at in [*_uses(jobs), *map(json.loads, kept)]]
        for plan, seconds, ended_at in wrong.told(uses, ended_at=lambda use: use[2], now=faults.now()):
            day = datetime.fromtimestamp(ended_at, UTC).astimezone(JST).date()
            if day == first if "day" in query else (day.year, day.month) == (first.year, first.month):
                used[day, plan] += max(self._tariffs[plan].least_s, seconds)
                newest = max(newest, ended_at)
        if not used:
            return []
        lines = [(number, where, wrong.seconds(used[where])) for number, where in enumerate(sorted(used), start=1)]
        closes = datetime(first.year + first.month // 12, first.month % 12 + 1, 1, tzinfo=JST)
        return [
            {
                "account": self._account,
                "bill_close_at": closes.isoformat(timespec="milliseconds"),
                "details": [self._line(*line) for line in wrong.repeated(lines)],
                "last_upload_at": datetime.fromtimestamp(newest, UTC)
                .astimezone(JST)
                .isoformat(timespec="milliseconds"),
            }
        ]

    def _line(self, number: int, where: tuple[date, str], seconds: int) -> dict[str, Any]:
        day, plan = where
        tariff = self._tariffs[plan]
        return {
            "sequence_no": number,
            "plan": plan,
            "usage_type": 0,
            "usage": seconds,
            "amount": int((seconds * tariff.price).to_integral_value(ROUND_DOWN)),
            "description": f"{day} {tariff.name}",
        }


def _uses(jobs: Iterable[Job]) -> list[tuple[str, int, float]]:
    """Plan, seconds and end of each that ran and has ended."""
    return [
        (job.request["containers"][0]["plan"], job.elapsed_s(job.ended_at), job.ended_at)
        for job in jobs
        if job.state == "ended" and job.started_at is not None and job.ended_at is not None
    ]
