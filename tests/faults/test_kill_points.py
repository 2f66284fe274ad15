"""kill -9 at each of the eight steps of a hand-off, at each of the three providers: nothing lost, nothing twice.

The whole set: `python3 manage.py test tests/faults/test_kill_points.py -m faults_full -s` (21 rounds, 504 kills).
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from django.utils import timezone

from portal.accounts.models import Project, User
from portal.billing.verification import verify as verify_ledger
from portal.catalog.models import Offering, ProviderAccount
from portal.jobs.models import Artifact, Attempt, Job
from portal.jobs.verification import verify as verify_jobs
from portal.providers.base import Account
from tests.faults import recoveries
from tests.faults.dying import send
from tests.faults.rig import ROOT, database_url, not_once_at_their_provider, place, workers

pytestmark = [pytest.mark.faults, pytest.mark.django_db(transaction=True), pytest.mark.timeout(0)]

# RELIABILITY.md section 1: the letter of each step, and where in it the process dies. D has to be made to look first.
STEPS = {
    "A accept": ["submit.before_commit"],
    "B doorbell": ["nudge.before_publish"],
    "C claim": ["handoff.after_claim"],
    "D look": ["handoff.after_send", "handoff.after_look"],
    "E send": ["handoff.after_send"],
    "F record": ["handoff.before_commit"],
    "G observe": ["tracking.before_commit"],
    "H settle": ["collect.before_settle"],
}
RECOVERS_WITHIN_S = 120  # the promise is 60; a busy machine gets twice that before it is called a failure


def killed_in(step: str, *given: object) -> None:
    environment = {**os.environ, "DATABASE_URL": database_url(), "PORTAL_FAILPOINT": step}
    command = [sys.executable, "-m", "tests.faults.dying", *map(str, given)]
    ended = subprocess.run(command, env=environment, cwd=ROOT, timeout=120, capture_output=True, text=True)
    assert ended.returncode == -9, f"{step}: {ended.returncode}\n{ended.stderr[-2000:]}"


def kill(letter: str, project: Project, offering: Offering, person: User, account: ProviderAccount) -> int:
    """The step begins and its process dies in it; how often."""
    points = STEPS[letter]
    if points[0] in ("submit.before_commit", "nudge.before_publish"):
        killed_in(points[0], "submit", project.code, offering.slug, person.pk)
        assert Job.objects.filter(project=project).exists() == (points[0] == "nudge.before_publish")
        send(project, offering, person)  # the browser got no answer: it sends the same form again
        return 1
    send(project, offering, person)
    for point in points:
        Attempt.objects.filter(account=account).update(lease_until=timezone.now(), not_before=None)
        killed_in(point, "work", account.pk)
    return len(points)


def jobs_die_and_recover(
    rounds: int, offerings: dict[str, Offering], emulator: Callable[[str], Account], folder: Path
) -> None:
    kills = 0
    for _ in range(rounds):
        for kind, offering in offerings.items():
            for letter in STEPS:
                kills += kill(letter, *place(offering, emulator(kind)))
    began = time.monotonic()
    with workers(folder):
        while (left := Attempt.objects.unfinished().count()) and time.monotonic() - began < RECOVERS_WITHIN_S * rounds:
            time.sleep(0.2)
    took_s = time.monotonic() - began
    print(f"\n{kills} kills, all {Job.objects.count()} jobs ended {took_s:.1f} s after the last")
    assert left == 0
    if rounds == 1:  # else it is the time of many
        recoveries.note("ended", took_s)
    assert list(Job.objects.exclude(state="succeeded").values_list("code", "state", "failure")) == []
    assert Job.objects.count() == rounds * len(offerings) * len(STEPS)
    assert Artifact.objects.filter(path="result.txt").count() == Job.objects.count()
    assert not_once_at_their_provider() == []
    assert (verify_jobs(), verify_ledger()) == ([], [])


def test_a_process_dies_in_each_step_at_each_provider(
    offerings: dict[str, Offering], emulator: Callable[[str], Account], storage_ready: None, tmp_path: Path
) -> None:
    jobs_die_and_recover(1, offerings, emulator, tmp_path)


@pytest.mark.faults_full
def test_a_process_dies_in_each_step_at_each_provider_21_times(
    offerings: dict[str, Offering], emulator: Callable[[str], Account], storage_ready: None, tmp_path: Path
) -> None:
    jobs_die_and_recover(21, offerings, emulator, tmp_path)
