from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.core import mail
from django.db import transaction
from django.utils import timezone

from portal.accounts.access import NotPermitted, forget_access
from portal.accounts.models import Project, User
from portal.accounts.roles import Role
from portal.billing.approvals import NotOpen, approve, ask, decline
from portal.billing.budgets import Standing, Terms, create, set_limit, with_standings
from portal.billing.holds import OverBudget, hold, release, room_for
from portal.billing.models import Budget, BudgetAction, BudgetPeriod, Hold, SpendRequest, SpendState
from portal.billing.tasks import watch_budgets
from portal.billing.verification import verify
from tests.factories import MembershipFactory, PriceFactory
from tests.factories.billing import give_credit, jst, metered

DIGEST = "d" * 64


@pytest.fixture(autouse=True)
def clock() -> Any:
    with time_machine.travel(jst(2026, 11, 24, 12)):
        yield


def asked(project: Project, member: User, amount: int = 150, digest: str = DIGEST) -> SpendRequest:
    return ask(
        project, job_name="pre-training", amount=amount, digest=digest, form={"name": "n"}, reason="deadline", by=member
    )


def put_aside(project: Project, member: User, amount: int, job_code: str, digest: str = DIGEST) -> Hold:
    with transaction.atomic():
        by = f"user:{member.pk}"
        return hold(project.organization, project=project, job_code=job_code, amount=amount, by=by, digest=digest)


def refused(project: Project, member: User, amount: int, digest: str = DIGEST) -> tuple[str, int]:
    with pytest.raises(OverBudget) as no:
        put_aside(project, member, amount, "J-refused", digest)
    return no.value.limit_kind, no.value.left


def test_an_approved_job_goes_beyond_the_limit_once_and_no_other_does(
    project: Project, owner: User, member: User
) -> None:
    give_credit(project, 10_000)
    set_limit(project.organization, project=project, monthly_limit=100, by=owner)
    request = asked(project, member)
    assert refused(project, member, 150) == ("budget", 100)
    approve(request, by=owner)
    assert refused(project, member, 151) == ("budget", 100)  # more than was approved
    assert refused(project, member, 150, digest="e" * 64) == ("budget", 100)  # another job
    assert refused(project, owner, 150) == ("budget", 100)  # another person
    put_aside(project, member, 150, "J-1")
    request.refresh_from_db()
    assert (request.state, request.job_code) == (SpendState.USED, "J-1")
    assert refused(project, member, 1) == ("budget", 0)
    assert [standing for _, standing in with_standings(Budget.objects.all(), at=timezone.now())] == [
        Standing(100, posted=0, held=150, approved=50)
    ]
    assert verify() == []


def test_what_was_allowed_for_one_job_leaves_no_room_behind(project: Project, owner: User, member: User) -> None:
    """100 yen are the limit. The approved job uses 40 of its 150 in November, 20 in December, and ends."""
    give_credit(project, 10_000)
    set_limit(project.organization, project=project, monthly_limit=100, by=owner)
    approve(asked(project, member), by=owner)
    put_aside(project, member, 150, "J-1")
    price = PriceFactory(amount="1", minimum_s=0)
    rooms = []
    metered(project, member, price, job_code="J-1", started_at=timezone.now(), seconds=40)
    rooms.append((room_for(project).left, verify()))
    with time_machine.travel(jst(2026, 12, 1, 12)):
        rooms.append((room_for(project).left, verify()))  # 110 are held, 50 of them approved
        metered(project, member, price, job_code="J-1", started_at=timezone.now(), seconds=20)
        rooms.append((room_for(project).left, verify()))
        release("J-1", by="portal:test")
        rooms.append((room_for(project).left, verify()))  # 20 spent, approved all of them
    with time_machine.travel(jst(2027, 1, 1)):
        rooms.append((room_for(project).left, verify()))
    assert rooms == [(0, []), (40, []), (40, []), (100, []), (100, [])]


def test_beyond_a_threshold_that_asks_a_job_needs_an_approval_and_stays_within_the_limit(
    project: Project, owner: User, member: User
) -> None:
    give_credit(project, 10_000)
    terms = Terms(1000, at_50=BudgetAction.ASK)
    create(project.organization, project=project, period=BudgetPeriod.MONTH, terms=terms, by=owner)
    put_aside(project, member, 400, "J-1")
    assert (refused(project, member, 101), room_for(project).without_approval) == (("approval", 100), 100)
    approve(asked(project, member, 300), by=owner)
    put_aside(project, member, 300, "J-2")
    assert [standing for _, standing in with_standings(Budget.objects.all(), at=timezone.now())] == [
        Standing(1000, posted=0, held=700, approved=0)
    ]


def test_a_budget_that_stops_is_not_talked_into_more(project: Project, owner: User, member: User) -> None:
    give_credit(project, 10_000)
    terms = Terms(100, at_80=BudgetAction.STOP)
    create(project.organization, project=project, period=BudgetPeriod.MONTH, terms=terms, by=owner)
    price = PriceFactory(amount="1", minimum_s=0)
    metered(project, member, price, job_code="J-1", started_at=timezone.now(), seconds=80, held=80)
    approve(asked(project, member), by=owner)
    assert (refused(project, member, 1), room_for(project).is_stopped) == (("stopped", 0), True)


def test_credit_is_not_made_by_an_approval(project: Project, owner: User, member: User) -> None:
    give_credit(project, 120)
    set_limit(project.organization, project=project, monthly_limit=100, by=owner)
    approve(asked(project, member), by=owner)
    assert refused(project, member, 150) == ("credit", 120)


def test_a_projects_manager_does_not_approve_beyond_the_organizations_budget(
    project: Project, owner: User, member: User
) -> None:
    give_credit(project, 10_000)
    manager = MembershipFactory(organization=project.organization, project=project, role=Role.MANAGER).user
    set_limit(project.organization, project=None, monthly_limit=100, by=owner)
    request = asked(project, member)
    with pytest.raises(NotPermitted):
        approve(request, by=manager)
    with pytest.raises(NotPermitted):
        approve(request, by=member)
    # Approved while only the project's budget was in the way, it does not reach further when the other is used up.
    set_limit(project.organization, project=None, monthly_limit=200, by=owner)
    set_limit(project.organization, project=project, monthly_limit=100, by=owner)
    forget_access(manager)
    approve(request, by=manager)
    set_limit(project.organization, project=None, monthly_limit=149, by=owner)
    assert refused(project, member, 150) == ("budget", 100)
    set_limit(project.organization, project=None, monthly_limit=150, by=owner)
    put_aside(project, member, 150, "J-1")


def test_a_request_is_decided_once_and_asked_once(project: Project, owner: User, member: User) -> None:
    request = asked(project, member)
    assert asked(project, member) == request
    approve(request, by=owner)
    for again in (approve, lambda request, by: decline(request, answer="no", by=by)):
        with pytest.raises(NotOpen):
            again(request, by=owner)
    assert asked(project, member) == request  # it holds
    assert asked(project, member, amount=151) != request  # it is not enough


def test_what_nobody_answers_or_uses_expires(project: Project, owner: User, member: User) -> None:
    give_credit(project, 10_000)
    set_limit(project.organization, project=project, monthly_limit=100, by=owner)
    unanswered, unused = asked(project, member), asked(project, member, digest="e" * 64)
    approve(unused, by=owner)
    with time_machine.travel(timezone.now() + timedelta(days=7)):
        assert refused(project, member, 150, digest="e" * 64) == ("budget", 100)
        watch_budgets()
    states = [SpendRequest.objects.get(pk=request.pk).state for request in (unanswered, unused)]
    assert states == [SpendState.ASKED, SpendState.EXPIRED]
    with time_machine.travel(timezone.now() + timedelta(days=14)):
        with pytest.raises(NotOpen):
            approve(unanswered, by=owner)
        watch_budgets()
    assert SpendRequest.objects.get(pk=unanswered.pk).state == SpendState.EXPIRED


def test_mails_tell_who_decides_and_then_who_asked_once_each(project: Project, owner: User, member: User) -> None:
    User.objects.update(language="en")
    first, second = asked(project, member), asked(project, member, digest="e" * 64)
    for _again in range(2):
        watch_budgets()
    assert [message.to for message in mail.outbox] == [[owner.email], [owner.email]]
    assert "Reason: deadline" in mail.outbox[0].body and f"/usage/requests/{first.code}/" in mail.outbox[0].body
    mail.outbox.clear()
    approve(first, by=owner)
    decline(second, answer="Use the smaller plan.", by=owner)
    for _again in range(2):
        watch_budgets()
    assert [(message.to, message.subject) for message in mail.outbox] == [
        ([member.email], "Approved: “pre-training”"),
        ([member.email], "Declined: “pre-training”"),
    ]
    assert "Use the smaller plan." in mail.outbox[1].body
