from __future__ import annotations

from collections.abc import Callable

import pytest
from django.utils import timezone

from portal.accounts.access import NotPermitted
from portal.accounts.models import User
from portal.billing.models import Hold
from portal.billing.verification import verify as verify_ledger
from portal.catalog.models import CapacityObservation, Offering, ProviderAccount
from portal.jobs import offers
from portal.jobs.models import Attempt, Job, JobEvent
from portal.jobs.moving import CannotMove, faster_of, move
from portal.jobs.states import AttemptState, WaitingReason
from portal.jobs.verification import verify
from portal.jobs.wording import event_sentence
from tests.factories import OfferingFactory, PriceFactory, ProviderAccountFactory
from tests.jobs.conftest import fresh


@pytest.fixture
def waiting(job: Job) -> Job:
    Job.objects.update(waiting_reason=WaitingReason.QUOTA, time_limit_s=600, cost_cap=500)
    return fresh(job)


def other(free: int | None = 8, amount: str = "0.50", **fields: object) -> Offering:
    """Another plan of another provider: 0.5 yen a second, with so many GPUs seen free just now."""
    offering = PriceFactory(offering=OfferingFactory(**fields), amount=amount).offering
    if not ProviderAccount.objects.filter(provider=offering.provider, kind=offering.adapter).exists():
        ProviderAccountFactory(provider=offering.provider)
    if free is not None:
        CapacityObservation.objects.create(offering=offering, state="available", free_gpus=free, source="test")
    offers.forget_offers()
    return offering


def attempt_alive(job: Job) -> Attempt:
    return Attempt.objects.exclude(state="ended").select_related("offering", "price").get(job=job)


def price_of(offering: Offering) -> int:
    return offering.prices.get().pk


def faster(job: Job) -> list[tuple[str, int, int]]:
    found = faster_of(job, attempt_alive(job), now=timezone.now())
    return [(one.offer.slug, one.most, one.more) for one in found]


def test_a_free_plan_is_named_with_what_it_costs_more(waiting: Job) -> None:
    there = other()
    assert faster(waiting) == [(there.slug, 300, 132)]  # 600 s at 0.5 and at 0.28 yen


@pytest.mark.parametrize(
    "plan",
    [
        {"free": 0}, {"free": None}, {"architecture": "arm64"}, {"amount": "0.90"}, {"gpus_min": 2, "gpus_max": 4},
    ],
)  # fmt: skip
def test_what_is_not_free_or_does_not_fit_is_not_named(plan: dict[str, object], waiting: Job) -> None:
    other(**plan)  # type: ignore[arg-type]
    assert faster(waiting) == []


@pytest.mark.parametrize("change", [{"waiting_reason": ""}, {"stop_requested_at": timezone.now()}, {"state": "queued"}])
def test_a_job_that_does_not_wait_here_is_not_moved(change: dict[str, object], waiting: Job, member: User) -> None:
    there = other()
    Job.objects.update(**change)
    job = fresh(waiting)
    assert faster(job) == []
    with pytest.raises(CannotMove):
        move(job, there, seen_price=price_of(there), by=member)
    assert Attempt.objects.count() == 1


def test_one_that_may_have_been_sent_stays(waiting: Job, member: User) -> None:
    there = other()
    Attempt.objects.update(state=AttemptState.SENDING)
    with pytest.raises(CannotMove):
        move(waiting, there, seen_price=price_of(there), by=member)
    assert Attempt.objects.count() == 1


def test_moving_gives_it_to_the_other_plan_once_and_holds_what_is_missing(waiting: Job, member: User) -> None:
    there = other()
    Hold.objects.update(amount=168)
    before = attempt_alive(waiting)
    move(waiting, there, seen_price=price_of(there), by=member)
    after = attempt_alive(waiting)
    job = fresh(waiting)
    assert (after.number, after.offering, after.state) == (2, there, "intended")
    assert (job.offering, job.waiting_reason, job.state) == (there, "", "submitted")
    assert Attempt.objects.get(pk=before.pk).epoch == before.epoch + 1
    assert Hold.objects.get().amount == 300
    said = event_sentence(JobEvent.objects.get(reason="elsewhere"))
    assert there.name in said and "¥300" in said
    with pytest.raises(CannotMove):
        move(waiting, there, seen_price=price_of(there), by=member)  # clicked twice: it does not wait any more


def test_all_promises_hold_after_a_move(waiting: Job, member: User) -> None:
    there = other()
    move(waiting, there, seen_price=price_of(there), by=member)
    assert [*verify(), *verify_ledger()] == []


def test_another_price_than_was_seen_moves_nothing(waiting: Job, member: User) -> None:
    there = other()
    with pytest.raises(CannotMove):
        move(waiting, there, seen_price=price_of(there) + 1, by=member)
    assert Attempt.objects.count() == 1


def test_nobody_else_moves_it(waiting: Job, viewer: User, stranger: User, manager: User) -> None:
    there = other()
    for person in (viewer, stranger):
        with pytest.raises(NotPermitted):
            move(waiting, there, seen_price=price_of(there), by=person)
    assert Attempt.objects.count() == 1
    move(waiting, there, seen_price=price_of(there), by=manager)
    assert Attempt.objects.count() == 2


def test_the_page_offers_it_and_one_click_moves_it(
    waiting: Job, member: User, client_of: Callable[..., object]
) -> None:
    there = other(name_en="Free plan")
    client = client_of(member, language="en")
    page = client.get(f"/jobs/{waiting.code}/").content.decode()  # type: ignore[attr-defined]
    assert "+¥132" in page and "Free plan has 8 GPUs free" in page
    assert "When it begins cannot be said: too few jobs have begun on this plan lately." in page
    answer = client.post(  # type: ignore[attr-defined]
        f"/jobs/{waiting.code}/move/", {"offering": there.slug, "price": str(price_of(there))}, follow=True
    )
    assert "The job goes to Free plan now." in answer.content.decode()
    assert fresh(waiting).offering == there
    for bad in ({}, {"offering": "nowhere", "price": "1"}, {"offering": there.slug, "price": "x\0"}):
        assert client.post(f"/jobs/{waiting.code}/move/", bad).status_code == 302  # type: ignore[attr-defined]
    assert Attempt.objects.count() == 2


def test_a_job_in_a_line_is_told_nothing_learned_without_one(
    waiting: Job, member: User, client_of: Callable[..., object]
) -> None:
    ProviderAccount.objects.update(concurrent_limit=1)
    page = client_of(member, language="en").get(f"/jobs/{waiting.code}/").content.decode()  # type: ignore[attr-defined]
    assert "When it begins depends on those before it in line; that cannot be said yet." in page
    assert "too few jobs have begun" not in page
