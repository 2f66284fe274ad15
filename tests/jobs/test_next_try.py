"""A job goes on elsewhere or again where the person has allowed it, and never while it may run."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection

from portal.accounts.models import Project, User
from portal.audit.models import AuditEvent
from portal.billing.models import Hold
from portal.catalog.models import Offering, Price, ProviderAccount, Site
from portal.datasets import storage
from portal.datasets.models import Leftover
from portal.jobs import handoff, metering, next_try
from portal.jobs.cancellation import ask_stop
from portal.jobs.models import Artifact, Attempt, Job, JobEvent
from portal.jobs.submission import submit
from portal.providers.base import RemoteState
from portal.providers.errors import Misconfigured, OutcomeUnknown, Rejected, Unavailable
from portal.usage.models import UsageRecord
from tests.factories import OfferingFactory, PriceFactory, ProviderAccountFactory, ProviderFactory
from tests.jobs.conftest import Steps, fresh
from tests.jobs.fakes import FakeProvider

NO_GPU = Rejected("no GPU is free", failure="no_capacity")
DOWN = Unavailable("refused to connect")


@pytest.fixture
def other(db: None) -> Offering:
    """A cluster at another provider, 0.20 yen a second."""
    offering = OfferingFactory(slug="other", provider=ProviderFactory(slug="highreso"), adapter="slurm_ssh")
    PriceFactory(offering=offering, amount="0.20", minimum_s=0)
    return offering


@pytest.fixture
def other_account(other: Offering) -> ProviderAccount:
    return ProviderAccountFactory(provider=other.provider, kind="slurm_ssh")


@pytest.fixture
def sent(
    funded: Project,
    member: User,
    account: ProviderAccount,
    other: Offering,
    other_account: ProviderAccount,
    request_for,
):
    def make(**changes: Any) -> Job:
        wanted = {"cost_cap": 1100, "alternatives": (other,), **changes}
        return submit(funded, request=request_for(**wanted), key=f"form-{Job.objects.count()}", by=member)

    return make


def attempts(job: Job) -> list[tuple[int, str, str]]:
    rows = Attempt.objects.filter(job=job).order_by("number")
    return [(a.number, a.offering.slug if a.offering.slug == "other" else "first", a.state) for a in rows]


def state_of(job: Job) -> tuple[str, str, str]:
    job = fresh(job)
    return job.state, job.waiting_reason, job.failure


def a_minute_ago(job: Job) -> None:
    Attempt.objects.filter(job=job).update(created_at=datetime.now(UTC) - timedelta(seconds=61), not_before=None)


@pytest.fixture
def long_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process began before any attempt."""
    monkeypatch.setattr(handoff, "BEGAN", datetime(2026, 1, 1, tzinfo=UTC))


def test_without_a_free_gpu_the_job_goes_to_the_place_named(
    sent, steps: Steps, provider: FakeProvider, other_account: ProviderAccount
) -> None:
    job = sent()
    provider.before = [NO_GPU]
    steps.hand_off()
    assert attempts(job) == [(1, "first", "ended"), (2, "other", "intended")]
    assert (fresh(job).offering.slug, fresh(job).price.amount, fresh(job).offer_snapshot["slug"]) == (
        "other", Price.objects.get(offering__slug="other").amount, "other",
    )  # fmt: skip
    told = JobEvent.objects.get(job=job, reason="elsewhere").detail
    assert (told["why"], told["to"], told["at_most_yen"], told["provider"]) == (
        "no_capacity", "other", 720, "no GPU is free",
    )  # fmt: skip
    assert AuditEvent.objects.filter(act="job.placed_elsewhere", subject=f"job:{job.code}").count() == 1
    assert Steps(other_account.pk).hand_off().accepted == 1
    assert (state_of(job), attempts(job)[1]) == (("queued", "", ""), (2, "other", "accepted"))


def test_a_job_for_which_no_other_place_was_named_ends(sent, steps: Steps, provider: FakeProvider) -> None:
    job = sent(alternatives=())
    provider.before = [NO_GPU]
    steps.hand_off()
    assert (state_of(job), attempts(job)) == (("failed", "", "no_capacity"), [(1, "first", "ended")])
    assert Hold.objects.get(job_code=job.code).left == 0


def test_each_place_is_tried_once(sent, steps: Steps, provider: FakeProvider, other_account: ProviderAccount) -> None:
    job = sent()
    provider.before = [NO_GPU, NO_GPU]
    steps.hand_off()
    Steps(other_account.pk).hand_off()
    assert (state_of(job), attempts(job)) == (
        ("failed", "", "no_capacity"), [(1, "first", "ended"), (2, "other", "ended")],
    )  # fmt: skip
    assert JobEvent.objects.filter(job=job, reason="nowhere_else").count() == 1


@pytest.mark.parametrize("failure", ["image", "access_refused", "portal_fault"])
def test_a_job_that_is_refused_for_what_it_is_goes_nowhere(
    sent, steps: Steps, provider: FakeProvider, failure: str
) -> None:
    job = sent()
    provider.before = [Rejected("no", failure=failure)]
    steps.hand_off()
    assert (state_of(job), len(attempts(job))) == (("failed", "", failure), 1)


@pytest.mark.parametrize("trouble", [DOWN, Misconfigured("401")])
def test_a_provider_that_certainly_did_not_receive_it_is_left_after_a_minute(
    sent, steps: Steps, provider: FakeProvider, long_at_work: None, trouble: Exception
) -> None:
    job = sent()
    provider.before = [trouble, trouble]
    steps.hand_off()
    assert (attempts(job), state_of(job)) == ([(1, "first", "intended")], ("submitted", "unreachable", ""))
    a_minute_ago(job)
    steps.hand_off()
    assert (attempts(job), state_of(job)) == (
        [(1, "first", "ended"), (2, "other", "intended")], ("submitted", "", ""),
    )  # fmt: skip


def test_another_plan_of_the_provider_that_cannot_be_reached_is_no_other_place(
    sent, steps: Steps, provider: FakeProvider, offering: Offering, other: Offering, long_at_work: None
) -> None:
    beside = PriceFactory(offering=OfferingFactory(slug="beside", provider=offering.provider), amount="0.10").offering
    job = sent(alternatives=(beside, other))
    provider.before = [DOWN]
    a_minute_ago(job)
    steps.hand_off()
    assert attempts(job) == [(1, "first", "ended"), (2, "other", "intended")]


def test_without_a_free_gpu_another_plan_of_the_same_provider_will_do(
    sent, steps: Steps, provider: FakeProvider, offering: Offering, other: Offering
) -> None:
    beside = PriceFactory(offering=OfferingFactory(slug="beside", provider=offering.provider), amount="0.10").offering
    job = sent(alternatives=(beside, other))
    provider.before = [NO_GPU]
    steps.hand_off()
    assert [a.offering for a in Attempt.objects.filter(job=job).order_by("number")] == [offering, beside]


def test_a_job_whose_answer_was_lost_never_goes_elsewhere(
    sent, steps: Steps, provider: FakeProvider, long_at_work: None
) -> None:
    job = sent()
    provider.after, provider.hidden = [OutcomeUnknown("time-out")], True
    steps.hand_off()
    a_minute_ago(job)
    provider.down = DOWN
    steps.hand_off()
    handoff.leave(steps.account_id)
    assert (attempts(job), provider.calls) == ([(1, "first", "unknown")], ["submit", "find"])


def test_what_waits_while_nobody_calls_the_provider_leaves_it(
    sent, steps: Steps, provider: FakeProvider, long_at_work: None
) -> None:
    goes, stays, new = sent(), sent(alternatives=()), sent()
    for job in (goes, stays):
        a_minute_ago(job)
    assert (handoff.leave(steps.account_id), provider.calls) == (1, [])
    assert [len(attempts(job)) for job in (goes, stays, new)] == [2, 1, 1]


def test_what_was_written_before_this_process_began_may_be_there_and_stays(
    sent, steps: Steps, provider: FakeProvider
) -> None:
    """Restored from a backup, the row may be older than the job's hand-over."""
    job = sent()
    Attempt.objects.update(created_at=handoff.BEGAN - timedelta(seconds=61))
    provider.down = DOWN
    steps.hand_off()
    Attempt.objects.update(not_before=None)
    assert (handoff.leave(steps.account_id), attempts(job)) == (0, [(1, "first", "intended")])


def test_a_job_that_is_stopped_while_it_is_about_to_leave_is_never_sent(
    sent, steps: Steps, provider: FakeProvider, member: User, long_at_work: None, monkeypatch
) -> None:
    """`leave` takes no lease: it read the attempt, then the person stopped the job, then it writes."""
    job = sent()
    a_minute_ago(job)
    other_place = next_try.other_place

    def stopped_meanwhile(*args: Any, **given: Any) -> Any:
        ask_stop(fresh(job), by=member)
        return other_place(*args, **given)

    monkeypatch.setattr(next_try, "other_place", stopped_meanwhile)
    handoff.leave(steps.account_id)
    assert (state_of(job), attempts(job)) == (("cancelled", "", ""), [(1, "first", "ended")])
    steps.hand_off()
    assert (provider.calls, Hold.objects.get(job_code=job.code).left) == ([], 0)


@pytest.mark.parametrize(
    "change",
    [
        lambda other: Price.objects.filter(offering=other).update(amount="0.50"),  # an hour costs more than is held
        lambda other: Offering.objects.filter(pk=other.pk).update(active=False),
        lambda other: Offering.objects.filter(pk=other.pk).update(containers=True),  # and the job has no image
        lambda other: Offering.objects.filter(pk=other.pk).update(architecture="arm64"),  # it was amd64 when named
        lambda other: Site.objects.filter(pk=other.site_id).update(country="US"),
        lambda other: ProviderAccount.objects.filter(kind="slurm_ssh").update(active=False),
        lambda other: Project.objects.update(closed_at=datetime(2026, 1, 1, tzinfo=UTC)),
    ],
    ids=["dearer", "gone", "containers", "another processor", "abroad", "nobody runs it", "project closed"],
)
def test_what_was_asked_at_submit_is_asked_again_before_the_job_moves(
    sent, other: Offering, change, provider: FakeProvider
) -> None:
    job = sent()
    assert next_try.other_place(fresh(job)) is not None
    change(other)
    assert next_try.other_place(fresh(job)) is None


def test_the_dearest_place_that_the_cap_allows_is_set_aside(sent, other: Offering) -> None:
    dear = PriceFactory(offering=OfferingFactory(slug="dear", provider=other.provider, adapter="slurm_ssh"), amount=1)
    held = [
        Hold.objects.get(job_code=sent(**wishes).code).amount
        for wishes in (
            {"cost_cap": 9000},  # 1,008 yen here, 720 there
            {"cost_cap": 9000, "alternatives": (other, dear.offering)},
            {"cost_cap": 2000, "alternatives": (other, dear.offering)},  # too little for the dear one
            {"cost_cap": 9000, "retries": 2},
        )
    ]
    assert held == [1008, 3600, 1008, 3024]


@pytest.mark.django_db(transaction=True)
def test_a_stop_that_waits_while_the_job_goes_elsewhere_stops_it_there(
    sent, steps: Steps, provider: FakeProvider, other_account: ProviderAccount, member: User, monkeypatch
) -> None:
    """The wish is at the first attempt's row while a worker ends it and writes the second."""
    job = sent()
    provider.before = [NO_GPU]
    go_elsewhere, stopped = next_try.go_elsewhere, threading.Event()

    def stop() -> None:
        ask_stop(fresh(job), by=member)
        connection.close()
        stopped.set()

    def slowly(*args: Any, **given: Any) -> None:
        go_elsewhere(*args, **given)
        threading.Thread(target=stop).start()
        time.sleep(0.5)  # until it waits for the row

    monkeypatch.setattr(next_try, "go_elsewhere", slowly)
    steps.hand_off()
    assert stopped.wait(30)
    assert (state_of(job), attempts(job)) == (
        ("cancelled", "", ""), [(1, "first", "ended"), (2, "other", "ended")],
    )  # fmt: skip
    Steps(other_account.pk).hand_off()
    assert (provider.jobs, Hold.objects.get(job_code=job.code).left) == ({}, 0)


# --- again -----------------------------------------------------------------------------------------------------------


def interrupted(steps: Steps, provider: FakeProvider, remote_id: str, seconds: int = 100, **fields: object) -> None:
    """The job at the provider runs for so long and is then taken down."""
    steps.hand_off()
    began = datetime.now(UTC) - timedelta(seconds=seconds + 10)
    Attempt.objects.filter(remote_id=remote_id).update(sent_at=began, created_at=began)
    provider.becomes(RemoteState.RUNNING, remote_id, started_at=began)
    steps.track()
    ended = began + timedelta(seconds=seconds)
    provider.becomes(RemoteState.INTERRUPTED, remote_id, started_at=began, ended_at=ended, **fields)
    steps.track()
    steps.collect()


def test_an_interrupted_job_begins_anew_as_often_as_was_wished(sent, steps: Steps, provider: FakeProvider) -> None:
    job = sent(retries=1, cost_cap=3000)
    interrupted(steps, provider, "r1", reason="NODE_FAIL")
    assert (state_of(job), attempts(job)) == (
        ("submitted", "", ""), [(1, "first", "ended"), (2, "first", "intended")],
    )  # fmt: skip
    now = fresh(job)
    assert (now.started_at, now.ended_at, now.cost, now.earlier_cost) == (None, None, 28, 28)
    assert JobEvent.objects.get(job=job, reason="tried_again").detail == {"provider": "NODE_FAIL"}
    assert Hold.objects.get(job_code=job.code).left == 2016 - 28
    interrupted(steps, provider, "r2")
    assert (state_of(job), fresh(job).cost) == (("failed", "", "interrupted"), 56)
    records = UsageRecord.objects.filter(job_code=job.code)
    assert sorted(record.gpu_seconds for record in records) == [100, 100]
    assert Hold.objects.get(job_code=job.code).left == 0


def test_each_run_keeps_its_log(sent, steps: Steps, provider: FakeProvider) -> None:
    job = sent(retries=1)
    provider.output = b"first\n"
    interrupted(steps, provider, "r1")
    provider.output = b"second\n"
    interrupted(steps, provider, "r2")
    keys = list(Attempt.objects.filter(job=job).order_by("number").values_list("log_key", flat=True))
    assert len(set(keys)) == 2 and all(keys)
    assert fresh(job).log_key == keys[1]
    assert [chunk.text for chunk in job.log_chunks.order_by("first_line")] == [
        "first", "──────── 2回目の実行 / run 2 ────────\nsecond",
    ]  # fmt: skip


def test_a_file_that_the_next_run_writes_again_takes_the_place_of_the_first(
    sent, steps: Steps, provider: FakeProvider
) -> None:
    job = sent(retries=1)
    provider.files = {"a.txt": b"first", "only-first.txt": b"1"}
    interrupted(steps, provider, "r1")
    first = Artifact.objects.get(job=job, path="a.txt").storage_key
    provider.files = {"a.txt": b"second"}
    interrupted(steps, provider, "r2")
    kept = {file.path: storage.read(file.storage_key) for file in Artifact.objects.filter(job=job)}
    assert kept == {"a.txt": b"second", "only-first.txt": b"1"}
    assert Leftover.objects.filter(storage_key=first).count() == 1  # removed a day later


@pytest.mark.parametrize("retries", [0, 3])
def test_a_program_that_fails_is_not_run_again(sent, steps: Steps, provider: FakeProvider, retries: int) -> None:
    job = sent(retries=retries)
    steps.hand_off()
    provider.becomes(RemoteState.FAILED, exit_code=3)
    steps.track()
    steps.collect()
    assert (state_of(job), len(attempts(job))) == (("failed", "", "program"), 1)


def test_a_job_that_somebody_stops_does_not_begin_anew(sent, steps: Steps, provider: FakeProvider) -> None:
    job = sent(retries=3)
    steps.hand_off()
    ask_stop(fresh(job), by=job.submitted_by)
    provider.becomes(RemoteState.INTERRUPTED)
    steps.track()
    steps.collect()
    assert len(attempts(job)) == 1


def test_a_job_that_its_provider_has_lost_may_run_and_does_not_begin_anew(
    sent, steps: Steps, provider: FakeProvider
) -> None:
    job = sent(retries=3)
    steps.hand_off()
    provider.hidden = True
    steps.pass_time(25 * 3600)
    steps.track()
    steps.collect()
    assert (state_of(job), len(attempts(job))) == (("failed", "", "interrupted"), 1)


def test_what_is_left_must_pay_for_another_beginning(sent, steps: Steps, provider: FakeProvider) -> None:
    job = sent(retries=3, cost_cap=44)
    interrupted(steps, provider, "r1")  # 28 of the 44 yen, and a minute costs 17
    assert JobEvent.objects.filter(job=job, reason="not_again_money").count() == 1
    assert (state_of(job), len(attempts(job))) == (("failed", "", "interrupted"), 1)


def test_the_cap_counts_every_run(sent, steps: Steps, provider: FakeProvider) -> None:
    job = sent(retries=1, cost_cap=100)
    interrupted(steps, provider, "r1", seconds=200)  # 56 yen; 44 pay for 157 s
    steps.hand_off()
    began = datetime.now(UTC) - timedelta(seconds=150)
    Attempt.objects.filter(remote_id="r2").update(sent_at=began)
    provider.becomes(RemoteState.RUNNING, "r2", started_at=began)
    steps.track()
    steps.track()
    assert (fresh(job).failure, provider.cancelled) == ("over_budget", ["r2"])
    assert metering.meter(Attempt.objects.get(remote_id="r2").pk) >= 0
    assert fresh(job).cost <= 100
