from __future__ import annotations

import pytest

from portal.accounts.access import NotPermitted
from portal.audit.models import AuditEvent
from portal.billing.models import Hold
from portal.jobs.cancellation import ask_stop
from portal.jobs.models import Attempt, Job, JobEvent
from tests.jobs.conftest import Steps, attempt_of, fresh
from tests.jobs.fakes import FakeProvider


def test_before_the_hand_off_a_job_ends_at_once_and_is_never_sent(
    job: Job, member, steps: Steps, provider: FakeProvider
) -> None:
    assert (ask_stop(job, by=member), ask_stop(job, by=member)) == (True, False)
    steps.hand_off()
    assert (fresh(job).state, attempt_of(job).state, provider.calls) == ("cancelled", "ended", [])
    assert Hold.objects.get(job_code=job.code).released_at is not None
    assert list(JobEvent.objects.filter(job=job).order_by("id").values_list("reason", flat=True)) == [
        "submitted",
        "stop_requested",
        "stopped_before_sending",
    ]


def test_at_the_provider_it_is_a_wish_with_event_and_audit(
    job: Job, member, steps: Steps, provider: FakeProvider
) -> None:
    steps.hand_off()
    assert (ask_stop(job, by=member), ask_stop(fresh(job), by=member)) == (True, False)
    stopped = fresh(job)
    assert (stopped.state, stopped.stop_requested_by, provider.cancelled) == ("queued", member, [])
    assert AuditEvent.objects.filter(act="job.stop_requested").count() == 1
    assert JobEvent.objects.filter(reason="stop_requested").count() == 1


def test_a_job_that_may_have_been_sent_does_not_end_by_a_wish(job: Job, member, steps: Steps) -> None:
    Attempt.objects.update(state="sending")
    ask_stop(job, by=member)
    assert (fresh(job).state, attempt_of(job).state) == ("submitted", "sending")


def test_who_may_stop(job: Job, manager, viewer, stranger) -> None:
    for person in (viewer, stranger):
        with pytest.raises(NotPermitted):
            ask_stop(job, by=person)
    assert fresh(job).stop_requested_at is None
    assert ask_stop(job, by=manager) is True


def test_a_final_job_has_nothing_to_stop(job: Job, member, steps: Steps) -> None:
    ask_stop(job, by=member)
    assert ask_stop(fresh(job), by=member) is False
