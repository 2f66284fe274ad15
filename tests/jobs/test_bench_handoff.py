"""How fast accepted jobs reach a provider, by two real workers.

`manage.py test -m bench tests/jobs/test_bench_handoff.py -s` prints it.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from django.db import connection
from django.db.models.functions import Now

from portal.accounts.models import Project, User
from portal.catalog.models import Offering
from portal.core.sealing import seal
from portal.jobs.models import Attempt, Job
from portal.jobs.request import JobRequest
from portal.jobs.submission import submit
from portal.providers.base import Account
from tests.factories import OfferingFactory, PriceFactory, ProviderAccountFactory

pytestmark = [pytest.mark.bench, pytest.mark.django_db(transaction=True), pytest.mark.timeout(600)]


@pytest.fixture
def offering(db: None, emulator: Callable[[str], Account]) -> Offering:
    reached = emulator("sakura_dok")
    offering = PriceFactory(offering=OfferingFactory(containers=True)).offering
    ProviderAccountFactory(
        provider=offering.provider,
        endpoint=reached.endpoint,
        sealed_credentials=seal(dict(reached.credentials)),
        options=dict(reached.options),
        emulated=True,
    )
    return offering


@pytest.fixture
def workers(transactional_db: None, storage_ready: None) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Two processes of eight threads, as in the demo, on the test's database."""
    where = connection.get_connection_params()
    url = f"postgresql://{where['user']}@/{where['dbname']}?host={where['host']}&port={where.get('port', '')}"
    environment = {**os.environ, "PORTAL_MODE": "demo", "DATABASE_URL": os.environ.get("BENCH_DATABASE_URL", url)}
    command = [
        sys.executable,
        "-m",
        "celery",
        "-A",
        "portal.celery",
        "worker",
        "-P",
        "threads",
        "-c",
        "8",
        "-l",
        "WARNING",
    ]
    started = [subprocess.Popen([*command, "-n", f"w{n}@bench"], env=environment) for n in (1, 2)]
    from portal.home.models import Heartbeat

    deadline = time.monotonic() + 30
    while Heartbeat.objects.count() < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert Heartbeat.objects.count() == 2, "the workers did not start"
    yield started
    Attempt.objects.update(collected_at=Now())  # the emulator goes first; nobody is to ask for it
    for process in started:
        process.terminate()
    for process in started:
        process.wait(30)


def wanted(offering: Offering) -> JobRequest:
    return JobRequest(
        name="bench", offering=offering, gpus=1, time_limit_s=600, cost_cap=17, command="true", image="python:3.11-slim"
    )


def accepted() -> int:
    return Attempt.objects.exclude(remote_id="").count()


def wait_until(question: Callable[[], bool], within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while not question():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_idle_and_burst(workers, offering: Offering, funded: Project, member: User) -> None:
    took: list[tuple[float, float]] = []
    for number in range(30):
        began = time.perf_counter()
        job = submit(funded, request=wanted(offering), key=f"idle{number}", by=member)
        submitted = time.perf_counter()
        wait_until(lambda job=job: Attempt.objects.filter(job=job, accepted_at__isnull=False).exists(), 20)
        attempt = Attempt.objects.get(job=job)
        took.append((submitted - began, (attempt.accepted_at - job.submitted_at).total_seconds()))  # type: ignore[operator]
        time.sleep(0.3)
    print(
        f"\nidle: submit p50 {1000 * statistics.median(t for t, _ in took):.1f} ms, "
        f"submit to accepted p50 {1000 * statistics.median(t for _, t in took):.1f} ms"
    )

    def client(first: int) -> None:
        for number in range(first, first + 25):
            submit(funded, request=wanted(offering), key=f"burst{number}", by=member)
        connection.close()

    threads = [threading.Thread(target=client, args=(n * 25,)) for n in range(8)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    submitted_s = time.perf_counter() - began
    wait_until(lambda: accepted() == 230, 60)
    handed_s = time.perf_counter() - began
    print(f"burst of 200 by 8: {200 / submitted_s:.0f} submits/s, {200 / handed_s:.0f} hand-offs/s")
    assert (Job.objects.count(), accepted(), Attempt.objects.values("remote_id").distinct().count()) == (230, 230, 230)
