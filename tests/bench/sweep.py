"""A sweep of 1,000 tasks in one submit, on a whole `manage.py start`.

    .venv/bin/python -m tests.bench.sweep [--tasks 1000]

Prints the seconds of the submit, of its page and of the list while the tasks run, and until all have ended; and whether
their costs add up to the ledger's yen. The demo's limit of one job at a time is lifted, as a contract would.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from pathlib import Path

from tests.bench.form import Client
from tests.bench.stack import lift_limits, open_database
from tests.browser.conftest import Portal, free_port

ENDED = (
    "SELECT count(*) FILTER (WHERE state IN ('succeeded', 'failed', 'cancelled', 'expired')), count(*) FROM jobs_job"
)
SUMS = """
    SELECT (SELECT sum(cost) FROM jobs_job), (SELECT sum(amount) FROM billing_charge),
           (SELECT posted FROM billing_billingaccount), (SELECT held FROM billing_billingaccount),
           (SELECT count(*) FROM jobs_job WHERE state = 'succeeded')
"""
GOALS = "goals: submit < 2 s; all tasks ended; cost = charges = posted to the yen, nothing held"
WAIT_S = 900


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=1000)
    tasks = parser.parse_args().tasks
    os.environ |= {"LIMIT_SUBMITS": "1000000", "TRIAL_CREDIT_YEN": "1000000"}
    folder = Path(tempfile.mkdtemp(prefix="portal-bench-"))
    portal = Portal(folder, free_port())
    portal.start()
    try:
        lift_limits(folder)
        client = Client(portal, command="true", parameters=f"N = 1..{tasks}", way="grid", cost_cap="20")
        client.get("/jobs/")
        began = time.perf_counter()
        answer = client.send("sweep-" + "x" * 20)
        print(f"submit of {tasks} tasks: {time.perf_counter() - began:.2f} s, answered {answer.status}")
        for path in (f"/jobs/sweeps/{answer.code}/", "/jobs/sweeps/", "/jobs/"):
            times = []
            for _n in range(10):
                clock = time.perf_counter()
                client.get(path)
                times.append(1000 * (time.perf_counter() - clock))
            print(f"{path} while they run: p50 {sorted(times)[5]:.0f} ms")
        with open_database(folder) as database:
            while time.perf_counter() - began < WAIT_S:
                ended, count = database.execute(ENDED).fetchone() or (0, 0)
                if ended == count == tasks:
                    break
                time.sleep(1)
            print(f"{ended} of {count} ended after {time.perf_counter() - began:.0f} s")
            cost, charges, posted, held, well = database.execute(SUMS).fetchone() or (None,) * 5
        print(f"completed {well}; cost {cost}, charges {charges}, posted {posted}, held {held} yen")
        print(GOALS)
    finally:
        portal.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
