from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from portal.audit.models import AuditEvent
from portal.catalog.models import ProviderAccount
from portal.celery import app
from portal.jobs import handoff, orphans, tasks
from portal.jobs.keys import key_of
from portal.jobs.models import Attempt, Job, JobEvent
from portal.jobs.orphans import Found
from portal.jobs.states import AttemptState
from portal.providers.base import RemoteState
from portal.providers.errors import Unavailable
from tests.factories import ProviderAccountFactory
from tests.jobs.conftest import Steps, attempt_of, fresh
from tests.jobs.fakes import FakeProvider


@pytest.fixture
def queued(job: Job, steps: Steps) -> Job:
    steps.hand_off()
    return job


def made_before(provider: FakeProvider, **ago: float) -> None:
    for remote_id in list(provider.jobs):
        provider.becomes(
            provider.jobs[remote_id].state, remote_id=remote_id, created_at=datetime.now(UTC) - timedelta(**ago)
        )


def test_nothing_is_asked_of_the_database_when_all_is_accounted_for(
    queued: Job, account: ProviderAccount, provider: FakeProvider, django_assert_num_queries
) -> None:
    with django_assert_num_queries(0):
        assert orphans.settle(account, provider, []) == Found()
    assert orphans.find(account) == Found()
    assert provider.cancelled == []


def test_a_job_without_a_row_is_cancelled_after_a_pause_and_told_once(
    queued: Job, account: ProviderAccount, provider: FakeProvider
) -> None:
    lost = provider.add("jga-test00-zzzzzzzzzzzz")
    assert orphans.find(account) == Found()
    made_before(provider, minutes=3)
    assert [orphans.find(account), orphans.find(account)] == [Found(cancelled=1)] * 2
    assert provider.cancelled == [lost.remote_id] * 2
    told = AuditEvent.objects.filter(act="job.extra_cancelled").values_list("chain", "subject", "detail")
    assert list(told) == [("", f"provider_account:{account.pk}", {"remote_id": lost.remote_id})]
    provider.becomes(RemoteState.CANCELLED, remote_id=lost.remote_id)
    assert orphans.find(account) == Found()


def test_jobs_of_others_and_of_other_installations_are_left_alone(
    queued: Job, account: ProviderAccount, provider: FakeProvider
) -> None:
    for key in ("", "training", "jga-other1-abcdefghjkmn", "jga-test001-abcdefghjkmn"):
        provider.add(key)
    made_before(provider, hours=1)
    assert (orphans.find(account), provider.cancelled) == (Found(), [])


def test_a_request_that_arrives_after_its_job_was_stopped_is_cancelled(
    job: Job, account: ProviderAccount, provider: FakeProvider
) -> None:
    Attempt.objects.update(state=AttemptState.ENDED)
    late = provider.add(key_of(attempt_of(job)))
    assert (orphans.find(account), provider.cancelled) == (Found(cancelled=1), [late.remote_id])
    assert JobEvent.objects.filter(job=job, reason="extra_cancelled").count() == 1


def test_one_that_ended_is_nobodys_business(queued: Job, account: ProviderAccount, provider: FakeProvider) -> None:
    late = provider.add(key_of(attempt_of(queued)))
    provider.becomes(RemoteState.CANCELLED, remote_id=late.remote_id)
    assert (orphans.find(account), provider.cancelled) == (Found(), [])


def test_a_restored_row_takes_its_job_up_again_and_sends_nothing(
    queued: Job, account: ProviderAccount, steps: Steps, provider: FakeProvider
) -> None:
    """The backup is from before the hand-over: the row wants to be sent, the job runs at the provider."""
    restore(queued)
    assert orphans.find(account) == Found(to_adopt=1)
    assert steps.hand_off().accepted == 1
    assert (attempt_of(queued).state, attempt_of(queued).remote_id, fresh(queued).state) == ("accepted", "r1", "queued")
    assert provider.calls.count("submit") == 1


def test_also_when_the_workers_are_faster_than_the_sweep(
    queued: Job, account: ProviderAccount, steps: Steps, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    restore(queued)
    monkeypatch.setattr(handoff, "BEGAN", timezone.now() + timedelta(seconds=1))  # workers are started after a restore
    assert steps.hand_off().accepted == 1
    assert (attempt_of(queued).remote_id, provider.calls.count("submit")) == ("r1", 1)


def test_what_waited_while_the_workers_were_away_is_sent_when_the_provider_does_not_have_it(
    job: Job, steps: Steps, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handoff, "BEGAN", timezone.now() + timedelta(seconds=1))
    provider.down = Unavailable("time-out")
    assert steps.hand_off().accepted == 0
    assert (attempt_of(job).state, provider.calls) == ("intended", ["find"])
    provider.down = None
    steps.pass_time(60)
    assert steps.hand_off().accepted == 1
    assert provider.calls == ["find", "find", "submit"]


def test_one_that_a_worker_is_sending_right_now_is_left_to_it(
    job: Job, account: ProviderAccount, provider: FakeProvider
) -> None:
    taken = handoff.take(account)
    assert taken is not None
    provider.add(key_of(taken.attempt))
    assert orphans.find(account) == Found()
    assert attempt_of(job).state == "sending"


def test_a_job_of_another_account_of_ours_is_left_alone(
    queued: Job, provider: FakeProvider, account: ProviderAccount
) -> None:
    other = ProviderAccountFactory(provider=account.provider, kind="slurm_ssh")
    made_before(provider, hours=1)
    assert (orphans.find(other), provider.cancelled) == (Found(), [])


def test_accounts_in_use_are_swept_and_a_hand_off_follows(
    queued: Job, account: ProviderAccount, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[str, int]] = []
    monkeypatch.setattr(tasks, "publish", lambda task, *args: sent.append((task.name, *args)))
    tasks.find_orphans()
    ProviderAccount.objects.update(last_ok_at=timezone.now())
    tasks.find_orphans()
    restore(queued)
    tasks.find_orphans(account.pk)
    provider.down = Unavailable("time-out")
    tasks.find_orphans(account.pk)
    assert sent == [("jobs.find_orphans", account.pk, 48), ("jobs.hand_off", account.pk)]
    assert ProviderAccount.objects.get().failures == 1


def test_what_was_late_on_its_way_is_looked_for_every_minute(
    account: ProviderAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where jobs were handed over within the hour; nothing may be tracked there any more."""
    sent: list[tuple[object, ...]] = []
    monkeypatch.setattr(tasks, "publish", lambda task, *args: sent.append((task.name, *args)))
    for ago_h in (2, 0.5):
        ProviderAccount.objects.update(last_ok_at=timezone.now() - timedelta(hours=ago_h))
        tasks.find_orphans(None, 1)
    assert sent == [("jobs.find_orphans", account.pk, 1)]
    entry = app.conf.beat_schedule["late_requests"]
    assert (entry["task"], entry["schedule"] < 60, entry["args"]) == ("jobs.find_orphans", True, (None, 1))


def test_a_job_that_runs_again_after_its_end_is_ended_there(
    queued: Job, account: ProviderAccount, provider: FakeProvider
) -> None:
    """It had vanished for a day, or was begun anew on their side: nobody pays for it any more."""
    Attempt.objects.update(state=AttemptState.ENDED, collected_at=timezone.now())
    assert orphans.find(account) == Found()  # just now: the list may be old
    Attempt.objects.update(collected_at=timezone.now() - timedelta(minutes=3))
    assert orphans.find(account) == Found(cancelled=1)
    assert provider.cancelled == ["r1"]
    assert JobEvent.objects.filter(job=queued, reason="ended_again").count() == 1


def restore(job: Job) -> None:
    Attempt.objects.update(
        state=AttemptState.INTENDED, remote_id="", epoch=0, sent_at=None, accepted_at=None, remote_state=""
    )
    Job.objects.filter(pk=job.pk).update(state="submitted")
