from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection, transaction

from portal.accounts.access import NotPermitted
from portal.accounts.models import Project, User
from portal.audit.models import AuditEvent
from portal.billing import budgets, holds
from portal.billing.budgets import Terms
from portal.billing.models import BudgetAction, BudgetPeriod, Hold
from portal.billing.verification import verify
from portal.catalog.models import Offering, ProviderAccount
from portal.core import failpoints
from portal.jobs.cancellation import ask_stop
from portal.jobs.ending import end_of
from portal.jobs.extension import CannotExtend, extend
from portal.jobs.models import Attempt, Job, JobEvent
from portal.jobs.verification import verify as verify_jobs
from portal.providers.base import RemoteState
from portal.providers.errors import Misconfigured, NotFound, Rejected, Unavailable
from tests.factories import PriceFactory
from tests.factories.billing import metered
from tests.jobs.conftest import Steps, attempt_of, fresh
from tests.jobs.fakes import FakeProvider

HOUR_YEN = 1008


@pytest.fixture
def running(job: Job, steps: Steps, provider: FakeProvider) -> Job:
    """Begun half an hour ago at a cluster whose limits can be raised; its hour costs 1,008 yen, all of it held."""
    Job.objects.update(cost_cap=HOUR_YEN)
    Hold.objects.update(amount=500)
    steps.hand_off()
    provider.becomes(RemoteState.RUNNING, started_at=datetime.now(UTC))
    steps.track()
    ProviderAccount.objects.update(kind="slurm_rest", options={"raises_limits": "true"})
    began = datetime.now(UTC) - timedelta(minutes=30)
    Attempt.objects.update(started_at=began, metered_until=datetime.now(UTC))
    Job.objects.update(started_at=began)
    return fresh(job)


def held(job: Job) -> int:
    return Hold.objects.get(job_code=job.code).amount


def seen(job: Job) -> int:
    return end_of(Attempt.objects.select_related("job", "price").get(job=job), held=held(job)).after_s


def give(job: Job, by: User, *, seconds: int = 3600, seen_end_s: int | None = None) -> None:
    extend(job, seconds=seconds, seen_end_s=seen(job) if seen_end_s is None else seen_end_s, by=by)


@pytest.fixture
def whole(running: Job) -> Job:
    """The hold pays for its time limit."""
    with transaction.atomic():
        holds.grow(running.code, amount=HOUR_YEN - 500, by="portal:test")
    return fresh(running)


def test_an_hour_more_is_held_written_down_and_carried_to_the_provider_once(
    whole: Job, steps: Steps, provider: FakeProvider, member: User
) -> None:
    give(whole, member)
    job = fresh(whole)
    assert (job.time_limit_s, job.cost_cap, held(job)) == (7200, 2 * HOUR_YEN, 2 * HOUR_YEN)
    assert (attempt_of(job).asked_more_s, attempt_of(job).asked_more_yen) == (3600, HOUR_YEN)
    steps.track()
    steps.track()
    assert provider.limits == [("r1", 7200)]
    assert (attempt_of(job).asked_more_s, seen(job), verify()) == (0, 7200, [])
    events = list(JobEvent.objects.filter(job=job, kind="limit").order_by("pk").values_list("reason", "by"))
    assert events == [("extended", f"user:{member.pk}"), ("extension_confirmed", "portal:tracking")]
    assert AuditEvent.objects.filter(act="job.extended", subject=f"job:{job.code}").count() == 1


def test_a_job_that_its_cap_ends_gets_a_higher_cap_and_no_provider_is_asked(
    running: Job, steps: Steps, provider: FakeProvider, member: User
) -> None:
    """500 of 1,008 yen are held: they pay for 1,785 s, of which it is stopped 15 s before the end."""
    ProviderAccount.objects.update(kind="sakura_dok")
    Job.objects.update(cost_cap=500)
    assert seen(running) == 1770
    give(running, member, seconds=900)
    job = fresh(running)
    assert (job.time_limit_s, job.cost_cap, held(job), seen(job)) == (3600, 752, 752, 2670)
    steps.track()
    assert (provider.limits, attempt_of(job).asked_more_s, verify()) == ([], 0, [])


def test_sent_twice_it_is_one_extension(whole: Job, steps: Steps, member: User) -> None:
    end = seen(whole)
    give(whole, member, seen_end_s=end)
    with pytest.raises(CannotExtend, match="確認していません"):
        give(whole, member, seen_end_s=end)
    steps.track()
    with pytest.raises(CannotExtend, match="終了時刻が変わりました"):
        give(whole, member, seen_end_s=end)
    assert (fresh(whole).time_limit_s, held(whole)) == (7200, 2 * HOUR_YEN)


@pytest.mark.parametrize("kind", ["credit", "budget", "approval", "stopped"])
def test_what_the_credit_or_a_budget_does_not_allow_is_refused_and_nothing_is_held(
    whole: Job, kind: str, member: User, owner: User, provider: FakeProvider
) -> None:
    project = whole.project
    terms = {
        "budget": Terms(HOUR_YEN + 100),
        "approval": Terms(4 * HOUR_YEN, at_50=BudgetAction.ASK),
        "stopped": Terms(2 * HOUR_YEN + 100, at_50=BudgetAction.STOP),
    }
    spent = {"approval": 1, "stopped": HOUR_YEN + 50}
    said = {
        "credit": "¥1,008必要ですが、クレジットの残りは¥7です",
        "budget": "¥1,008必要ですが、予算の残りは¥100です",
        "approval": "承認なしで使えるのは¥1,007までです",
        "stopped": "予算",
    }
    if kind in spent:
        spend(project, owner, spent[kind])
    if kind in terms:
        budgets.create(project.organization, project=project, period=BudgetPeriod.MONTH, terms=terms[kind], by=owner)
    else:
        leave_credit_of(project, 7)
    before = (fresh(whole).time_limit_s, fresh(whole).cost_cap, held(whole))
    with pytest.raises(CannotExtend, match=said[kind]):
        give(whole, member)
    assert (fresh(whole).time_limit_s, fresh(whole).cost_cap, held(whole)) == before
    assert (JobEvent.objects.filter(kind="limit").count(), verify()) == (0, [])


def spend(project: Project, owner: User, amount: int) -> None:
    price = PriceFactory(amount="1", minimum_s=0, tax_percent=0)
    began = datetime.now(UTC) - timedelta(seconds=amount)
    metered(project, owner, price, job_code="J-other", started_at=began, seconds=amount, held=amount)


def leave_credit_of(project: Project, rest: int) -> None:
    room = holds.room_for(project).left
    with transaction.atomic():
        holds.hold(project.organization, project=project, job_code="J-rest", amount=room - rest, by="portal:test")


@pytest.mark.parametrize("refusal", [Rejected("limit"), Misconfigured("access denied")])
def test_what_the_provider_refuses_is_taken_back(
    whole: Job, steps: Steps, provider: FakeProvider, member: User, refusal: Exception
) -> None:
    provider.refusing = refusal
    give(whole, member)
    steps.track()
    job = fresh(whole)
    assert (job.time_limit_s, job.cost_cap, held(job), attempt_of(job).asked_more_s) == (3600, HOUR_YEN, HOUR_YEN, 0)
    reasons = list(JobEvent.objects.filter(job=job, kind="limit").order_by("pk").values_list("reason", flat=True))
    assert (reasons, verify()) == (["extended", "extension_refused"], [])


def test_a_provider_that_does_not_answer_is_asked_again_and_the_money_stays(
    whole: Job, steps: Steps, provider: FakeProvider, member: User
) -> None:
    give(whole, member)
    provider.refusing = Unavailable("connection reset")
    steps.track()
    assert (attempt_of(whole).asked_more_s, held(whole)) == (3600, 2 * HOUR_YEN)
    provider.refusing = None
    steps.track()
    assert (attempt_of(whole).asked_more_s, provider.limits) == (0, [("r1", 7200)])


def test_a_worker_that_dies_after_the_providers_answer_asks_once_more(
    whole: Job, steps: Steps, provider: FakeProvider, member: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def die() -> None:
        raise Killed

    give(whole, member)
    monkeypatch.setitem(failpoints.armed, "ending.before_settling_limit", die)
    with pytest.raises(Killed):
        steps.track()
    failpoints.armed.clear()
    steps.track()
    assert (provider.limits, attempt_of(whole).asked_more_s) == ([("r1", 7200), ("r1", 7200)], 0)
    assert (held(whole), JobEvent.objects.filter(reason="extension_confirmed").count()) == (2 * HOUR_YEN, 1)


def test_a_job_that_ended_meanwhile_gives_everything_back_at_its_end(
    whole: Job, steps: Steps, provider: FakeProvider, member: User
) -> None:
    give(whole, member)
    provider.refusing = NotFound("the job has ended")
    provider.becomes(RemoteState.TIMED_OUT, ended_at=datetime.now(UTC), exit_code=143)
    steps.track()
    steps.collect()
    job = fresh(whole)
    assert (job.state, job.failure, Hold.objects.get(job_code=job.code).left) == ("expired", "time_limit", 0)
    assert (verify(), verify_jobs()) == ([], [])


def test_a_provider_that_cannot_is_named_and_nothing_is_held(whole: Job, member: User) -> None:
    ProviderAccount.objects.update(options={})
    with pytest.raises(CannotExtend, match="実行中のジョブの最長の実行時間を変更できません"):
        give(whole, member)
    assert held(whole) == HOUR_YEN


@pytest.mark.parametrize("seconds", [0, -900, 60, 901])
def test_time_is_given_in_steps_of_a_quarter_of_an_hour(whole: Job, member: User, seconds: int) -> None:
    with pytest.raises(CannotExtend, match="15分単位"):
        give(whole, member, seconds=seconds)


def test_no_job_runs_longer_than_its_plan_lets_it(whole: Job, member: User) -> None:
    Offering.objects.update(time_limit_max_s=7000)
    with pytest.raises(CannotExtend, match="最長1時間56分"):
        give(whole, member)


def test_neither_a_job_that_is_being_stopped_nor_one_that_waits_is_extended(
    whole: Job, member: User, steps: Steps
) -> None:
    Job.objects.update(state="queued")
    with pytest.raises(CannotExtend, match="実行中のジョブだけ"):
        give(whole, member)
    Job.objects.update(state="running")
    ask_stop(whole, by=member)
    with pytest.raises(CannotExtend, match="停止中"):
        give(whole, member)


def test_a_closed_project_takes_on_no_more_cost(whole: Job, member: User) -> None:
    project = whole.project
    project.closed_at = datetime.now(UTC)
    project.save()
    with pytest.raises(CannotExtend, match="終了している"):
        give(fresh(whole), member)


def test_others_jobs_are_extended_by_managers_only(whole: Job, manager: User, viewer: User) -> None:
    with pytest.raises(NotPermitted):
        give(whole, viewer)
    give(whole, manager)
    assert held(whole) == 2 * HOUR_YEN


def test_warnings_begin_anew_for_the_new_end(whole: Job, steps: Steps, member: User) -> None:
    """The half hour that is left was warned of; with a quarter more the warnings of 30 and 10 minutes come again."""
    steps.track()
    assert attempt_of(whole).warned_min == 30
    give(whole, member, seconds=900)
    assert attempt_of(whole).warned_min == 0
    steps.track()
    Attempt.objects.update(started_at=datetime.now(UTC) - timedelta(seconds=4500 - 1790))
    steps.track()
    assert (attempt_of(whole).warned_min, JobEvent.objects.filter(reason="ends_soon").count()) == (30, 2)


def test_of_twenty_at_once_one_is_taken(transactional_db: None, whole: Job, member: User) -> None:
    end, outcomes = seen(whole), []

    def one() -> None:
        try:
            give(fresh(whole), member, seen_end_s=end)
            outcomes.append("taken")
        except CannotExtend:
            outcomes.append("refused")
        finally:
            connection.close()

    threads = [threading.Thread(target=one) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (sorted(outcomes), held(whole), verify()) == (["refused"] * 19 + ["taken"], 2 * HOUR_YEN, [])
