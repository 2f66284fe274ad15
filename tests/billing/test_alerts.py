import threading
from datetime import timedelta
from smtplib import SMTPException
from typing import Any

import pytest
import time_machine
from django.core import mail
from django.db import connection
from django.utils import timezone

from portal.accounts.models import Project, User
from portal.accounts.roles import Role
from portal.audit.models import AuditEvent
from portal.billing import alerts
from portal.billing.budgets import Standing, Terms, change, create
from portal.billing.holds import hold
from portal.billing.models import Budget, BudgetAction, BudgetAlert, BudgetPeriod
from portal.billing.tasks import watch_budgets
from tests.factories import MembershipFactory, PriceFactory
from tests.factories.billing import give_credit, jst, metered

TELL, ASK, STOP, NOTHING = BudgetAction.TELL, BudgetAction.ASK, BudgetAction.STOP, BudgetAction.NOTHING


@pytest.fixture(autouse=True)
def clock() -> Any:
    """Noon within a month: "a moment ago" is always today and this month."""
    with time_machine.travel(jst(2026, 11, 24, 12)):
        yield


def budget_of(project: Project, owner: User, at_50: BudgetAction, at_80: BudgetAction, at_100: BudgetAction) -> Budget:
    terms = Terms(1000, at_50, at_80, at_100)
    return create(project.organization, project=project, period=BudgetPeriod.MONTH, terms=terms, by=owner)


def spend(project: Project, owner: User, yen: int, *, held: int) -> None:
    price = PriceFactory(amount="1", minimum_s=0)
    metered(project, owner, price, job_code="J-1", started_at=timezone.now(), seconds=yen, held=held)


def reached() -> list[tuple[int, str, int]]:
    return list(BudgetAlert.objects.order_by("pk").values_list("percent", "action", "used"))


def test_a_threshold_is_noted_and_told_once_in_a_period(project: Project, owner: User) -> None:
    give_credit(project, 10_000)
    budget_of(project, owner, TELL, ASK, NOTHING)
    hold(project.organization, project=project, job_code="J-1", amount=499, by="user:1")
    assert alerts.note_reached() == 0
    hold(project.organization, project=project, job_code="J-2", amount=1, by="user:1")
    for _again in range(2):
        watch_budgets(project.organization_id)
    assert (reached(), len(mail.outbox)) == ([(50, "tell", 500)], 1)
    event = AuditEvent.objects.get(act="budget.reached")
    assert (event.subject, event.detail) == (
        f"project:{project.code}",
        {"period": "month", "name": "", "percent": 50, "limit": 1000, "used": 500, "action": "tell"},
    )
    with time_machine.travel(jst(2026, 12, 1)):
        watch_budgets()  # what is held still counts
    assert (reached(), len(mail.outbox)) == ([(50, "tell", 500), (50, "tell", 500)], 2)


def test_another_limit_or_action_is_another_threshold(project: Project, owner: User) -> None:
    give_credit(project, 10_000)
    budget = budget_of(project, owner, TELL, NOTHING, NOTHING)
    hold(project.organization, project=project, job_code="J-1", amount=600, by="user:1")
    assert alerts.note_reached() == 1
    change(budget, terms=Terms(1200, TELL, NOTHING, NOTHING), by=owner)
    assert (alerts.note_reached(), alerts.note_reached()) == (1, 0)
    change(budget, terms=Terms(1200, ASK, NOTHING, NOTHING), by=owner)
    assert (alerts.note_reached(), alerts.note_reached()) == (1, 0)


def test_one_that_stops_looks_at_what_is_spent_and_not_at_what_is_held(project: Project, owner: User) -> None:
    give_credit(project, 10_000)
    budget_of(project, owner, NOTHING, STOP, TELL)
    spend(project, owner, 799, held=1000)
    alerts.note_reached()
    assert reached() == [(100, "tell", 1000)]
    spend_more = timezone.now() + timedelta(seconds=799)
    price = PriceFactory(amount="1", minimum_s=0)
    metered(project, owner, price, job_code="J-1", started_at=spend_more, seconds=1)
    alerts.note_reached()
    assert reached() == [(100, "tell", 1000), (80, "stop", 800)]


@pytest.mark.parametrize(
    ("used", "amount", "worth_a_look"), [(0, 499, False), (0, 500, True), (500, 400, False), (799, 1, False)]
)
def test_a_hold_is_worth_a_look_only_when_it_reaches_a_threshold(
    used: int, amount: int, worth_a_look: bool, project: Project, owner: User
) -> None:
    budget = budget_of(project, owner, TELL, STOP, NOTHING)
    assert alerts.is_reached_by(amount, budget, Standing(1000, 0, used)) == worth_a_look


def test_the_mail_goes_to_those_who_manage_the_money_in_their_language(project: Project, owner: User) -> None:
    give_credit(project, 10_000)
    accountant = MembershipFactory(organization=project.organization, role=Role.BILLING).user
    manager = MembershipFactory(organization=project.organization, project=project, role=Role.MANAGER).user
    MembershipFactory(organization=project.organization, role=Role.MEMBER)
    User.objects.filter(pk=manager.pk).update(language="en")
    budget_of(project, owner, NOTHING, STOP, NOTHING)
    spend(project, owner, 800, held=800)
    watch_budgets()
    assert sorted(message.to[0] for message in mail.outbox) == sorted([owner.email, accountant.email, manager.email])
    english = next(message for message in mail.outbox if message.to == [manager.email])
    assert english.subject == f"{project.name}: 80% of the budget is spent, jobs are stopped"
    assert english.body.split("\n")[:4] == [
        f"Of the budget of {project.name}, ¥800 of ¥1,000 is spent.",
        "Period: Sun 1 Nov - Mon 30 Nov",
        "",
        "All its jobs are being stopped, and no new ones are let in until the limit is raised or the period ends.",
    ]


def test_a_mail_that_is_not_taken_is_sent_again_to_whom_it_did_not_reach(
    project: Project, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_credit(project, 10_000)
    other = MembershipFactory(organization=project.organization, role=Role.BILLING).user
    budget_of(project, owner, TELL, NOTHING, NOTHING)
    hold(project.organization, project=project, job_code="J-1", amount=500, by="user:1")
    alerts.note_reached()

    def refuse(subject: str, text: str, sender: object, to: list[str]) -> int:
        if to == [other.email]:
            raise SMTPException("full")
        return 1

    monkeypatch.setattr("portal.accounts.emails.send_mail", refuse)
    assert (alerts.tell(), BudgetAlert.objects.get().to_tell) == (1, [other.pk])
    monkeypatch.undo()
    assert (alerts.tell(), alerts.tell(), [message.to for message in mail.outbox]) == (1, 0, [[other.email]])


@pytest.mark.django_db(transaction=True)
def test_many_at_once_note_and_tell_it_once(project: Project, owner: User) -> None:
    give_credit(project, 10_000)
    budget_of(project, owner, TELL, TELL, TELL)
    hold(project.organization, project=project, job_code="J-1", amount=1000, by="user:1")
    together = threading.Barrier(8)

    def watch() -> None:
        together.wait(60)
        watch_budgets()
        connection.close()

    threads = [threading.Thread(target=watch) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    alerts.tell()
    assert (reached(), len(mail.outbox)) == ([(50, "tell", 1000), (80, "tell", 1000), (100, "tell", 1000)], 3)
    assert AuditEvent.objects.filter(act="budget.reached").count() == 3
