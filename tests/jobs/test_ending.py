from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from portal.jobs import ending
from portal.jobs.models import Attempt, Job, JobEvent
from portal.providers.base import RemoteState
from tests.jobs.conftest import Steps, attempt_of, fresh
from tests.jobs.fakes import FakeProvider


@pytest.fixture
def running(job: Job, steps: Steps, provider: FakeProvider) -> Job:
    """500 yen pay for 1,785 s of its hour: it is stopped after 1,770."""
    steps.hand_off()
    provider.becomes(RemoteState.RUNNING, started_at=datetime.now(UTC))
    steps.track()
    return job


def started(job: Job, seconds_ago: float) -> datetime:
    at = datetime.now(UTC) - timedelta(seconds=seconds_ago)
    Attempt.objects.filter(job=job).update(started_at=at)
    Job.objects.filter(pk=job.pk).update(started_at=at)
    return at


def warnings(job: Job) -> list[dict[str, Any]]:
    return list(JobEvent.objects.filter(job=job, reason="ends_soon").order_by("pk").values_list("detail", flat=True))


@pytest.mark.parametrize(
    ("left_s", "after_s", "minutes"),
    [(1801, 3600, 0), (1800, 3600, 30), (601, 3600, 30), (600, 3600, 10), (0, 3600, 10), (600, 600, 0), (900, 1800, 0)],
)
def test_a_warning_is_due_only_where_there_was_more_time_before(left_s: int, after_s: int, minutes: int) -> None:
    assert ending.warning_at(left_s, ending.End(after_s, after_s, is_at_cap=False)) == minutes


def test_a_job_near_its_time_limit_is_warned_of_thirty_and_ten_minutes_once_each(
    running: Job, steps: Steps, django_assert_num_queries: Any
) -> None:
    Job.objects.update(cost_cap=5000)
    for seconds_ago in (1790, 1810, 1820, 3010, 3020):
        at = started(running, seconds_ago)
        before = fresh(running).version
        steps.track()
        steps.track()
        changed = fresh(running).version - before
        assert changed == (seconds_ago in (1810, 3010))
    assert [(one["minutes"], one["limit"]) for one in warnings(running)] == [(30, "time_limit"), (10, "time_limit")]
    told = datetime.fromisoformat(warnings(running)[-1]["ends_at"])
    assert abs(told - at - timedelta(seconds=3600)) < timedelta(seconds=15)
    with django_assert_num_queries(1):
        steps.track()


def test_a_job_near_its_cap_is_warned_of_the_end_at_its_cap(running: Job, steps: Steps) -> None:
    started(running, 1200)
    steps.track()
    assert [(one["minutes"], one["limit"]) for one in warnings(running)] == [(10, "cost_cap")]


def test_who_was_not_seen_for_long_gets_the_last_warning_alone(running: Job, steps: Steps) -> None:
    Job.objects.update(cost_cap=5000)
    started(running, 3100)
    steps.track()
    assert [one["minutes"] for one in warnings(running)] == [10]


def test_a_job_that_is_being_stopped_is_not_warned(running: Job, steps: Steps) -> None:
    Job.objects.update(cost_cap=5000, stop_requested_at=datetime.now(UTC))
    started(running, 3100)
    steps.track()
    assert (warnings(running), attempt_of(running).warned_min) == ([], 0)


def test_warnings_take_as_many_statements_for_three_jobs_as_for_one(
    running: Job, django_assert_num_queries: Any
) -> None:
    Job.objects.update(cost_cap=5000)
    started(running, 1900)
    template = attempt_of(running)
    for number in (2, 3, 4):
        job = fresh(running)
        job.pk, job.code = None, f"J-{number}"
        job.save()
        template.pk, template.job, template.code, template.remote_id = None, job, f"a{number}", f"r{number}"
        template.save()
    attempts = list(Attempt.objects.order_by("pk").select_related("price", "job__organization", "job__project"))
    for attempt in attempts:
        attempt.may_be_stopped = False  # type: ignore[attr-defined]
    # Savepoint and its release, rows locked, marked, events, versions.
    with django_assert_num_queries(6):
        ending.see_to_ends(attempts[:1])
    with django_assert_num_queries(6):
        ending.see_to_ends(attempts[1:])
    assert JobEvent.objects.filter(reason="ends_soon").count() == 4


def test_a_job_that_is_given_more_time_at_the_last_moment_goes_on(running: Job, steps: Steps, monkeypatch: Any) -> None:
    """The extension commits after the round has read the job, and before it asks for its end."""
    started(running, 1800)
    want_stop = ending._want_stop

    def after_an_extension(*args: Any) -> None:
        Job.objects.filter(pk=running.pk).update(cost_cap=5000)
        want_stop(*args)

    monkeypatch.setattr(ending, "_want_stop", after_an_extension)
    steps.track()
    assert (fresh(running).state, fresh(running).stop_requested_at) == ("running", None)
    steps.track()
    assert fresh(running).stop_requested_at is None
