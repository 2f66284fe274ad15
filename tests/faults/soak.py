"""A whole portal under steady work and steady trouble, for as long as you like; ends by itself.

    python3 manage.py soak --minutes 60 [--jobs 2000] [--seed 7]

Jobs go to the three pretend providers at an even pace. Every tenth call to a provider fails, half of them after it had
its effect; a worker is killed every 20 seconds. At the end all faults stop, and every job must have ended well, once.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psycopg

from portal.launcher.definitions import short_folder
from tests.bench.form import Client, Refused
from tests.browser.conftest import Portal, free_port
from tests.faults.stack import PLACES

CALLS = ("submit", "find", "get", "list", "cancel", "log", "artifact")
FAILS = 0.1  # of the calls, half of them after the effect
KILL_EVERY_S = 20
RECOVERS_WITHIN_S = 300
VERIFIED_BY = ("verify_jobs", "verify_ledger", "verify_audit")


def main() -> None:
    parser = argparse.ArgumentParser(prog="manage.py soak", description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--jobs", type=int, help="in all; 2,000 an hour unless given")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    options = parser.parse_args()
    jobs = options.jobs or max(3, round(2000 * options.minutes / 60))
    os.environ |= {"LIMIT_SUBMITS": "1000000", "TRIAL_CREDIT_YEN": "10000000"}
    folder = Path(tempfile.mkdtemp(prefix="portal-soak-"))
    portal = Portal(folder, free_port())
    print(f"{jobs} jobs in {options.minutes:g} minutes; --seed {options.seed}", flush=True)
    try:
        portal.start()
        broken = _soak(portal, folder, jobs, options.minutes * 60, random.Random(options.seed))
    finally:
        portal.stop()
        shutil.rmtree(folder, ignore_errors=True)
    sys.exit(1 if broken else 0)


def _soak(portal: Portal, folder: Path, jobs: int, seconds: float, chance: random.Random) -> bool:
    with _database(folder) as database:
        database.execute("UPDATE catalog_provideraccount SET concurrent_limit = NULL")
    _break_calls(folder)
    clients = {kind: Client(portal, **fields) for kind, fields in PLACES.items()}
    codes: list[str] = []
    kills = again = 0
    began, killed_at = time.monotonic(), time.monotonic()
    for number in range(jobs):
        time.sleep(max(0.0, began + seconds * number / jobs - time.monotonic()))
        if time.monotonic() - killed_at > KILL_EVERY_S:
            with suppress(AssertionError, StopIteration):  # it is being started anew at this very moment
                portal.kill_child(chance.choice(["worker1", "worker2"]))
                kills += 1
            killed_at = time.monotonic()
        client = clients[chance.choice(list(PLACES))]
        command = f'sleep {chance.choice([0, 0, 1, 3])}; echo {number} > "$PORTAL_OUTPUT_DIR/result.txt"'
        while True:
            try:
                codes.append(client.submit(f"soak-{number:016d}", command=command).code)
                break
            except (OSError, http.client.HTTPException, Refused):  # as a person would: the same form again
                again += 1
                time.sleep(0.5)
    _mend(folder)
    ended = time.monotonic()
    left = _wait_for_all(folder)
    print(
        f"{len(codes)} jobs submitted ({again} forms sent again), {kills} workers killed, {ended - began:.0f} s;"
        f" all ended {time.monotonic() - ended:.1f} s after the last fault",
        flush=True,
    )
    return _report(portal, folder, codes, left)


def _report(portal: Portal, folder: Path, codes: list[str], left: int) -> bool:
    told: dict[str, Any] = json.loads(
        portal.manage("shell", "-v", "0", "-c", "from tests.faults.inspection import report; report()")
    )
    states = Counter(tuple(told["jobs"][code][:2]) for code in codes if code in told["jobs"])
    lost = [code for code in codes if code not in told["jobs"] or told["jobs"][code][3] != ["result.txt"]]
    doubled = [which for which, count in told["remote"].items() if count != 1]
    print(f"states: {', '.join(f'{count} {state} {failure}'.strip() for (state, failure), count in states.items())}")
    print(f"not over: {left}; lost or without result: {lost or 0}; not once at their provider: {doubled or 0}")
    print(f"yen still held: {told['held']}; same form twice: {len(codes) - len(set(codes))}")
    problems = {name: json.loads(portal.manage(name))["problems"] for name in VERIFIED_BY}
    print("; ".join(f"{name}: {found or 'no problems'}" for name, found in problems.items()))
    return bool(left or lost or doubled or told["held"] or any(problems.values()) or len(codes) != len(set(codes)))


def _break_calls(folder: Path) -> None:
    for call in CALLS:
        for phase in ("before", "after"):
            _tell(folder, {"on": call, "status": 503, "rate": FAILS / 2, "phase": phase})


def _mend(folder: Path) -> None:
    _tell(folder, {"clear": True})


def _tell(folder: Path, what: dict[str, Any]) -> None:
    for kind in PLACES:
        control = json.loads((folder / "emulators" / kind / "access.json").read_text())["control"]
        headers = {"Authorization": f"Bearer {control['token']}"}
        httpx.post(control["url"], json=what, headers=headers, trust_env=False).raise_for_status()


def _wait_for_all(folder: Path) -> int:
    deadline = time.monotonic() + RECOVERS_WITHIN_S
    with _database(folder) as database:
        while True:
            row: Any = database.execute("SELECT count(*) FROM jobs_attempt WHERE collected_at IS NULL").fetchone()
            if not row[0] or time.monotonic() > deadline:
                return int(row[0])
            time.sleep(0.2)


def _database(folder: Path) -> psycopg.Connection[Any]:
    return psycopg.connect(host=str(short_folder(folder / "postgres")), user="portal", dbname="portal", autocommit=True)


if __name__ == "__main__":
    main()
