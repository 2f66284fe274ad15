from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db.models import F
from django.utils import timezone

from portal.accounts.models import Project, User
from portal.audit import recording as audit
from portal.billing.holds import hold
from portal.billing.models import Hold
from portal.catalog.models import ProviderAccount
from portal.jobs import collection, handoff, verification
from portal.jobs.keys import key_of
from portal.jobs.models import Attempt, Job, JobEvent
from portal.jobs.request import JobRequest
from portal.jobs.submission import submit
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


NEGLECT = list(CHECKS)[10]


def as_if_written_ago(steps: Steps, **ago: float) -> None:
    """All that is known of the jobs is as much older."""
    shift = timedelta(**ago)
    steps.pass_time(shift.total_seconds())
    Job.objects.update(state_since=F("state_since") - shift)
    Attempt.objects.update(ended_at=F("ended_at") - shift, collected_at=F("collected_at") - shift)


def to_be_handed_over(steps: Steps, provider: FakeProvider) -> str:
    return "intended"


def lost_by_a_worker(steps: Steps, provider: FakeProvider) -> str:
    account = ProviderAccount.objects.get(pk=steps.account_id)
    assert handoff.take(account) is not None
    return "sending"


def at_its_provider(steps: Steps, provider: FakeProvider) -> str:
    steps.hand_off()
    return "accepted"


def to_be_collected(steps: Steps, provider: FakeProvider) -> str:
    steps.hand_off()
    provider.becomes(RemoteState.SUCCEEDED, ended_at=datetime.now(UTC), exit_code=0)
    steps.track()
    return "ended"


IN_EACH_STEP = pytest.mark.parametrize("waits", [to_be_handed_over, lost_by_a_worker, at_its_provider, to_be_collected])


@IN_EACH_STEP
def test_what_was_due_for_an_hour_and_nobody_touched_is_named(
    job: Job, steps: Steps, provider: FakeProvider, waits: Callable[[Steps, FakeProvider], str]
) -> None:
    state = waits(steps, provider)
    as_if_written_ago(steps, minutes=59)
    assert verify() == []
    as_if_written_ago(steps, minutes=2)
    status, report = run()
    assert (status, [(p["check"], p["subject"], p["expected"]) for p in report["problems"]]) == (
        1, [(NEGLECT, job.code, "begun")],
    )  # fmt: skip
    assert report["problems"][0]["found"].startswith(f"{state}, due since 20")
    steps.hand_off()
    steps.track()
    steps.collect()
    assert verify() == []


@IN_EACH_STEP
@pytest.mark.parametrize("trouble", ["failing_since", "paused_until"])
def test_what_waits_for_a_provider_that_is_or_was_in_trouble_is_not_neglected(
    job: Job, steps: Steps, provider: FakeProvider, waits: Callable[[Steps, FakeProvider], str], trouble: str
) -> None:
    waits(steps, provider)
    as_if_written_ago(steps, hours=3)
    ProviderAccount.objects.update(**{trouble: timezone.now() - timedelta(minutes=30)})
    assert verify() == []


@pytest.fixture
def second(job: Job, funded: Project, member: User, request_for: Callable[..., JobRequest]) -> Job:
    return submit(funded, request=request_for(), key="form-2", by=member)


def test_what_stands_behind_others_is_not_neglected(
    job: Job, second: Job, steps: Steps, provider: FakeProvider
) -> None:
    as_if_written_ago(steps, hours=3)
    Attempt.objects.filter(job=job).update(not_before=timezone.now() + timedelta(minutes=30))  # it was told to wait
    assert verify() == []
    Attempt.objects.filter(job=job).update(not_before=None)
    assert [problem.subject for problem in verify()] == sorted([job.code, second.code])
    steps.hand_off()
    at = timezone.now()
    for remote in provider.jobs.values():
        remote_id = remote.remote_id
        provider.jobs[remote_id] = replace(remote, state=RemoteState.SUCCEEDED, ended_at=at, exit_code=0)
    steps.track()
    as_if_written_ago(steps, hours=3)
    assert [problem.subject for problem in verify()] == sorted([job.code, second.code])
    assert collection.take_ended(steps.account_id) is not None
    assert verify() == []


def test_what_waits_in_line_for_a_place_is_not_neglected(
    job: Job, second: Job, steps: Steps, provider: FakeProvider
) -> None:
    ProviderAccount.objects.update(concurrent_limit=1)
    steps.hand_off()
    as_if_written_ago(steps, hours=3)
    Attempt.objects.filter(job=job).update(seen_at=timezone.now())
    assert verify() == []
    ProviderAccount.objects.update(concurrent_limit=2)
    assert [(problem.check, problem.subject) for problem in verify()] == [(NEGLECT, second.code)]


def test_what_the_provider_no_longer_lists_is_openly_unknown_and_not_neglected(
    job: Job, steps: Steps, provider: FakeProvider
) -> None:
    steps.hand_off()
    Attempt.objects.update(state="unknown")
    as_if_written_ago(steps, hours=3)
    assert verify() == []


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
