"""How long a job waits between its commit and the provider's acceptance, at a steady pace of submits.

    .venv/bin/python -m tests.bench.pace [--seconds 20]

A whole `manage.py start` with two worker processes, on as many cores as the machine has; submits arrive over HTTP at 1,
10 and 50 a second whatever becomes of those before them, to the emulator of Sakura DOK, which answers at once. Prints
for each pace: submits answered and hand-overs per second, p50 and p95 from commit to accepted, and what is lost or
handed over twice. Beside it the same for Celery alone: no-ops at the same pace on the same broker, from publishing to
the worker's first line.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from portal.launcher.definitions import short_folder
from tests.bench.form import Client
from tests.bench.stack import NOOP, count_handed_over, lift_limits, open_database
from tests.browser.conftest import Portal, free_port

PACES = (1, 10, 50)
CLIENTS = 24
GOAL = "goal: p95 from commit to accepted under 1 s at 10 a second"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20)
    options = parser.parse_args()
    os.environ["LIMIT_SUBMITS"] = "1000000"  # one person sends what a thousand would
    folder = Path(tempfile.mkdtemp(prefix="portal-bench-"))
    portal = Portal(folder, free_port())
    portal.start()
    try:
        lift_limits(folder)
        _celery(folder, options.seconds)
        clients = [Client(portal, offering="dok-v100", cost_cap="1") for _ in range(CLIENTS)]
        for number, client in enumerate(clients):
            client.submit(f"warm-{number:016d}")
        time.sleep(3)
        for pace in PACES:
            _submits(folder, clients, pace, options.seconds)
        print(GOAL)
    finally:
        portal.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _submits(folder: Path, clients: list[Client], pace: int, seconds: float) -> None:
    count = int(pace * seconds)
    idle, lock = list(clients), threading.Lock()
    codes: list[str] = []

    def submit(number: int) -> None:
        with lock:
            client = idle.pop()
        codes.append(client.submit(f"pace-{pace}-{number:012d}").code)
        with lock:
            idle.append(client)

    began, sent = time.monotonic(), []
    with ThreadPoolExecutor(len(clients)) as senders:
        for number in range(count):
            time.sleep(max(0, began + number / pace - time.monotonic()))
            sent.append(senders.submit(submit, number))
    for one in sent:
        one.result()
    answered = len(codes) / (time.monotonic() - began)
    deadline = time.monotonic() + 120
    with open_database(folder) as database:
        while time.monotonic() < deadline and count_handed_over(database, codes) < len(codes):
            time.sleep(0.1)
        row: Any = database.execute(
            """
            SELECT count(*), count(DISTINCT remote_id),
                   percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY 1000 * extract(epoch FROM waited)),
                   count(*) / extract(epoch FROM max(accepted_at) - min(created_at))
            FROM (SELECT a.*, a.accepted_at - a.created_at AS waited FROM jobs_attempt a
                  JOIN jobs_job j ON j.id = a.job_id WHERE j.code = ANY(%s) AND a.remote_id <> '') AS handed
            """,
            [codes],
        ).fetchone()
    handed, distinct, (p50, p95), rate = row
    print(
        f"{pace} submits a second for {seconds:g} s: {answered:.1f} answered/s, {rate:.1f} handed over/s; commit to"
        f" accepted p50 {p50:.0f} ms, p95 {p95:.0f} ms; lost {count - handed}, twice {handed - distinct}"
    )


def _celery(folder: Path, seconds: float) -> None:
    url = f"redis+socket://{short_folder(folder / 'valkey')}/valkey.sock"
    worker = subprocess.Popen([sys.executable, "-c", NOOP, url, "work"], stderr=subprocess.DEVNULL)
    time.sleep(4)
    try:
        for pace in PACES:
            command = [sys.executable, "-c", NOOP, url, "ask", str(int(pace * seconds)), str(1 / pace)]
            asked = subprocess.run(command, capture_output=True, text=True, check=True)
            p50, p95 = map(float, asked.stdout.split())
            print(f"Celery alone, {pace} no-ops a second: publish to start p50 {p50:.1f} ms, p95 {p95:.1f} ms")
    finally:
        worker.terminate()
        worker.wait(10)


if __name__ == "__main__":
    main()
