"""How fast lines of providers' reports become records, charges, ledger entries and all sums of them.

    .venv/bin/python -m tests.bench.metering [--lines 200000]

Starts its own PostgreSQL and Valkey in a temporary folder. Lines of attempts that are over, 50 of each, arrive ordered
by time, none of them known; then the same again. Beside it, in turns: what PostgreSQL needs to take a thousand bare
records at a time with one sum a day in the same transaction. CPU of Python and of PostgreSQL are told apart.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from pathlib import Path

from tests.bench.measuring import cpu_seconds

GOALS = "goals: >= 10,000 lines a second, and >= 0.25 x the bare records"
PARTS = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=200_000)
    options = parser.parse_args()
    from portal.launcher.services import start_postgres, start_valkey

    folder = Path(tempfile.mkdtemp(prefix="portal-bench-"))
    services = [start_postgres(folder / "pg"), start_valkey(folder / "valkey")]
    try:
        environment = {
            **os.environ,
            **{k: v for service in services for k, v in service.environment.items()},
            "PORTAL_MODE": "demo", "PORTAL_DATA": str(folder), "SECRET_KEY": "bench", "PORTAL_URL": "http://localhost",
            "DJANGO_SETTINGS_MODULE": "portal.settings", "LOG_LEVEL": "ERROR", "S3_ENDPOINT": "http://127.0.0.1:9",
            "S3_ACCESS_KEY": "none", "S3_SECRET_KEY": "none",
        }  # fmt: skip
        pid = services[0].process._process.pid
        code = "import django; django.setup(); from tests.bench import metering; "
        subprocess.run(
            [sys.executable, "-c", f"{code}metering.measure({options.lines}, {pid})"], env=environment, check=True
        )
        print(GOALS)
    finally:
        for service in reversed(services):
            service.stop()
        shutil.rmtree(folder, ignore_errors=True)


@dataclass
class Effort:
    rows: int = 0
    seconds: float = 0
    python_s: float = 0
    postgres_s: float = 0

    def of(self, rows: int, postgres: int, act: Callable[[], object]) -> None:
        before, own, began = cpu_seconds([postgres]), time.process_time(), time.perf_counter()
        act()
        self.rows += rows
        self.seconds += time.perf_counter() - began
        self.python_s += time.process_time() - own
        self.postgres_s += cpu_seconds([postgres]) - before

    @property
    def per_second(self) -> float:
        return self.rows / self.seconds

    def __str__(self) -> str:
        python, postgres = (1e6 * cpu / self.rows for cpu in (self.python_s, self.postgres_s))
        return (
            f"{self.per_second:,.0f} a second ({self.rows:,} in {self.seconds:.1f} s);"
            f" CPU per row: Python {python:.0f} µs, PostgreSQL {postgres:.0f} µs"
        )


def measure(lines: int, postgres: int) -> None:
    import time_machine
    from django.core.management import call_command

    import portal.urls  # noqa: F401 - all apps, in the order in which the portal reads them
    from portal.billing.verification import verify
    from portal.jobs.usage_reports import take_in
    from portal.usage.intake import keep
    from portal.usage.models import UsageRecord
    from tests.factories import OfferingFactory
    from tests.factories.billing import jst
    from tests.usage.oracle import SLOT_S, SLOTS, Told
    from tests.usage.test_reports import as_line, works

    call_command("migrate", verbosity=0)
    time_machine.travel(jst(2026, 12, 31)).start()  # all is over by then
    made = works(lines // SLOTS, random.Random(6))
    told = [
        Told(f"{work.code}/{slot}", work, start, start + SLOT_S)
        for work in made
        for slot in range(SLOTS)
        for start in [work.starts_at + slot * SLOT_S]
    ]
    told.sort(key=lambda each: each.end)
    all_lines = [as_line(number, each) for number, each in enumerate(told, start=1)]
    report = keep(OfferingFactory().provider, source="bench", body=b"the stream")
    first, bare, again = Effort(), Effort(), Effort()
    fill_bare = _bare()
    for part in range(PARTS):
        mine = all_lines[len(told) * part // PARTS : len(told) * (part + 1) // PARTS]
        first.of(len(mine), postgres, partial(take_in, report, mine))
        bare.of(len(mine), postgres, partial(fill_bare, len(mine)))
    again.of(len(told), postgres, partial(take_in, report, all_lines))
    assert (UsageRecord.objects.exclude(charge=None).count() >= len(told), verify()) == (True, [])
    print(f"lines charged: {first}")
    print(f"the same again: {again}")
    print(f"bare records with a sum a day: {bare}")
    print(f"lines charged / bare records: {first.per_second / bare.per_second:.2f}")


def _bare() -> Callable[[int], None]:
    """PERFORMANCE.md 3: batches of a thousand and the sum of each day and place, in one transaction each."""
    from django.db import connection, transaction

    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE bare_record"
            " (organization int, provider int, sku int, at timestamptz, amount bigint, yen bigint);"
            "CREATE INDEX ON bare_record (organization, at);"
            "CREATE TABLE bare_day (organization int, provider int, sku int, day date, amount bigint, yen bigint,"
            " PRIMARY KEY (organization, provider, sku, day))"
        )
    dice, begun = random.Random(6), date(2026, 1, 1)

    def fill(rows: int) -> None:
        for _batch in range(rows // 1000):
            day = begun + timedelta(days=dice.randrange(365))
            batch = [(dice.randrange(200), dice.randrange(3), dice.randrange(7), day, 900, 252) for _ in range(1000)]
            sums: dict[tuple[object, ...], list[int]] = {}
            for *place, amount, yen in batch:
                known = sums.setdefault(tuple(place), [0, 0])
                known[0] += amount
                known[1] += yen
            rows_of_day = [(*place, *sums[place]) for place in sorted(sums)]  # type: ignore[type-var]
            with transaction.atomic(), connection.cursor() as cursor:
                with cursor.copy("COPY bare_record FROM STDIN") as copy:
                    for row in batch:
                        copy.write_row(row)
                cursor.execute(
                    "INSERT INTO bare_day AS known SELECT * FROM"
                    " unnest(%s::int[], %s::int[], %s::int[], %s::date[], %s::bigint[], %s::bigint[])"
                    " ON CONFLICT (organization, provider, sku, day) DO UPDATE SET"
                    " amount = known.amount + EXCLUDED.amount, yen = known.yen + EXCLUDED.yen",
                    [list(column) for column in zip(*rows_of_day, strict=True)],
                )

    return fill


if __name__ == "__main__":
    main()
