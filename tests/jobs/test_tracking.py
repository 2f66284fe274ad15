from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from portal.accounts.models import User
from portal.billing.budgets import Terms, change, create
from portal.billing.models import BudgetAction, BudgetAlert, BudgetPeriod
from portal.billing.tasks import watch_budgets
from portal.core import failpoints
from portal.jobs import logs, tracking
from portal.jobs.cancellation import ask_stop
from portal.jobs.keys import key_of
from portal.jobs.models import Attempt, Job, JobEvent
from portal.jobs.submission import submit
from portal.providers.base import RemoteState
from portal.providers.errors import Unavailable
from tests.factories import PriceFactory
from tests.factories.billing import metered
from tests.jobs.conftest import Steps, attempt_of, fresh
from tests.jobs.fakes import FakeProvider


@pytest.fixture
def queued(job: Job, steps: Steps) -> Job:
    steps.hand_off()
    return job


def now() -> datetime:
    return datetime.now(UTC)


def test_nothing_at_the_provider_means_no_call(job: Job, steps: Steps, provider: FakeProvider) -> None:
    assert steps.track() == tracking.Tracked()
    assert provider.calls == []


def test_one_listing_moves_the_job_through_its_life(queued: Job, steps: Steps, provider: FakeProvider) -> None:
    provider.becomes(RemoteState.RUNNING, started_at=now())
    assert steps.track() == tracking.Tracked(asked=1, running=1)
    assert (attempt_of(queued).state, fresh(queued).state) == ("running", "running")
    provider.becomes(RemoteState.SUCCEEDED, ended_at=now(), exit_code=0)
    assert steps.track() == tracking.Tracked(asked=1, ended=1)
    assert (attempt_of(queued).state, fresh(queued).state, attempt_of(queued).exit_code) == ("ended", "finishing", 0)
    assert provider.calls == ["submit", "list", "list"]


def test_news_that_changes_nothing_writes_nothing(
    queued: Job, steps: Steps, provider: FakeProvider, django_assert_num_queries
) -> None:
    provider.becomes(RemoteState.RUNNING, started_at=now())
    steps.track()
    before = fresh(queued).version
    with django_assert_num_queries(1):
        steps.track()
    assert fresh(queued).version == before


def test_an_end_without_an_exit_code_is_asked_about_once_more(
    queued: Job, steps: Steps, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.becomes(RemoteState.FAILED, started_at=now(), ended_at=now())
    listed = provider.jobs["r1"]
    provider.becomes(RemoteState.FAILED, exit_code=3)
    monkeypatch.setattr(provider, "list_jobs", lambda prefix, since: iter([listed]))
    steps.track()
    assert (attempt_of(queued).state, attempt_of(queued).exit_code) == ("ended", 3)


def test_backward_and_late_news_are_dropped(queued: Job, steps: Steps, provider: FakeProvider) -> None:
    running = provider.jobs["r1"]
    provider.becomes(RemoteState.RUNNING, started_at=now())
    steps.track()
    provider.becomes(RemoteState.QUEUED)
    before = fresh(queued).version
    steps.track()
    assert (attempt_of(queued).state, attempt_of(queued).remote_state) == ("running", "running")
    assert fresh(queued).version == before
    provider.becomes(RemoteState.FAILED, ended_at=now(), exit_code=1)
    stale = attempt_of(queued)
    steps.track()
    for _ in range(100):
        assert tracking.apply(stale, running) is False
    assert (attempt_of(queued).state, fresh(queued).state) == ("ended", "finishing")


def test_a_worker_killed_before_the_commit_changes_nothing(
    queued: Job, steps: Steps, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def die() -> None:
        raise Killed

    provider.becomes(RemoteState.RUNNING, started_at=now())
    monkeypatch.setitem(failpoints.armed, "tracking.before_commit", die)
    with pytest.raises(Killed):
        steps.track()
    failpoints.armed.clear()
    assert (attempt_of(queued).state, fresh(queued).state) == ("accepted", "queued")
    steps.track()
    assert (attempt_of(queued).state, fresh(queued).state) == ("running", "running")


def test_a_provider_out_of_reach_is_no_news(queued: Job, steps: Steps, provider: FakeProvider) -> None:
    provider.becomes(RemoteState.RUNNING, started_at=now())
    steps.track()
    provider.down = Unavailable("connection refused")
    steps.pass_time(7200)
    with pytest.raises(Unavailable):
        steps.track()
    assert (attempt_of(queued).state, fresh(queued).state) == ("running", "running")


def test_a_job_that_is_not_shown_is_unknown_and_comes_back(queued: Job, steps: Steps, provider: FakeProvider) -> None:
    provider.becomes(RemoteState.RUNNING, started_at=now())
    steps.track()
    provider.hidden = True
    steps.track()
    assert attempt_of(queued).state == "running"  # a moment says nothing
    steps.pass_time(600)
    steps.track()
    assert (attempt_of(queued).state, fresh(queued).state) == ("unknown", "running")
    assert steps.hand_off().accepted == 0  # what was accepted is never sent again
    provider.hidden = False
    steps.track()
    assert (attempt_of(queued).state, len(provider.jobs)) == ("running", 1)
    said = [e.reason for e in JobEvent.objects.filter(job=queued).order_by("id")]
    assert said == ["submitted", "accepted", "running", "not_listed", "listed_again"]


def test_a_provider_that_lists_nothing_is_asked_about_a_few_jobs_at_a_time(
    queued: Job, steps: Steps, provider: FakeProvider, funded, member, request_for, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "ASKED_ALONE_MAX", 2)
    for number in range(4):
        submit(funded, request=request_for(), key=f"more-{number}", by=member)
    steps.hand_off()
    provider.hidden = True
    steps.pass_time(600)
    provider.calls.clear()
    steps.track()
    assert provider.calls == ["list", "get", "get"]
    for _ in range(60):
        steps.track()
    assert set(Attempt.objects.values_list("state", flat=True)) == {"unknown"}  # each had its turn


def test_news_that_no_column_holds_stop_nobody_elses(
    queued: Job, steps: Steps, provider: FakeProvider, funded, member, request_for
) -> None:
    submit(funded, request=request_for(), key="another", by=member)
    steps.hand_off()
    provider.becomes(RemoteState.FAILED, "r1", exit_code=3_000_000_000, ended_at=now())
    provider.becomes(RemoteState.RUNNING, "r2", started_at=now())
    steps.track()
    states = Attempt.objects.order_by("remote_id").values_list("state", "exit_code")
    assert list(states) == [("ended", None), ("running", None)]


def test_a_job_that_never_comes_back_is_closed_after_a_day(queued: Job, steps: Steps, provider: FakeProvider) -> None:
    provider.hidden = True
    steps.pass_time(600)
    steps.track()
    steps.pass_time(25 * 3600)
    steps.track()
    steps.collect()
    assert (fresh(queued).state, fresh(queued).failure, fresh(queued).cost) == ("failed", "interrupted", 0)


def test_the_providers_clock_is_held_within_what_we_know(queued: Job, steps: Steps, provider: FakeProvider) -> None:
    provider.becomes(RemoteState.RUNNING, started_at=now() - timedelta(minutes=15))
    steps.track()
    assert attempt_of(queued).started_at == attempt_of(queued).sent_at
    provider.becomes(RemoteState.SUCCEEDED, ended_at=now() + timedelta(minutes=15), exit_code=0)
    steps.track()
    assert attempt_of(queued).ended_at <= now()


def test_a_second_job_with_our_key_is_cancelled_and_told_once(
    queued: Job, steps: Steps, provider: FakeProvider
) -> None:
    late = provider.add(key_of(attempt_of(queued)))
    provider.add("jga-other1-abcdefghjkmn")  # another installation's
    steps.track()
    steps.track()
    assert provider.cancelled == [late.remote_id, late.remote_id]
    assert JobEvent.objects.filter(job=queued, reason="extra_cancelled").count() == 1
    assert attempt_of(queued).remote_id == "r1"


def test_why_it_waits_is_said_in_our_words(queued: Job, steps: Steps, provider: FakeProvider) -> None:
    for word, reason in [("Resources", "capacity"), ("QOSMaxJobsPerUser", "quota"), ("ReqNodeNotAvail", "maintenance")]:
        provider.becomes(RemoteState.QUEUED, reason=word)
        steps.track()
        assert fresh(queued).waiting_reason == reason


def test_a_stop_is_asked_for_until_the_provider_confirms(
    queued: Job, steps: Steps, provider: FakeProvider, member
) -> None:
    provider.becomes(RemoteState.RUNNING, started_at=now())
    steps.track()
    ask_stop(queued, by=member)
    steps.track()
    steps.track()
    assert (attempt_of(queued).state, fresh(queued).state, provider.cancelled) == ("stopping", "running", ["r1"])
    steps.pass_time(11)
    steps.track()
    assert provider.cancelled == ["r1", "r1"]
    provider.becomes(RemoteState.CANCELLED, ended_at=now())
    steps.track()
    steps.collect()
    assert fresh(queued).state == "cancelled"


def test_a_job_near_its_cap_is_stopped_and_expires(queued: Job, steps: Steps, provider: FakeProvider) -> None:
    Attempt.objects.update(sent_at=now() - timedelta(hours=1))
    provider.becomes(RemoteState.RUNNING, started_at=now() - timedelta(seconds=1000))
    steps.track()
    steps.track()
    assert fresh(queued).stop_requested_at is None  # 500 yen pay for 1,785 s
    Attempt.objects.update(started_at=now() - timedelta(seconds=1780))
    steps.track()
    assert (fresh(queued).failure, provider.cancelled) == ("over_budget", ["r1"])
    provider.becomes(RemoteState.CANCELLED, ended_at=now())
    steps.track()
    steps.collect()
    ended = fresh(queued)
    assert (ended.state, ended.failure, ended.cost <= 500) == ("expired", "over_budget", True)


@pytest.mark.parametrize("state", [RemoteState.QUEUED, RemoteState.RUNNING])
def test_a_budget_that_is_spent_stops_what_runs_and_what_waits_at_the_provider(
    state: RemoteState, queued: Job, steps: Steps, provider: FakeProvider, owner: User
) -> None:
    """Another job has spent 500 of 1,000 yen."""
    project = queued.project
    terms = Terms(1000, at_80=BudgetAction.STOP)
    budget = create(project.organization, project=project, period=BudgetPeriod.MONTH, terms=terms, by=owner)
    provider.becomes(state, started_at=now() if state == RemoteState.RUNNING else None)
    steps.track()
    price = PriceFactory(amount="1", minimum_s=0)
    began = now() - timedelta(seconds=500)
    metered(project, owner, price, job_code="J-other", started_at=began, seconds=500, held=500)
    steps.track()
    assert (BudgetAlert.objects.count(), provider.cancelled) == (0, [])
    change(budget, terms=Terms(1000, at_50=BudgetAction.STOP), by=owner)
    steps.track()
    watch_budgets()
    assert (fresh(queued).failure, provider.cancelled) == ("over_budget", ["r1"])
    assert list(BudgetAlert.objects.values_list("percent", "action", "used")) == [
        (50, "stop", 500), (80, "tell", 1000), (100, "tell", 1000),
    ]  # fmt: skip
    provider.becomes(RemoteState.CANCELLED, ended_at=now())
    steps.track()
    steps.collect()
    events = JobEvent.objects.filter(job=queued, reason__contains="budget").order_by("pk")
    reasons = list(events.values_list("reason", flat=True))
    assert (fresh(queued).state, reasons) == ("expired", ["budget_stopped", "over_budget"])


def test_a_log_is_followed_often_only_while_somebody_watches(queued: Job, steps: Steps, provider: FakeProvider) -> None:
    provider.output = b"one\ntwo\nthr"
    provider.becomes(RemoteState.RUNNING, started_at=now())
    steps.track()
    assert tracking.follow_logs(steps.account_id) == 1
    assert tracking.follow_logs(steps.account_id) == 0
    assert [line.text for line in logs.tail(fresh(queued))] == ["one", "two"]
    provider.output += b"ee\n"
    logs.watch(queued)
    from django.core.cache import cache

    cache.set(f"pulled:{attempt_of(queued).code}", now().timestamp() - 2, 60)
    assert tracking.follow_logs(steps.account_id) == 1
    assert [line.text for line in logs.tail(fresh(queued))] == ["one", "two", "three"]


def test_a_start_is_told_at_the_providers_time_also_when_only_the_end_tells_of_it(
    queued: Job, steps: Steps, provider: FakeProvider
) -> None:
    started_at = now()
    provider.becomes(RemoteState.SUCCEEDED, started_at=started_at, ended_at=started_at, exit_code=0)
    steps.track()
    told = JobEvent.objects.filter(job=queued, reason="running").values_list("kind", "at")
    assert (list(told), fresh(queued).started_at) == ([("provider", started_at)], started_at)


def test_the_event_of_a_start_has_the_providers_time(queued: Job, steps: Steps, provider: FakeProvider) -> None:
    started_at = now()
    provider.becomes(RemoteState.RUNNING, started_at=started_at)
    steps.track()
    provider.becomes(RemoteState.SUCCEEDED, ended_at=now(), exit_code=0)
    steps.track()
    assert list(JobEvent.objects.filter(job=queued, reason="running").values_list("at", flat=True)) == [started_at]
