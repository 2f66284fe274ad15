"""A worker is stopped (SIGSTOP) while it holds an attempt, its lease ends, another takes over, and it goes on
(SIGCONT): what it writes late changes nothing, and the job is at its provider once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from django.utils import timezone

from portal.billing.verification import verify as verify_ledger
from portal.catalog.models import Offering
from portal.jobs.models import Artifact, Attempt, Job
from portal.jobs.verification import verify as verify_jobs
from portal.providers.base import Account
from tests.faults.dying import send
from tests.faults.rig import ROOT, database_url, not_once_at_their_provider, place, workers

pytestmark = [pytest.mark.faults, pytest.mark.django_db(transaction=True), pytest.mark.timeout(0)]

POINTS = ("handoff.after_claim", "handoff.before_send", "handoff.after_send")
KINDS = ("sakura_dok", "slurm_rest", "slurm_ssh")
SOME = [(KINDS[0], POINTS[0]), (KINDS[0], POINTS[1]), (KINDS[1], POINTS[1]), (KINDS[2], POINTS[2])]
ALL = [(kind, point) for kind in KINDS for point in POINTS]
WITHIN_S = 120


def stopped_at(point: str, account: int) -> subprocess.Popen[bytes]:
    """A process that claims this account's attempt and stands still at this point, soon."""
    command = [sys.executable, "-m", "tests.faults.dying", "pause", str(account), point]
    return subprocess.Popen(command, env={**os.environ, "DATABASE_URL": database_url()}, cwd=ROOT)


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def until(true: Callable[[], bool], or_say: str) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not true():
        assert time.monotonic() < deadline, or_say
        time.sleep(0.1)


def jobs_change_hands(
    which: list[tuple[str, str]],
    offerings: dict[str, Offering],
    emulator: Callable[[str], Account],
    folder: Path,
    *,
    lease_s: float | None = None,
) -> None:
    """`lease_s`: wait so long for the leases to end; None: they are ended."""
    stopped = []
    try:
        for kind, point in which:
            project, offering, person, account = place(offerings[kind], emulator(kind))
            send(project, offering, person)
            stopped.append(stopped_at(point, account.pk))
        until(lambda: {_state(process.pid) for process in stopped} == {"T"}, "not all came to their points")
        if lease_s is None:
            Attempt.objects.update(lease_until=timezone.now())
        else:
            time.sleep(lease_s)
        with workers(folder):
            until(lambda: not Attempt.objects.filter(remote_id="").exists(), "nobody took over")
            taken_over = dict(Attempt.objects.values_list("pk", "remote_id"))
            for process in stopped:
                process.send_signal(signal.SIGCONT)
            assert [process.wait(WITHIN_S) for process in stopped] == [0] * len(stopped)
            until(lambda: not Attempt.objects.unfinished().exists(), "not all jobs ended")
    finally:
        for process in stopped:
            process.kill()
            process.wait()
    assert dict(Attempt.objects.values_list("pk", "remote_id")) == taken_over
    assert not_once_at_their_provider() == []
    assert list(Job.objects.exclude(state="succeeded").values_list("code", "state", "failure")) == []
    assert Artifact.objects.filter(path="result.txt").count() == Job.objects.count() == len(stopped)
    assert (verify_jobs(), verify_ledger()) == ([], [])


@pytest.fixture(autouse=True)
def short_listing_lag(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANDOFF_LISTING_LAG_MIN_S", "1")  # of the processes


def test_stopped_worker_comes_back_after_another_took_over(
    offerings: dict[str, Offering], emulator: Callable[[str], Account], storage_ready: None, tmp_path: Path
) -> None:
    jobs_change_hands(SOME, offerings, emulator, tmp_path)


@pytest.mark.faults_full
def test_stopped_worker_comes_back_after_its_lease_has_ended_by_itself(
    offerings: dict[str, Offering], emulator: Callable[[str], Account], storage_ready: None, tmp_path: Path
) -> None:
    jobs_change_hands(ALL, offerings, emulator, tmp_path, lease_s=50)
