"""A process that does a step of a job's life and dies in it as by kill -9, at the place that PORTAL_FAILPOINT names.

    PORTAL_MODE=test PORTAL_FAILPOINT=handoff.after_send python -m tests.faults.dying work ACCOUNT
    PORTAL_MODE=test PORTAL_FAILPOINT=submit.before_commit python -m tests.faults.dying submit PROJECT OFFERING PERSON
    PORTAL_MODE=test python -m tests.faults.dying pause ACCOUNT handoff.after_claim

Whoever reaches the end has survived: exit code 1. The last one stops there as by SIGSTOP, once; after SIGCONT it goes
on to the end of its round, and its exit code is 0.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from datetime import timedelta

import django

django.setup()

from portal.accounts.models import Project, User  # noqa: E402 - Django first
from portal.catalog.models import Offering  # noqa: E402
from portal.core import failpoints  # noqa: E402
from portal.datasets import storage  # noqa: E402
from portal.datasets.models import DataFile  # noqa: E402
from portal.jobs import handoff  # noqa: E402
from portal.jobs.models import Job  # noqa: E402
from portal.jobs.reconciliation import reconcile  # noqa: E402
from portal.jobs.request import JobRequest  # noqa: E402
from portal.jobs.submission import submit  # noqa: E402

KEY = "form-1"
COMMAND = 'echo done > "$PORTAL_OUTPUT_DIR/result.txt"'


def send(
    project: Project,
    offering: Offering,
    person: User,
    *,
    key: str = KEY,
    command: str = COMMAND,
    inputs: tuple[DataFile, ...] = (),
) -> Job:
    request = JobRequest(
        name="under fire",
        offering=offering,
        gpus=offering.gpus_min,
        time_limit_s=600,
        cost_cap=500,
        command=command,
        image="python:3.11-slim" if offering.containers else "",
        inputs=inputs,
    )
    return submit(project, request=request, key=key, by=person)


def work(account: int) -> None:
    for _ in range(100):
        list(reconcile(pk=account))
        time.sleep(0.2)


def pause(account: int, point: str) -> None:
    def stop() -> None:
        del failpoints.armed[point]
        os.kill(os.getpid(), signal.SIGSTOP)

    failpoints.armed[point] = stop
    # As in a worker that was there before the job: it sends without a look, and at once.
    handoff.BEGAN -= timedelta(days=1)
    storage.size_of("health")
    list(reconcile(pk=account))


if __name__ == "__main__":
    act, *given = sys.argv[1:]
    if act == "pause":
        pause(int(given[0]), given[1])
        sys.exit(0)
    if act == "submit":
        code, slug, person = given
        send(Project.objects.get(code=code), Offering.objects.get(slug=slug), User.objects.get(pk=person))
    else:
        work(int(given[0]))
    sys.exit(1)
