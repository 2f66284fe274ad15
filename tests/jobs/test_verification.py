from __future__ import annotations

import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.utils import timezone

from portal.audit import recording as audit
from portal.billing.holds import hold
from portal.billing.models import Hold
from portal.catalog.models import ProviderAccount
from portal.jobs import verification
from portal.jobs.keys import key_of
from portal.jobs.models import Attempt, Job, JobEvent
from portal.jobs.verification import AT_PROVIDERS, CHECKS, Problem, verify, verify_at_providers
from portal.providers.base import RemoteState
from portal.providers.errors import Unavailable
from tests.jobs.conftest import Steps, attempt_of
from tests.jobs.fakes import FakeProvider


def run(*arguments: str) -> tuple[int, dict[str, Any]]:
    out = io.StringIO()
    try:
        call_command("verify_jobs", *arguments, stdout=out)
    except SystemExit as left:
        return int(str(left.code)), json.loads(out.getvalue())
    return 0, json.loads(out.getvalue())


def test_every_step_of_a_job_holds_the_promises(job: Job, steps: Steps, provider: FakeProvider) -> None:
    assert verify() == []
    steps.hand_off()
    assert verify() == []
    provider.becomes(RemoteState.RUNNING, started_at=datetime.now(UTC))
    steps.track()
    assert verify() == []
    provider.becomes(RemoteState.SUCCEEDED, ended_at=datetime.now(UTC), exit_code=0)
    steps.track()
    assert verify() == []
    steps.collect()
    assert run() == (0, {"jobs": 1, "checks": list(CHECKS), "problems": [], "not_asked": []})


def lost(job: Job) -> None:
    Attempt.objects.update(state="ended", collected_at=timezone.now())


def ahead(job: Job) -> None:
    Attempt.objects.update(state="running")


def untold(job: Job) -> None:
    JobEvent.objects.all().delete()


def torn(job: Job) -> None:
    JobEvent.objects.filter(after="queued").update(before="running")


def unaudited(job: Job) -> None:
    JobEvent.objects.create(job=job, kind="state", before="queued", after="queued", by="somebody")


def told_twice(job: Job) -> None:
    audit.record("job.moved", f"job:{job.code}", actor="somebody", chain=job.organization.code)


def unpaid(job: Job) -> None:
    Hold.objects.update(released_at=timezone.now())


def costly(job: Job) -> None:
    Job.objects.update(cost=501)  # its cap is 500, and there is no charge


def backwards(job: Job) -> None:
    now = timezone.now()
    Job.objects.update(started_at=now, ended_at=now - timedelta(seconds=1))


def kept_secret(job: Job) -> None:
    Job.objects.update(state="succeeded", sealed_secrets="x")


@pytest.mark.parametrize(
    ("breaks", "checks"),
    [
        (lost, [0, 1]),
        (ahead, [1]),
        (untold, [2]),
        (torn, [3]),
        (unaudited, [4]),
        (told_twice, [4]),
        (unpaid, [5]),
        (costly, [6, 7]),
        (backwards, [8]),
        (kept_secret, [1, 2, 5, 9]),
    ],
)
def test_each_broken_promise_is_named(job: Job, steps: Steps, breaks: Callable[[Job], None], checks: list[int]) -> None:
    steps.hand_off()
    breaks(job)
    status, report = run()
    assert status == 1
    assert [(p["check"], p["subject"]) for p in report["problems"]] == [(list(CHECKS)[n], job.code) for n in checks]


def test_money_that_is_set_aside_for_no_job_is_named(job: Job) -> None:
    hold(job.organization, project=job.project, job_code="J-none", amount=1, by="somebody")
    assert verify() == [Problem(list(CHECKS)[5], "J-none", "no hold without its job", "held")]


@pytest.fixture
def asked(provider: FakeProvider, monkeypatch: pytest.MonkeyPatch) -> FakeProvider:
    monkeypatch.setattr(verification, "adapter_of", lambda account: provider)
    return provider


def test_a_job_that_is_at_its_provider_once_is_well(job: Job, steps: Steps, asked: FakeProvider) -> None:
    steps.hand_off()
    assert verify_at_providers() == ([], [])


def test_doubled_lost_and_unknown_jobs_at_the_provider_are_named(job: Job, steps: Steps, asked: FakeProvider) -> None:
    steps.hand_off()
    asked.add(key_of(attempt_of(job)))
    asked.add("jga-test00-zzzzzzzzzzzz")
    assert verify_at_providers()[0] == [
        Problem(AT_PROVIDERS, job.code, "one", "2 alive"),
        Problem(AT_PROVIDERS, "jga-test00-zzzzzzzzzzzz", "none", "1 alive"),
    ]
    asked.jobs.clear()
    assert verify_at_providers()[0] == []  # a moment ago it was accepted: its list may lag behind
    Attempt.objects.update(accepted_at=timezone.now() - timedelta(seconds=61))
    assert verify_at_providers()[0] == [Problem(AT_PROVIDERS, job.code, "accepted", "not listed")]


def test_a_job_that_runs_on_after_its_end_is_named(job: Job, steps: Steps, asked: FakeProvider) -> None:
    steps.hand_off()
    Attempt.objects.update(state="ended", collected_at=timezone.now() - timedelta(minutes=3))
    assert verify_at_providers()[0] == [Problem(AT_PROVIDERS, job.code, "none", "1 alive")]


def test_a_provider_that_does_not_answer_is_not_taken_for_well(
    job: Job, steps: Steps, asked: FakeProvider, account: ProviderAccount
) -> None:
    asked.down = Unavailable("time-out")
    status, report = run("--providers")
    assert (status, report["problems"], report["not_asked"]) == (1, [], [f"{account}: time-out"])
