"""The protocol of RELIABILITY.md section 1: given to the provider once, whatever happens in between."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone

from portal.accounts.models import Membership, Project, User
from portal.billing.budgets import Terms, create
from portal.billing.models import BudgetAction, BudgetPeriod, Hold
from portal.catalog.models import ProviderAccount
from portal.core import failpoints
from portal.datasets.storage import NotInStorage, StorageUnavailable
from portal.jobs import handoff
from portal.jobs.cancellation import ask_stop
from portal.jobs.keys import key_of
from portal.jobs.models import Attempt, Job, JobEvent
from portal.jobs.states import JobState
from portal.jobs.submission import submit
from portal.providers.base import JobSpec, RegistryLogin, RemoteJob, RemoteState
from portal.providers.errors import Misconfigured, OutcomeUnknown, Rejected, Unavailable
from tests.factories import PriceFactory, RegistryLoginFactory
from tests.factories.billing import metered
from tests.jobs.conftest import Steps, attempt_of, fresh
from tests.jobs.fakes import FakeProvider


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture
def killed_at(monkeypatch: pytest.MonkeyPatch):
    def arm(name: str) -> None:
        def die() -> None:
            raise Killed

        monkeypatch.setitem(failpoints.armed, name, die)

    return arm


def reasons(job: Job) -> list[str]:
    return list(JobEvent.objects.filter(job=job).order_by("id").values_list("reason", flat=True))


def test_an_attempt_is_sent_once_and_the_job_waits_at_the_provider(
    job: Job, steps: Steps, provider: FakeProvider
) -> None:
    assert steps.hand_off().accepted == 1
    assert steps.hand_off().accepted == 0
    attempt = attempt_of(job)
    assert (attempt.state, attempt.remote_id, attempt.epoch, attempt.lease_until) == ("accepted", "r1", 1, None)
    assert (fresh(job).state, fresh(job).waiting_reason) == ("queued", "")
    assert [spec.key for spec in provider.specs] == [f"jga-test00-{attempt.code}"]
    assert reasons(job) == ["submitted", "accepted"]


def test_the_providers_environment_holds_only_the_manifests_address(
    job: Job, steps: Steps, provider: FakeProvider
) -> None:
    steps.hand_off()
    assert sorted(provider.specs[0].environment) == ["PORTAL_JOB", "PORTAL_MANIFEST_URL"]


@pytest.mark.parametrize("jump", [timedelta(minutes=10), timedelta(minutes=-10)])
def test_a_clock_of_ours_that_jumps_claims_nothing_twice(
    job: Job, steps: Steps, provider: FakeProvider, killed_at, jump: timedelta
) -> None:
    killed_at("handoff.after_claim")
    with pytest.raises(Killed):
        steps.hand_off()
    failpoints.armed.clear()
    with time_machine.travel(timezone.now() + jump):
        assert steps.hand_off().accepted == 0  # the lease still runs: by the database's clock
        assert (attempt_of(job).state, attempt_of(job).epoch, provider.calls) == ("sending", 1, [])
        Attempt.objects.update(lease_until=Now(), sent_at=Now() - timedelta(hours=1))
        for _ in range(handoff.LOOKS + 1):
            steps.hand_off()
            Attempt.objects.update(not_before=None)
    assert (attempt_of(job).state, provider.calls.count("submit")) == ("accepted", 1)


@pytest.mark.parametrize(
    "step", ["handoff.after_claim", "handoff.before_send", "handoff.after_send", "handoff.before_commit"]
)
def test_a_worker_killed_at_any_step_leaves_one_job(
    job: Job, steps: Steps, provider: FakeProvider, killed_at, step
) -> None:
    killed_at(step)
    with pytest.raises(Killed):
        steps.hand_off()
    failpoints.armed.clear()
    assert steps.hand_off().accepted == 0  # the lease still runs
    assert attempt_of(job).state == "sending"
    for _ in range(10):
        steps.pass_time(60)
        steps.hand_off()
    assert [remote.key for remote in provider.jobs.values()] == [key_of(attempt_of(job))]
    assert (attempt_of(job).state, fresh(job).state) == ("accepted", "queued")


def test_a_lost_answer_is_looked_up_and_adopted_not_repeated(job: Job, steps: Steps, provider: FakeProvider) -> None:
    provider.after = [OutcomeUnknown("reset")]
    steps.hand_off()
    assert (attempt_of(job).state, fresh(job).state) == ("unknown", "submitted")
    steps.pass_time(5)
    assert steps.hand_off().accepted == 1
    assert provider.calls == ["submit", "find"]
    assert reasons(job) == ["submitted", "answer_lost", "adopted"]


def test_what_is_not_found_is_sent_again_only_after_the_listing_lag_and_three_looks(
    job: Job, steps: Steps, provider: FakeProvider, settings
) -> None:
    settings.HANDOFF_LISTING_LAG_MIN_S = 120
    provider.before = [OutcomeUnknown("time-out")]
    steps.hand_off()
    steps.pass_time(100)
    steps.hand_off()  # too early: says nothing
    assert (attempt_of(job).state, attempt_of(job).looks) == ("unknown", 0)
    for look in (1, 2):
        steps.pass_time(60)
        steps.hand_off()
        assert (attempt_of(job).state, attempt_of(job).looks) == ("unknown", look)
    steps.pass_time(60)
    assert steps.hand_off().accepted == 1
    assert provider.calls == ["submit", "find", "find", "find", "find", "submit"]
    assert len(provider.jobs) == 1


def test_two_jobs_with_one_key_leave_the_oldest(job: Job, steps: Steps, provider: FakeProvider) -> None:
    provider.after = [OutcomeUnknown("reset")]
    steps.hand_off()
    provider.add(key_of(attempt_of(job)))
    steps.pass_time(5)
    steps.hand_off()
    assert (attempt_of(job).remote_id, provider.cancelled) == ("r1", ["r2"])


def test_unavailable_goes_back_with_growing_waits_and_a_reason(job: Job, steps: Steps, provider: FakeProvider) -> None:
    for expected in (1, 2, 4):
        provider.before = [Unavailable("connection refused")]
        assert steps.hand_off().trouble is not None
        attempt = Attempt.objects.annotate(now=Now()).get(job=job)
        assert attempt.state == "intended"
        assert timedelta(0) < attempt.not_before - attempt.now <= timedelta(seconds=expected)
        assert steps.hand_off().accepted == 0
        steps.pass_time(70)
    assert (fresh(job).state, fresh(job).waiting_reason) == ("submitted", "unreachable")
    assert steps.hand_off().accepted == 1
    assert fresh(job).waiting_reason == ""
    assert reasons(job) == ["submitted", "waits", "accepted"]


def test_too_many_requests_wait_for_the_quota(job: Job, steps: Steps, provider: FakeProvider) -> None:
    provider.before = [Unavailable("too many requests", retry_after_s=90, code="429")]
    steps.hand_off()
    attempt = Attempt.objects.annotate(now=Now()).get(job=job)
    assert (fresh(job).waiting_reason, attempt.not_before - attempt.now > timedelta(seconds=80)) == ("quota", True)


def test_wrong_credentials_wait_for_an_operator(job: Job, steps: Steps, provider: FakeProvider) -> None:
    provider.before = [Misconfigured("401")]
    assert steps.hand_off().trouble is not None
    assert (attempt_of(job).state, fresh(job).waiting_reason) == ("intended", "unreachable")


def test_a_refusal_ends_the_job_and_gives_the_money_back(job: Job, steps: Steps, provider: FakeProvider) -> None:
    provider.before = [Rejected("no such image\nfoo", failure="image")]
    steps.hand_off()
    ended = fresh(job)
    assert (ended.state, ended.failure, ended.failure_detail) == ("failed", "image", "no such image foo")
    assert attempt_of(job).state == "ended"
    assert Hold.objects.get(job_code=job.code).released_at is not None


def test_an_answer_that_comes_after_the_lease_was_taken_over_is_dropped(
    job: Job, steps: Steps, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    def another_worker_takes_it() -> None:
        Attempt.objects.filter(job=job).update(epoch=7, state="unknown")

    monkeypatch.setitem(failpoints.armed, "handoff.after_send", another_worker_takes_it)
    assert steps.hand_off().accepted == 0
    assert (attempt_of(job).state, attempt_of(job).remote_id, fresh(job).state) == ("unknown", "", "submitted")


def test_an_adapter_that_breaks_its_contract_counts_as_unknown(job: Job, steps: Steps, provider: FakeProvider) -> None:
    provider.after = [KeyError("job_id")]
    steps.hand_off()
    assert (attempt_of(job).state, attempt_of(job).last_error) == ("unknown", "KeyError")


def test_one_remote_id_for_two_jobs_is_never_merged(
    job: Job, steps: Steps, provider: FakeProvider, funded, member, request_for
) -> None:
    from portal.jobs.submission import submit

    steps.hand_off()
    second = submit(funded, request=request_for(), key="form-2", by=member)
    provider.jobs.clear()  # the next id is r1 again
    steps.hand_off()
    assert (attempt_of(second).state, attempt_of(second).remote_id) == ("unknown", "")
    assert attempt_of(job).remote_id == "r1"


def test_the_submitters_rights_are_asked_again_at_hand_off(
    job: Job, steps: Steps, provider: FakeProvider, member
) -> None:
    Membership.objects.filter(user=member).delete()
    steps.hand_off()
    assert (fresh(job).state, fresh(job).failure, provider.calls) == ("failed", "access_refused", [])


def test_what_waits_here_is_not_sent_when_a_budget_stops_all_jobs(
    job: Job, steps: Steps, provider: FakeProvider, funded: Project, owner: User
) -> None:
    terms = Terms(1000, at_50=BudgetAction.STOP)
    create(funded.organization, project=None, period=BudgetPeriod.FISCAL_YEAR, terms=terms, by=owner)
    price = PriceFactory(amount="1", minimum_s=0)
    metered(funded, owner, price, job_code="J-other", started_at=timezone.now(), seconds=500, held=500)
    steps.hand_off()
    ended = fresh(job)
    assert (ended.state, ended.failure, provider.calls) == ("expired", "over_budget", [])
    assert Hold.objects.get(job_code=job.code).released_at is not None


def test_a_job_stopped_while_its_answer_is_lost_is_looked_for_first(
    job: Job, steps: Steps, provider: FakeProvider, member
) -> None:
    provider.after = [OutcomeUnknown("reset")]
    steps.hand_off()
    assert ask_stop(job, by=member) is True
    assert fresh(job).state == "submitted"
    steps.pass_time(5)
    steps.hand_off()
    steps.track()
    assert (attempt_of(job).state, provider.cancelled) == ("stopping", ["r1"])


def test_what_is_handed_over_of_a_job_that_is_over_is_ended_there(
    job: Job, steps: Steps, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No order of locks lets this happen; if it does, nothing may run that nobody pays for, and the line goes on."""
    submit = provider.submit

    def over_meanwhile(spec: JobSpec) -> RemoteJob:
        fresh(job).move_to(JobState.CANCELLED, by="portal:test")
        return submit(spec)

    monkeypatch.setattr(provider, "submit", over_meanwhile)
    assert steps.hand_off().accepted == 0
    assert (attempt_of(job).state, provider.cancelled, fresh(job).state) == ("ended", ["r1"], "cancelled")
    assert (steps.hand_off().trouble, len(provider.specs)) == (None, 1)


def test_a_claim_takes_one_attempt(job: Job, account, funded, member, request_for) -> None:
    for number in range(3):
        submit(funded, request=request_for(), key=f"more-{number}", by=member)
    for claimed in range(1, 5):
        assert handoff.take(account) is not None
        assert Attempt.objects.filter(state="sending").count() == claimed
    assert handoff.take(account) is None


def test_an_image_of_a_registry_with_a_login_goes_with_that_login(
    funded: Project, member: User, account: ProviderAccount, request_for: Any, steps: Steps, provider: FakeProvider
) -> None:
    RegistryLoginFactory(organization=funded.organization, hostname="ghcr.io", username="alice")
    RegistryLoginFactory(hostname="quay.io")  # another organization's
    provider.before = [Unavailable("busy")]
    jobs = [
        submit(funded, request=request_for(image=image), key=image, by=member)
        for image in ("ghcr.io/team/train:1", "quay.io/team/train:1", "python:3.11")
    ]
    steps.hand_off()
    steps.pass_time(120)
    steps.hand_off()
    given = [spec.registry for spec in provider.specs]
    assert given == [RegistryLogin("ghcr.io", "alice", "canary-password"), None, None]
    assert [reasons(job).count("with_login") for job in jobs] == [1, 0, 0]
    assert JobEvent.objects.get(reason="with_login").detail == {"registry": "ghcr.io"}


def test_a_login_that_no_key_opens_ends_the_job_before_it_costs(
    funded: Project, member: User, account: ProviderAccount, request_for: Any, steps: Steps, provider: FakeProvider
) -> None:
    RegistryLoginFactory(organization=funded.organization, hostname="ghcr.io", sealed_password="lost")
    job = submit(funded, request=request_for(image="ghcr.io/team/train:1"), key="k", by=member)
    steps.hand_off()
    assert (fresh(job).state, fresh(job).failure, provider.specs) == ("failed", "portal_fault", [])


# --- where data is pushed first ---------------------------------------------------------------------------------------


@pytest.fixture
def pushing(provider: FakeProvider) -> FakeProvider:
    provider.pushes = True
    return provider


def test_data_is_pushed_before_the_job_is_sent(job: Job, steps: Steps, pushing: FakeProvider) -> None:
    seen = []
    pushing.while_pushing = lambda: seen.append((attempt_of(job).state, fresh(job).waiting_reason))
    assert steps.hand_off().accepted == 1
    assert (pushing.calls, seen) == (["push", "submit"], [("sending", "data_transfer")])
    assert (sorted(pushing.specs[0].environment), fresh(job).waiting_reason) == (["PORTAL_JOB"], "")


def test_a_push_keeps_its_lease_and_what_was_pushed_is_taken_back_at_the_end(
    job: Job, steps: Steps, pushing: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handoff, "LEASE_S", 0.3)
    pushing.while_pushing = lambda: time.sleep(0.5)
    assert steps.hand_off().accepted == 1
    now = timezone.now()
    pushing.becomes(RemoteState.SUCCEEDED, exit_code=0, started_at=now, ended_at=now)
    steps.track()
    steps.collect()
    assert (fresh(job).state, pushing.pushed, pushing.calls[-1]) == ("succeeded", {}, "take back")


def test_a_worker_that_lost_its_lease_while_pushing_does_not_send(
    job: Job, steps: Steps, pushing: FakeProvider
) -> None:
    pushing.while_pushing = lambda: Attempt.objects.update(epoch=F("epoch") + 1)  # another worker has taken it
    assert steps.hand_off().accepted == 0
    assert (pushing.calls, attempt_of(job).state) == (["push"], "sending")


def test_a_wish_to_stop_while_pushing_ends_the_job_unsent(
    job: Job, steps: Steps, pushing: FakeProvider, member
) -> None:
    pushing.while_pushing = lambda: ask_stop(fresh(job), by=member)
    steps.hand_off()
    steps.collect()
    assert (pushing.calls, fresh(job).state, pushing.pushed) == (["push", "take back"], "cancelled", {})
    assert Hold.objects.get(job_code=job.code).released_at is not None


def test_an_input_that_is_gone_from_the_store_ends_the_job_unsent(
    job: Job, steps: Steps, pushing: FakeProvider
) -> None:
    def gone() -> None:
        raise NotInStorage("input-0")

    pushing.while_pushing = gone
    steps.hand_off()
    assert (pushing.calls, fresh(job).state, fresh(job).failure) == (["push"], "failed", "data_missing")
    assert Hold.objects.get(job_code=job.code).released_at is not None


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [(Unavailable("the file transfer broke off"), "unreachable"), (StorageUnavailable("503"), "data_transfer")],
)
def test_a_push_that_fails_leaves_the_job_to_be_sent(
    job: Job, steps: Steps, pushing: FakeProvider, trouble: Exception, reason: str
) -> None:
    def fail() -> None:
        raise trouble

    pushing.while_pushing = fail
    steps.hand_off()
    assert (attempt_of(job).state, fresh(job).waiting_reason, pushing.calls) == ("intended", reason, ["push"])
    pushing.while_pushing = lambda: None
    steps.pass_time(2)
    assert steps.hand_off().accepted == 1
