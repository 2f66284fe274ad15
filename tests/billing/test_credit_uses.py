from datetime import timedelta

import pytest
from django.db import transaction
from django.utils import timezone

from portal.accounts.models import Project, User
from portal.billing import credits, ledger
from portal.billing.credit_uses import NotCovered, Spent, spread
from portal.billing.models import Credit, CreditKind, CreditUse
from tests.factories import PriceFactory
from tests.factories.billing import jst, metered

NOON = jst(2026, 11, 24, 12)


@pytest.fixture
def charge_id(project: Project, owner: User) -> int:
    """A charge of nothing, so that uses have one to name."""
    soon = timezone.now() + timedelta(days=30)
    for kind, amount, expires_at in (("invoice", 1000, None), ("purchased", 50, None), ("grant", 20, soon)):
        credits.grant(project.organization, kind=CreditKind(kind), amount=amount, expires_at=expires_at, by="test")
    price = PriceFactory(amount="0.001", minimum_s=0)
    return metered(project, owner, price, job_code="J-1", started_at=NOON, seconds=1, held=1)[0].pk


def move(project: Project, *spent: Spent) -> list[tuple[int, int]]:
    """(size of the credit, yen) of the rows that came of it."""
    newest = CreditUse.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
    with transaction.atomic():
        spread(ledger.locked(project.organization), spent)
    return list(CreditUse.objects.filter(pk__gt=newest).order_by("pk").values_list("credit__amount", "amount"))


def used() -> list[tuple[int, int]]:
    return list(Credit.objects.order_by("pk").values_list("amount", "used"))


def test_what_expires_soonest_is_taken_first_and_what_is_to_be_invoiced_last(project: Project, charge_id: int) -> None:
    assert move(project, Spent(charge_id, "J-1", 75)) == [(20, 20), (50, 50), (1000, 5)]
    assert used() == [(1000, 5), (50, 50), (20, 20)]


def test_what_was_used_last_comes_back_first_and_is_free_for_the_next(
    project: Project, owner: User, charge_id: int
) -> None:
    other, third = (
        metered(project, owner, PriceFactory(), job_code=code, started_at=NOON, seconds=1, held=0)[0].pk
        for code in ("J-2", "J-3")
    )
    move(project, Spent(charge_id, "J-1", 60))
    assert move(project, Spent(other, "J-1", -45), Spent(third, "J-3", 30)) == [(50, -40), (20, -5), (20, 5), (50, 25)]
    assert used() == [(1000, 0), (50, 25), (20, 20)]


def test_more_than_there_is_is_refused_both_ways(project: Project, charge_id: int) -> None:
    before = used()
    for amount in (1071, -1):
        with pytest.raises(NotCovered, match=f"charge:{charge_id}"):
            move(project, Spent(charge_id, "J-1", amount))
    assert used() == before


def test_nothing_moves_nothing(project: Project, charge_id: int, django_assert_num_queries: object) -> None:
    assert move(project, Spent(charge_id, "J-1", 0)) == []
