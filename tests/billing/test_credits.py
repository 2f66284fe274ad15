import threading
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.db import IntegrityError, connection, transaction

from portal.accounts.models import Organization, Project, User
from portal.audit.models import AuditEvent
from portal.billing import credits, holds
from portal.billing.models import BillingAccount, Credit, CreditKind
from portal.billing.tasks import expire_credits
from portal.billing.verification import verify
from tests.factories import OrganizationFactory, PriceFactory, UserFactory
from tests.factories.billing import give_credit, jst, metered

NOW = jst(2026, 11, 24, 12)


@pytest.fixture(autouse=True)
def clock() -> Any:
    with time_machine.travel(NOW, tick=False) as traveller:
        yield traveller


def state() -> list[tuple[int, int, int]]:
    return list(Credit.objects.order_by("pk").values_list("amount", "used", "expired"))


def test_the_trial_is_given_once(organization: Organization, owner: User, settings: Any) -> None:
    settings.TRIAL_CREDIT_YEN, settings.TRIAL_CREDIT_DAYS = 10_000, 90
    first = credits.grant_trial(organization, founder=owner)
    assert first is not None
    assert credits.grant_trial(organization, founder=owner) == first
    assert (first.amount, first.expires_at) == (10_000, NOW + timedelta(days=90))
    assert BillingAccount.objects.get().available == 10_000
    assert list(AuditEvent.objects.values_list("act", "chain", "detail")) == [
        (
            "credit.granted",
            organization.code,
            {"kind": "trial", "amount": 10_000, "expires_at": (NOW + timedelta(days=90)).isoformat()},
        )
    ]
    assert verify() == []


def test_a_person_has_one_trial_whatever_they_found(owner: User) -> None:
    first, second = OrganizationFactory(), OrganizationFactory()
    assert not credits.had_trial(owner)
    assert credits.grant_trial(first, founder=owner) is not None
    assert credits.grant_trial(second, founder=owner) is None
    assert credits.had_trial(owner)
    assert [c.organization for c in Credit.objects.all()] == [first]
    assert verify() == []


def test_an_e_mail_address_has_one_trial_whatever_its_account(owner: User) -> None:
    address = owner.email
    credits.grant_trial(OrganizationFactory(), founder=owner)
    owner.emailaddress_set.update(email="elsewhere@example.jp")
    owner.email = "elsewhere@example.jp"
    owner.save()
    again = UserFactory(email=address)
    assert (credits.had_trial(again), credits.grant_trial(OrganizationFactory(), founder=again)) == (True, None)
    assert credits.grant_trial(OrganizationFactory(), founder=owner) is None
    assert Credit.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_of_ten_at_once_one_gets_the_trial() -> None:
    person = UserFactory()
    organizations = [OrganizationFactory() for _ in range(10)]
    given: list[Credit | None] = []
    together = threading.Barrier(10)

    def found(organization: Organization) -> None:
        try:
            together.wait()
            given.append(credits.grant_trial(organization, founder=person))
        finally:
            connection.close()

    threads = [threading.Thread(target=found, args=[organization]) for organization in organizations]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ([credit for credit in given if credit], len(given)) == (list(Credit.objects.all()), 10)
    assert Credit.objects.count() == 1
    assert verify() == []


def test_the_database_refuses_a_second_trial(organization: Organization, owner: User) -> None:
    credits.grant_trial(organization, founder=owner)
    with pytest.raises(IntegrityError), transaction.atomic():
        credits.grant(organization, kind=CreditKind.TRIAL, amount=1, by="portal:test")


def test_unused_credit_goes_at_its_expiry_and_only_once(project: Project, clock: Any) -> None:
    give_credit(project, 300, expires_at=NOW + timedelta(days=1))
    give_credit(project, 500)
    assert credits.expire_due() == 0
    clock.shift(timedelta(days=1))
    assert (credits.expire_due(), credits.expire_due()) == (300, 0)
    assert state() == [(300, 0, 300), (500, 0, 0)]
    assert BillingAccount.objects.get().available == 500
    assert verify() == []


def test_charges_use_up_what_expires_soonest(project: Project, owner: User) -> None:
    give_credit(project, 500)
    give_credit(project, 300, expires_at=NOW + timedelta(days=9))
    give_credit(project, 30, expires_at=NOW + timedelta(days=1))
    metered(project, owner, PriceFactory(amount="1"), job_code="J-1", started_at=NOW, seconds=400, held=830)
    assert state() == [(500, 70, 0), (300, 300, 0), (30, 30, 0)]


def test_what_a_job_holds_survives_the_expiry_until_it_is_released(project: Project, owner: User, clock: Any) -> None:
    give_credit(project, 300, expires_at=NOW + timedelta(days=1))
    holds.hold(project.organization, project=project, job_code="J-1", amount=200, by="user:1")
    clock.shift(timedelta(days=2))
    expire_credits()
    assert (state(), BillingAccount.objects.get().available) == ([(300, 0, 100)], 0)
    metered(project, owner, PriceFactory(amount="1"), job_code="J-1", started_at=NOW, seconds=150)
    holds.release("J-1", by="portal:test")
    expire_credits()
    assert (state(), BillingAccount.objects.get().available) == ([(300, 150, 150)], 0)
    assert verify() == []
