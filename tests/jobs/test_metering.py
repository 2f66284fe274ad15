from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from portal.billing.models import BillingAccount, Charge, Hold
from portal.jobs import collection, metering
from portal.jobs.models import Attempt, Job
from portal.providers.base import RemoteState
from portal.usage.models import UsageRecord
from tests.jobs.conftest import Steps, attempt_of, fresh
from tests.jobs.fakes import FakeProvider

START = datetime(2026, 11, 20, 3, 0, tzinfo=UTC)


@pytest.fixture
def running(job: Job, steps: Steps, provider: FakeProvider) -> Job:
    steps.hand_off()
    provider.becomes(RemoteState.RUNNING, started_at=datetime.now(UTC))
    steps.track()
    Attempt.objects.update(sent_at=START, started_at=START, seen_at=START + timedelta(seconds=100.7))
    return job


def used(job: Job) -> list[tuple[int, int]]:
    records = UsageRecord.objects.filter(job_code=job.code).order_by("started_at")
    return [(record.gpu_seconds, record.charge.amount) for record in records]


def test_time_since_the_watermark_becomes_money_once(running: Job) -> None:
    attempt = attempt_of(running)
    assert (metering.meter(attempt.pk), metering.meter(attempt.pk)) == (100, 0)
    Attempt.objects.update(seen_at=START + timedelta(seconds=200))
    assert metering.meter(attempt.pk) == 100
    # 28 and 56 yen so far at 0.28 yen a second
    assert used(running) == [(100, 28), (100, 28)]
    assert (fresh(running).gpu_seconds, fresh(running).cost) == (200, 56)


def test_what_fails_leaves_neither_record_nor_watermark(running: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(record: UsageRecord) -> Charge:
        raise RuntimeError

    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        patch.setattr(metering, "rate", broken)
        metering.meter(attempt_of(running).pk)
    assert (used(running), attempt_of(running).metered_until, fresh(running).cost) == ([], None, 0)
    assert metering.meter(attempt_of(running).pk) == 100


def test_only_what_was_seen_long_enough_is_due(running: Job, steps: Steps) -> None:
    assert metering.due(steps.account_id) == [attempt_of(running).pk]
    metering.meter(attempt_of(running).pk)
    assert metering.due(steps.account_id) == []
    Attempt.objects.update(seen_at=START + timedelta(seconds=161))
    assert metering.due(steps.account_id) == [attempt_of(running).pk]


def test_the_end_charges_the_rest_and_releases_the_hold(running: Job, steps: Steps, provider: FakeProvider) -> None:
    metering.meter(attempt_of(running).pk)
    provider.becomes(RemoteState.SUCCEEDED, ended_at=START + timedelta(seconds=250), exit_code=0)
    steps.track()
    steps.collect()
    done = fresh(running)
    assert (done.state, done.gpu_seconds, done.cost) == ("succeeded", 250, 70)
    purse = BillingAccount.objects.get(organization=running.organization)
    assert (purse.held, purse.posted, Hold.objects.get(job_code=running.code).used) == (0, 70, 70)


def test_a_job_of_a_moment_pays_the_minimum(job: Job, steps: Steps, provider: FakeProvider) -> None:
    steps.hand_off()
    at = datetime.now(UTC)
    provider.becomes(RemoteState.SUCCEEDED, started_at=at, ended_at=at, exit_code=0)
    steps.track()
    steps.collect()
    assert (fresh(job).gpu_seconds, fresh(job).cost) == (1, 16)  # 60 s at 0.28 yen


def test_a_job_that_never_ran_pays_nothing(job: Job, steps: Steps, provider: FakeProvider) -> None:
    steps.hand_off()
    provider.becomes(RemoteState.CANCELLED, ended_at=datetime.now(UTC))
    steps.track()
    steps.collect()
    assert (fresh(job).state, fresh(job).cost, used(job)) == ("cancelled", 0, [])
    assert Hold.objects.get(job_code=job.code).released_at is not None


def test_a_late_worker_cannot_settle(running: Job, steps: Steps, provider: FakeProvider) -> None:
    provider.becomes(RemoteState.SUCCEEDED, ended_at=START + timedelta(seconds=250), exit_code=0)
    steps.track()
    late = collection.take_ended(steps.account_id)
    assert late is not None
    steps.pass_time(collection.LEASE_S + 1)
    assert steps.collect() == 1
    assert metering.settle(late) is False
    assert fresh(running).cost == 70


def test_a_late_worker_cannot_settle_what_another_is_collecting(
    running: Job, steps: Steps, provider: FakeProvider
) -> None:
    provider.becomes(RemoteState.SUCCEEDED, ended_at=START + timedelta(seconds=250), exit_code=0)
    steps.track()
    late = collection.take_ended(steps.account_id)
    steps.pass_time(collection.LEASE_S + 1)
    newest = collection.take_ended(steps.account_id)
    assert late is not None and newest is not None

    def told() -> tuple[object, ...]:
        job, attempt = fresh(running), attempt_of(running)
        released = Hold.objects.get(job_code=job.code).released_at is not None
        return job.state, job.cost, job.log_key, attempt.log_key, attempt.collected_at is not None, released

    assert metering.settle(late, log_key="late") is False
    assert told() == ("finishing", 0, "", "", False, False)
    assert metering.settle(newest, log_key="newest") is True
    assert told() == ("succeeded", 70, "newest", "newest", True, True)


def ended_with(job: Job, steps: Steps, provider: FakeProvider, log: bytes, **end: Any) -> Job:
    """After 250 seconds, which have just gone by: nobody has to stop it."""
    provider.output = log
    began = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=250)
    Attempt.objects.update(sent_at=began, started_at=began, seen_at=began)
    provider.becomes(end.pop("state", RemoteState.FAILED), ended_at=began + timedelta(seconds=250), **end)
    steps.track()
    steps.collect()
    return fresh(job)


LOGS = {
    "nothing": b"",
    "out of memory": b"step 1\nRuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB\n",
    "a fault of the provider, it says": b"NVRM: Xid (PCI:0000:18:00): 79, GPU has fallen off the bus.\n",
    "preempted, it says": b"slurmstepd: error: *** JOB 1 ON a CANCELLED AT 2026-11-20T03:00:00 DUE TO PREEMPTION ***\n",
    "not saved, it says": b"portal: the output could not be saved\n",
}


@pytest.mark.parametrize("log", LOGS.values(), ids=LOGS.keys())
def test_no_log_changes_what_is_metered_and_charged(
    running: Job, steps: Steps, provider: FakeProvider, log: bytes
) -> None:
    """A log is written by the customer's own program: it may never decide who pays."""
    done = ended_with(running, steps, provider, log, exit_code=1)
    assert (done.state, done.exit_code, done.gpu_seconds, done.cost) == ("failed", 1, 250, 70)
    assert used(running) == [(250, 70)]
    hold = Hold.objects.get(job_code=running.code)
    assert (hold.used, hold.released_at is not None) == (70, True)
    assert done.failure in ("program", "out_of_memory")
    assert Attempt.objects.filter(job=running).count() == 1  # nor does it begin anew


@pytest.mark.parametrize(("exit_code", "cause"), [(94, "output_not_saved"), (95, "not_started"), (98, "not_started")])
def test_what_a_machine_says_of_the_portal_changes_nothing_of_what_is_charged(
    running: Job, steps: Steps, provider: FakeProvider, exit_code: int, cause: str
) -> None:
    """A customer's image brings the shell and the tools that our script runs with: it can end with any of our codes."""
    done = ended_with(running, steps, provider, b"", exit_code=exit_code)
    assert (done.state, done.failure, done.diagnosis["cause"]) == ("failed", "portal_fault", cause)
    assert (done.gpu_seconds, done.cost, used(running)) == (250, 70, [(250, 70)])
    hold = Hold.objects.get(job_code=running.code)
    assert (hold.used, hold.released_at is not None) == (70, True)


def test_what_the_log_shows_is_stored_with_the_end_and_told_in_its_event(
    running: Job, steps: Steps, provider: FakeProvider
) -> None:
    done = ended_with(running, steps, provider, LOGS["out of memory"], exit_code=1)
    assert (done.failure, done.diagnosis) == (
        "out_of_memory",
        {
            "cause": "cuda_out_of_memory",
            "name": "",
            "lines": [[2, "RuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB"]],
        },
    )
    event = done.events.get(after="failed")
    # The provider's word stays what it was: of memory it has said nothing.
    assert (event.reason, event.detail) == ("program_error", {"cause": "cuda_out_of_memory"})


def test_a_job_that_did_not_fail_is_not_diagnosed(running: Job, steps: Steps, provider: FakeProvider) -> None:
    done = ended_with(running, steps, provider, LOGS["out of memory"], state=RemoteState.SUCCEEDED, exit_code=0)
    assert (done.state, done.failure, done.diagnosis) == ("succeeded", "", {})
