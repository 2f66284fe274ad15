from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from portal.catalog.models import ProviderAccount
from portal.jobs.models import Job
from portal.jobs.submission import submit
from portal.providers.base import RemoteState
from portal.providers.errors import Unavailable
from tests.jobs.conftest import Steps, fresh
from tests.jobs.fakes import FakeProvider


def run() -> tuple[int, list[dict[str, Any]]]:
    out = io.StringIO()
    try:
        call_command("reconcile", "--once", stdout=out)
    except SystemExit as left:
        return int(str(left.code)), json.loads(out.getvalue())["accounts"]
    return 0, json.loads(out.getvalue())["accounts"]


def counts(account: ProviderAccount, **changed: Any) -> dict[str, Any]:
    nothing = {"to_adopt": 0, "cancelled": 0, "accepted": 0, "tracked": 0, "collected": 0, "trouble": ""}
    return {"account": f"{account.provider.slug} {account}", **nothing, **changed}


def test_a_job_goes_its_whole_way_without_broker_beat_and_workers(
    job: Job, account: ProviderAccount, steps: Steps, provider: FakeProvider
) -> None:
    assert run() == (0, [counts(account, accepted=1, tracked=1)])
    provider.becomes(RemoteState.RUNNING, started_at=datetime.now(UTC))
    provider.output, provider.files = b"hello\n", {"result.txt": b"42\n"}
    assert run() == (0, [counts(account, tracked=1)])
    provider.becomes(RemoteState.SUCCEEDED, ended_at=datetime.now(UTC), exit_code=0)
    assert run() == (0, [counts(account, tracked=1, collected=1)])
    assert run() == (0, [counts(account)])
    assert (fresh(job).state, fresh(job).log_lines, provider.calls.count("submit")) == ("succeeded", 1, 1)


def test_a_provider_that_cannot_be_asked_is_named_and_nothing_is_concluded(
    job: Job, account: ProviderAccount, steps: Steps, provider: FakeProvider
) -> None:
    steps.hand_off()
    provider.down = Unavailable("time-out")
    assert run() == (1, [counts(account, trouble="time-out")])
    assert (fresh(job).state, ProviderAccount.objects.get().failures) == ("queued", 1)
    provider.down = None
    assert run() == (0, [counts(account, tracked=1)])
    assert ProviderAccount.objects.get().failures == 0


def test_a_provider_that_takes_no_jobs_is_trouble_too(
    job: Job, account: ProviderAccount, steps: Steps, provider: FakeProvider
) -> None:
    provider.before = [Unavailable("no room")]
    assert run() == (1, [counts(account, trouble="no room")])


@pytest.mark.parametrize("jobs", [60, pytest.param(500, marks=pytest.mark.faults_full)])
def test_jobs_that_no_message_told_of_are_all_handed_over(
    account: ProviderAccount, steps: Steps, provider: FakeProvider, funded, member, request_for, monkeypatch, jobs: int
) -> None:
    from portal.celery import app

    monkeypatch.setattr(app.conf, "broker_url", "redis://127.0.0.1:9/0")
    for number in range(jobs):
        submit(funded, request=request_for(time_limit_s=60, cost_cap=17), key=f"n{number}", by=member)
    assert run() == (0, [counts(account, accepted=jobs, tracked=jobs)])
    assert len({spec.key for spec in provider.specs}) == len(provider.jobs) == jobs


def test_rounds_without_end_are_refused() -> None:
    with pytest.raises(CommandError, match="Say --once"):
        call_command("reconcile")
