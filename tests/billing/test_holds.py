import threading
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.db import IntegrityError, connection, transaction
from django.utils import timezone, translation

from portal.accounts.models import Project, User
from portal.billing import budgets
from portal.billing.holds import OverBudget, Released, Room, grow, hold, release, room_for, shrink
from portal.billing.models import BillingAccount, Hold
from portal.billing.verification import verify
from tests.factories import PriceFactory, ProjectFactory
from tests.factories.billing import give_credit, jst, metered


@pytest.fixture(autouse=True)
def clock() -> Any:
    """Noon within a month: "a moment ago" is always today and this month."""
    with time_machine.travel(jst(2026, 11, 24, 12)):
        yield


def put_aside(project: Project, amount: int, job_code: str = "J-1") -> Hold:
    with transaction.atomic():
        return hold(project.organization, project=project, job_code=job_code, amount=amount, by="user:1")


def test_hold_leaves_less_room_and_release_gives_it_back_once(project: Project) -> None:
    give_credit(project, 1000)
    put_aside(project, 400)
    assert room_for(project) == Room(credit_left=600, budget_left=None, left=600, without_approval=600)
    assert (release("J-1", by="user:1"), release("J-1", by="user:1")) == (400, 0)
    assert room_for(project) == Room(credit_left=1000, budget_left=None, left=1000, without_approval=1000)
    assert verify() == []


def test_the_same_job_holds_once(project: Project) -> None:
    give_credit(project, 1000)
    put_aside(project, 400)
    with pytest.raises(IntegrityError, match="job_code"):
        put_aside(project, 400)
    assert (room_for(project).left, verify()) == (600, [])


def test_release_of_an_unknown_job_is_quiet(project: Project) -> None:
    assert release("J-none", by="portal:test") == 0


def more(job_code: str, amount: int) -> int:
    with transaction.atomic():
        return grow(job_code, amount=amount, by="user:1")


def test_a_hold_grows_by_what_is_left_and_no_more_and_gives_back_what_it_grew_by(project: Project, owner: User) -> None:
    give_credit(project, 1000)
    put_aside(project, 400)
    assert (more("J-1", 100), room_for(project).left, verify()) == (500, 500, [])
    with pytest.raises(OverBudget) as refused:
        more("J-1", 501)
    assert (refused.value.left, refused.value.limit_kind, verify()) == (500, "credit", [])
    budgets.set_limit(project.organization, project=project, monthly_limit=700, by=owner)
    with pytest.raises(OverBudget) as refused:
        more("J-1", 201)
    assert (refused.value.left, refused.value.limit_kind) == (200, "budget")
    assert (more("J-1", 200), room_for(project).left) == (700, 0)
    assert (shrink("J-1", amount=300, by="user:1"), room_for(project).left, verify()) == (300, 300, [])
    assert (release("J-1", by="user:1"), room_for(project).credit_left, verify()) == (400, 1000, [])


def test_what_is_over_grows_no_more_and_shrinks_by_nothing(project: Project) -> None:
    give_credit(project, 1000)
    put_aside(project, 400)
    release("J-1", by="user:1")
    for job_code in ("J-1", "J-none"):
        with pytest.raises(Released):
            more(job_code, 1)
        assert shrink(job_code, amount=1, by="user:1") == 0
    assert (room_for(project).left, verify()) == (1000, [])


def test_no_more_is_given_back_than_a_hold_has_left(project: Project, owner: User) -> None:
    give_credit(project, 1000)
    metered(
        project, owner, PriceFactory(amount="1", minimum_s=0, tax_percent=0), job_code="J-1",
        started_at=jst(2026, 11, 24, 11), seconds=90, held=100,
    )  # fmt: skip
    assert (shrink("J-1", amount=50, by="user:1"), room_for(project).left, verify()) == (10, 910, [])


def test_hold_beyond_the_credit_is_refused(project: Project) -> None:
    give_credit(project, 1000)
    with pytest.raises(OverBudget) as refused:
        put_aside(project, 1001)
    assert (refused.value.left, refused.value.limit_kind, Hold.objects.count()) == (1000, "credit", 0)
    put_aside(project, 1000)


def test_nobody_without_credit_holds_anything(project: Project) -> None:
    assert room_for(project) == Room(credit_left=0, budget_left=None, left=0, without_approval=0)
    with pytest.raises(OverBudget):
        put_aside(project, 1)


def test_both_budgets_bind_and_other_projects_count_for_the_organizations_only(project: Project, owner: User) -> None:
    other = ProjectFactory(organization=project.organization)
    give_credit(project, 10_000)
    budgets.set_limit(project.organization, project=None, monthly_limit=900, by=owner)
    budgets.set_limit(project.organization, project=project, monthly_limit=500, by=owner)
    put_aside(other, 600, "J-other")
    assert room_for(project) == Room(credit_left=9400, budget_left=300, left=300, without_approval=300)
    with pytest.raises(OverBudget) as refused:
        put_aside(project, 301)
    assert (refused.value.left, refused.value.limit_kind) == (300, "budget")
    put_aside(project, 300)


def test_what_is_spent_this_month_counts_against_the_budget(project: Project, owner: User) -> None:
    give_credit(project, 10_000)
    budgets.set_limit(project.organization, project=project, monthly_limit=500, by=owner)
    price = PriceFactory(amount="1", minimum_s=0)
    now = timezone.now().replace(microsecond=0)
    metered(project, owner, price, job_code="J-1", started_at=now - timedelta(seconds=1), seconds=1, held=100)
    assert room_for(project).left == 400  # 1 spent, 99 still held
    release("J-1", by="portal:test")
    assert room_for(project).left == 499


def test_expired_credit_is_no_room_though_no_beat_has_run(project: Project) -> None:
    give_credit(project, 1000, expires_at=timezone.now() - timedelta(seconds=1))
    with pytest.raises(OverBudget) as refused:
        put_aside(project, 1)
    assert refused.value.left == 0


def test_the_sentences_name_the_rest_in_both_languages(project: Project) -> None:
    error = OverBudget(left=295_500, limit_kind="budget")
    with translation.override("en"):
        assert error.message == "This exceeds the remaining budget (¥295,500). Lower the cap or ask an administrator."
        assert OverBudget(left=0, limit_kind="credit").message == (
            "This exceeds the credit left (¥0). Lower the cap or ask an administrator for credit."
        )


@pytest.mark.django_db(transaction=True)
def test_two_hundred_at_once_at_a_budget_for_37_give_exactly_37(project: Project, owner: User) -> None:
    give_credit(project, 1_000_000)
    budgets.set_limit(project.organization, project=project, monthly_limit=37 * 100 + 99, by=owner)
    results: list[str] = []
    turn = threading.Lock()
    numbers = iter(range(200))

    def submit() -> None:
        try:
            while True:
                with turn:
                    number = next(numbers, None)
                if number is None:
                    return
                try:
                    put_aside(project, 100, f"J-{number}")
                    results.append("held")
                except OverBudget as refused:
                    results.append(f"refused at {refused.left}")
        finally:
            connection.close()

    threads = [threading.Thread(target=submit) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == ["held"] * 37 + ["refused at 99"] * 163
    assert BillingAccount.objects.get().held == 3700
    assert verify() == []
