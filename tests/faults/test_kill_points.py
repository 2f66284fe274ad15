"""kill -9 at each of the eight steps of a hand-off, at each of the three providers: nothing lost, nothing twice.

The whole set: `python3 manage.py test tests/faults/test_kill_points.py -m faults_full -s` (21 rounds, 504 kills).
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.db import connection
from django.utils import timezone

from portal.accounts.models import Project, User
from portal.billing.credits import grant_trial
from portal.billing.verification import verify as verify_ledger
from portal.catalog.models import Offering, ProviderAccount
from portal.catalog.provider_accounts import adapter_of
from portal.core.sealing import seal
from portal.jobs.keys import key_of
from portal.jobs.models import Artifact, Attempt, Job
from portal.jobs.verification import verify as verify_jobs
from portal.providers.base import Account
from tests.factories import (
    MembershipFactory,
    OfferingFactory,
    PriceFactory,
    ProjectFactory,
    ProviderAccountFactory,
    ProviderFactory,
)
from tests.faults.dying import send
from tests.jobs.test_end_to_end import KINDS

pytestmark = [pytest.mark.faults, pytest.mark.django_db(transaction=True), pytest.mark.timeout(0)]

ROOT = Path(__file__).parents[2]
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


@pytest.fixture
def offerings(emulator: Callable[[str], Account]) -> dict[str, Offering]:
    made = {}
    for kind, given in KINDS.items():
        facts = dict(given)
        provider = ProviderFactory(slug=facts.pop("slug"))
        made[kind] = OfferingFactory(provider=provider, site=None, adapter=kind, gpus_per_node=4, **facts)
        PriceFactory(offering=made[kind])
    return made


def place(offering: Offering, reached: Account) -> tuple[Project, Offering, User, ProviderAccount]:
    """An organization with an account of its own, so that nobody else's death comes in between."""
    project = ProjectFactory()
    person = MembershipFactory(organization=project.organization, role="owner").user
    grant_trial(project.organization, founder=person)
    account = ProviderAccountFactory(
        provider=offering.provider,
        organization=project.organization,
        kind=reached.kind,
        endpoint=reached.endpoint,
        sealed_credentials=seal(dict(reached.credentials)),
        options=dict(reached.options),
        emulated=True,
    )
    return project, offering, person, account


def database_url() -> str:
    where = connection.get_connection_params()
    return f"postgresql://{where['user']}@/{where['dbname']}?host={where['host']}&port={where.get('port', '')}"


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


@contextmanager
def workers(folder: Path) -> Iterator[None]:
    environment = {**os.environ, "PORTAL_MODE": "demo", "DATABASE_URL": database_url()}
    celery = [sys.executable, "-m", "celery", "-A", "portal.celery"]
    commands = [
        [*celery, "worker", "-P", "threads", "-c", "8", "-l", "ERROR", "-n", f"w{number}@faults"] for number in (1, 2)
    ]
    commands.append([*celery, "beat", "-l", "ERROR", "-s", str(folder / "beat"), "--pidfile="])
    started = [subprocess.Popen(command, env=environment, cwd=ROOT) for command in commands]
    try:
        yield
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(60)


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
    print(f"\n{kills} kills, all {Job.objects.count()} jobs ended {time.monotonic() - began:.1f} s after the last")
    assert left == 0
    assert list(Job.objects.exclude(state="succeeded").values_list("code", "state", "failure")) == []
    assert Job.objects.count() == rounds * len(offerings) * len(STEPS)
    assert Artifact.objects.filter(path="result.txt").count() == Job.objects.count()
    doubled = [
        (attempt.job.code, len(found))
        for attempt in Attempt.objects.select_related("account", "job")
        if len(found := adapter_of(attempt.account).find(key_of(attempt))) != 1
    ]
    assert doubled == []
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
