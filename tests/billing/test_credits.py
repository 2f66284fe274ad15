import threading
from datetime import timedelta
from importlib import import_module
from typing import Any

import pytest
import time_machine
from django.db import IntegrityError, connection, transaction

from portal.accounts.models import Organization, Project, User
from portal.audit.models import AuditEvent
from portal.billing import credits, holds
from portal.billing.models import BillingAccount, Credit, CreditKind, CreditUse
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


def uses() -> list[tuple[str, int, int]]:
    """(job, amount of the credit, yen taken from it), in order."""
    found = CreditUse.objects.order_by("pk").values_list("charge__job_code", "credit__amount", "amount")
    return [(job, credit, amount) for job, credit, amount in found]


def test_each_charge_knows_what_it_was_taken_from_and_what_is_to_be_invoiced_goes_last(
    project: Project, owner: User
) -> None:
    """Whatever order they came in: what expires, what is paid, what will be invoiced."""
    for kind, amount, days in ((CreditKind.INVOICE, 1000, None), (CreditKind.PURCHASED, 50, None), ("grant", 20, 30)):
        expires_at = NOW + timedelta(days=days) if days else None
        credits.grant(project.organization, kind=CreditKind(kind), amount=amount, expires_at=expires_at, by="test")
    price = PriceFactory(amount="1", minimum_s=0)
    metered(project, owner, price, job_code="J-1", started_at=NOW - timedelta(hours=2), seconds=15, held=15)
    metered(project, owner, price, job_code="J-2", started_at=NOW - timedelta(hours=1), seconds=100, held=100)
    assert uses() == [("J-1", 20, 15), ("J-2", 20, 5), ("J-2", 50, 50), ("J-2", 1000, 45)]
    assert state() == [(1000, 45, 0), (50, 50, 0), (20, 20, 0)]
    assert verify() == []


def test_what_a_charge_was_taken_from_is_append_only(project: Project, owner: User) -> None:
    give_credit(project, 100)
    metered(project, owner, PriceFactory(), job_code="J-1", started_at=NOW - timedelta(hours=1), seconds=60, held=60)
    for change in ("UPDATE billing_credituse SET amount = 0", "DELETE FROM billing_credituse"):
        with pytest.raises(IntegrityError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(change)


@pytest.mark.parametrize("amounts", [(30, 50), (100, 7), (10, 10, 10, 20)])
def test_charges_of_before_get_their_credits_by_running_sums(
    project: Project, owner: User, amounts: tuple[int, ...]
) -> None:
    """As the migration fills them for two jobs of 30 and 20 yen and credits of these sizes: by order, to the yen."""
    for amount in amounts:
        give_credit(project, amount)
    price = PriceFactory(amount="1", minimum_s=0)
    for job, seconds in (("J-1", 30), ("J-2", 20)):
        metered(project, owner, price, job_code=job, started_at=NOW - timedelta(hours=1), seconds=seconds, held=seconds)
    before = uses()
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica; DELETE FROM billing_credituse")
        cursor.execute("SET LOCAL session_replication_role = origin")
        cursor.execute(import_module("portal.billing.migrations.0006_uses_of_before").FILL)
    assert uses() == before
    assert verify() == []
