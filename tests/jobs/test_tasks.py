from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.core.cache import cache
from django.utils import timezone

from portal.catalog.models import ProviderAccount
from portal.catalog.provider_accounts import note_failure
from portal.jobs import tasks
from portal.jobs.models import Attempt, Job
from portal.jobs.turns import Pauses
from portal.providers.base import RemoteState
from portal.providers.errors import Unavailable
from tests.jobs.conftest import Steps, fresh
from tests.jobs.fakes import FakeProvider


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Messages, kept instead of sent; and no provider is paused from an earlier test."""
    sent: list[tuple[str, int]] = []
    monkeypatch.setattr(tasks, "publish", lambda task, *args: sent.append((task.name, *args)))
    monkeypatch.setattr(tasks, "publish_after", lambda seconds, task, *args: sent.append((task.name, *args)))
    monkeypatch.setattr(tasks, "_told_to_track", {})
    monkeypatch.setattr(tasks, "_not_taking", Pauses())
    return sent


def test_an_idle_sweep_is_one_query(db: None, published, django_assert_num_queries) -> None:
    with django_assert_num_queries(1):
        tasks.sweep()
    assert published == []


def test_the_sweep_finds_each_step_that_no_message_told(
    job: Job, account: ProviderAccount, steps: Steps, provider: FakeProvider, published
) -> None:
    tasks.sweep()
    tasks.hand_off(account.pk)
    tasks.sweep()
    provider.becomes(RemoteState.RUNNING, started_at=datetime.now(UTC))
    tasks.track(account.pk)
    provider.becomes(RemoteState.SUCCEEDED, ended_at=datetime.now(UTC), exit_code=0)
    tasks.track(account.pk)  # too soon: one listing a second is enough for all jobs
    assert fresh(job).state == "running"
    cache.delete(f"jobs:tracked:{account.pk}")
    tasks.track(account.pk)
    tasks.sweep()
    tasks.collect(account.pk)
    tasks.sweep()
    sweeps = [message for message in published if message == ("jobs.sweep", 1)]
    assert [(name.removeprefix("jobs."), *rest) for name, *rest in published if (name, *rest) not in sweeps] == [
        (name, account.pk) for name in ("hand_off", "track", "track", "follow_logs", "collect", "collect")
    ]
    assert len(sweeps) == 3  # each that found something; not the last
    assert fresh(job).state == "succeeded"


def test_a_sweep_between_two_beats_brings_no_further_one(job: Job, account: ProviderAccount, published) -> None:
    tasks.sweep(1)
    assert published == [("jobs.hand_off", account.pk)]


def test_two_sweeps_and_doubled_messages_do_no_harm(
    job: Job, account: ProviderAccount, steps: Steps, provider: FakeProvider, published
) -> None:
    for _ in range(2):
        tasks.sweep()
        tasks.hand_off(account.pk)
        tasks.hand_off(account.pk)
        tasks.track(account.pk)
        tasks.track(account.pk)
    assert (provider.calls.count("submit"), Attempt.objects.count()) == (1, 1)


def test_a_provider_that_is_down_is_left_alone_for_a_moment_and_shown_as_failing(
    job: Job, account: ProviderAccount, steps: Steps, provider: FakeProvider, published
) -> None:
    provider.before = [Unavailable("connection refused")]
    tasks.hand_off(account.pk)
    steps.pass_time(60)
    tasks.hand_off(account.pk)
    assert provider.calls == ["submit"]
    account.refresh_from_db()
    assert (account.failing_since is not None, account.last_error) == (True, "connection refused")


def test_jobs_that_wait_behind_a_failing_hand_off_say_so(
    job: Job, account: ProviderAccount, steps: Steps, provider: FakeProvider, published, funded, member, request_for
) -> None:
    from portal.jobs.submission import submit

    second = submit(funded, request=request_for(), key="form-2", by=member)
    provider.before = [Unavailable("connection refused")]
    tasks.hand_off(account.pk)
    assert [fresh(one).waiting_reason for one in (job, second)] == ["unreachable", "unreachable"]
    assert provider.calls == ["submit"]


def test_a_provider_that_cannot_be_asked_concludes_nothing(
    job: Job, account: ProviderAccount, steps: Steps, provider: FakeProvider, published
) -> None:
    tasks.hand_off(account.pk)
    provider.down = Unavailable("time-out")
    tasks.track(account.pk)
    assert fresh(job).state == "queued"


def test_an_open_circuit_spares_the_provider_every_call_and_says_why_jobs_wait(
    job: Job, account: ProviderAccount, steps: Steps, provider: FakeProvider, published, funded, member, request_for
) -> None:
    from portal.jobs.submission import submit

    tasks.hand_off(account.pk)
    for _ in range(3):
        note_failure(account.pk, "time-out")
    second = submit(funded, request=request_for(), key="form-2", by=member)
    before = list(provider.calls)
    for task in (tasks.hand_off, tasks.track, tasks.collect):
        task(account.pk)
    assert (provider.calls, fresh(second).waiting_reason) == (before, "unreachable")


def test_the_first_answer_after_its_pause_closes_the_circuit(
    job: Job, account: ProviderAccount, steps: Steps, provider: FakeProvider, published
) -> None:
    for _ in range(3):
        note_failure(account.pk, "time-out")
    ProviderAccount.objects.update(paused_until=timezone.now())
    tasks.hand_off(account.pk)
    account.refresh_from_db()
    assert (provider.calls, account.failures, account.failing_since) == (["submit"], 0, None)


def test_a_provider_that_asks_to_slow_down_is_not_failing(
    job: Job, account: ProviderAccount, steps: Steps, provider: FakeProvider, published
) -> None:
    provider.before = [Unavailable("slow down", retry_after_s=30, code="429")]
    tasks.hand_off(account.pk)
    account.refresh_from_db()
    assert (account.failures, account.failing_since, fresh(job).waiting_reason) == (0, None, "quota")
