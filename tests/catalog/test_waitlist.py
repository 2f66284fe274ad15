from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.core import mail
from django.db import IntegrityError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from portal.accounts.models import Organization, User
from portal.catalog.models import CapacityObservation, Offering, WaitlistEntry
from portal.catalog.waitlist import MOST, CannotWait, in_line, join, leave, tell, watched
from tests.factories import MembershipFactory, OfferingFactory, PriceFactory


@pytest.fixture
def offering(db: None) -> Offering:
    """Its provider says what is free; 1 to 8 GPUs."""
    made = OfferingFactory(adapter="slurm_rest", slug="gb200", name_en="GB200", gpus_min=1, gpus_max=8)
    return PriceFactory(offering=made).offering


def seen(offering: Offering, free: int, *, minutes_ago: float = 0) -> None:
    at = timezone.now() - timedelta(minutes=minutes_ago)
    CapacityObservation.objects.create(
        offering=offering, state="available" if free else "full", free_gpus=free, observed_at=at, source="test"
    )


def waits(offering: Offering, organization: Organization, gpus: int = 1) -> WaitlistEntry:
    person = MembershipFactory(organization=organization, role="member").user
    return join(offering, gpus=gpus, organization=organization, by=person)


def told() -> list[int]:
    return list(WaitlistEntry.objects.exclude(told_at=None).order_by("pk").values_list("pk", flat=True))


def test_the_first_is_told_first_and_nobody_passes_another(offering: Offering, organization: Organization) -> None:
    first, second, third = (waits(offering, organization, gpus) for gpus in (2, 8, 1))
    seen(offering, 4)
    assert tell() == 1  # the second wants eight, and the third stands behind it
    assert told() == [first.pk]
    assert [message.to for message in mail.outbox] == [[first.user.email]]
    assert offering.name_ja in mail.outbox[0].subject and "/jobs/new/?offering=gb200" in mail.outbox[0].body
    assert {second.pk, third.pk} == set(WaitlistEntry.objects.filter(told_at=None).values_list("pk", flat=True))


def test_what_one_was_told_of_counts_as_taken_for_ten_minutes(offering: Offering, organization: Organization) -> None:
    waits(offering, organization, 3)
    seen(offering, 4)
    tell()
    second = waits(offering, organization, 3)
    assert (tell(), len(told())) == (0, 1)
    WaitlistEntry.objects.update(told_at=None)
    WaitlistEntry.objects.exclude(pk=second.pk).update(told_at=timezone.now() - timedelta(minutes=11))
    assert (tell(), len(told())) == (1, 2)


def test_nobody_is_told_twice_or_of_what_is_old(offering: Offering, organization: Organization) -> None:
    waits(offering, organization)
    seen(offering, 8, minutes_ago=6)
    assert tell() == 0
    seen(offering, 8)
    assert (tell(), tell(), len(mail.outbox)) == (1, 0, 1)


def test_a_full_plan_tells_nobody(offering: Offering, organization: Organization) -> None:
    waits(offering, organization)
    seen(offering, 0)
    assert tell() == 0


def test_joining_again_keeps_the_place_with_the_new_number(
    offering: Offering, organization: Organization, member: User
) -> None:
    entry = join(offering, gpus=1, organization=organization, by=member)
    waits(offering, organization)
    assert join(offering, gpus=4, organization=organization, by=member) == entry
    assert [(e.pk, e.gpus, e.place) for e in in_line(member, organization)] == [(entry.pk, 4, 1)]  # type: ignore[attr-defined]


def test_two_clicks_at_once_are_one_place(
    offering: Offering, organization: Organization, member: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = WaitlistEntry.objects.create

    def after_the_other(**values: object) -> WaitlistEntry:
        monkeypatch.setattr(WaitlistEntry.objects, "create", real)
        join(offering, gpus=1, organization=organization, by=member)  # by the other click, a moment before
        raise IntegrityError("waits_once")

    monkeypatch.setattr(WaitlistEntry.objects, "create", after_the_other)
    join(offering, gpus=2, organization=organization, by=member)
    assert list(WaitlistEntry.objects.values_list("gpus", flat=True)) == [2]


def test_places_are_counted_in_each_line(offering: Offering, organization: Organization, member: User) -> None:
    waits(offering, organization)
    waits(offering, organization)
    join(offering, gpus=1, organization=organization, by=member)
    assert [e.place for e in in_line(member, organization)] == [3]  # type: ignore[attr-defined]
    leave(WaitlistEntry.objects.order_by("pk")[0])
    assert [e.place for e in in_line(member, organization)] == [2]  # type: ignore[attr-defined]


def test_what_cannot_be_waited_for_is_refused(offering: Offering, organization: Organization, member: User) -> None:
    with pytest.raises(CannotWait, match="gpus"):
        join(offering, gpus=9, organization=organization, by=member)
    for _n in range(MOST):
        join(OfferingFactory(adapter="slurm_rest"), gpus=1, organization=organization, by=member)
    with pytest.raises(CannotWait, match="full"):
        join(offering, gpus=1, organization=organization, by=member)


def test_only_plans_of_which_somebody_says_what_is_free_have_a_line(offering: Offering) -> None:
    OfferingFactory(adapter="sakura_dok")
    OfferingFactory(adapter="slurm_rest", on_request=True)
    assert list(watched()) == [offering]


def test_the_page_joins_shows_and_leaves_a_line(
    offering: Offering, organization: Organization, member: User, client_of: Callable[..., Client]
) -> None:
    client = client_of(member, language="en")
    page = client.get("/catalog/waitlist/?offering=gb200").content.decode()
    assert "First come, first served." in page and 'value="gb200" selected' in page
    answer = client.post("/catalog/waitlist/", {"offering": "gb200", "gpus": "2"}, follow=True)
    assert "You are in line for GB200." in answer.content.decode() and "Where you wait" in answer.content.decode()
    entry = WaitlistEntry.objects.get()
    other = waits(offering, organization)
    client.post(f"/catalog/waitlist/{other.pk}/leave/")
    assert WaitlistEntry.objects.count() == 2  # not theirs
    answer = client.post(f"/catalog/waitlist/{entry.pk}/leave/", follow=True)
    assert "You are out of the line." in answer.content.decode() and WaitlistEntry.objects.get() == other


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"offering": "gb200", "gpus": "9"}, "GB200 takes from 1 to 8 GPUs."),
        ({"offering": "gb200", "gpus": "many"}, "Enter the number of GPUs as a whole number from 1 to 100,000."),
        ({"offering": "gb200", "gpus": "9" * 30}, "Enter the number of GPUs as a whole number from 1 to 100,000."),
        ({"offering": "nowhere", "gpus": "1"}, "Nobody says what is free of this plan. Choose another one."),
        ({}, "Choose a GPU plan."),
    ],
)
def test_bad_input_is_said_and_nobody_waits(
    values: dict[str, str], sentence: str, offering: Offering, member: User, client_of: Callable[..., Client]
) -> None:
    answer = client_of(member, language="en").post("/catalog/waitlist/", values)
    assert (answer.status_code, sentence in answer.content.decode()) == (422, True)
    assert WaitlistEntry.objects.count() == 0


def test_statements_of_the_page_do_not_grow(
    offering: Offering, organization: Organization, member: User, client_of: Callable[..., Client]
) -> None:
    client = client_of(member)
    counts = []
    for more in (1, 8):
        for _n in range(more):
            other = PriceFactory(offering=OfferingFactory(adapter="slurm_rest")).offering
            join(other, gpus=1, organization=organization, by=member)
        with CaptureQueriesContext(connection) as asked:
            assert client.get("/catalog/waitlist/").status_code == 200
        counts.append(len(asked))
    assert counts[0] == counts[1] <= 10
