"""Thresholds of budgets: written down once each when they are reached, then told to those who manage the money."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone

from portal.accounts.models import User
from portal.audit import recording as audit
from portal.billing import emails
from portal.billing.budgets import Standing, place_of, reaches, with_standings
from portal.billing.models import Budget, BudgetAction, BudgetAlert

BY = "portal:budgets"


def is_reached_by(amount: int, budget: Budget, standing: Standing) -> bool:
    """Whether a hold of so much makes one of its thresholds worth a look. One that stops looks at what is spent."""
    return any(
        action in (BudgetAction.TELL, BudgetAction.ASK)
        and not reaches(standing.used, percent, standing.limit)
        and reaches(standing.used + amount, percent, standing.limit)
        for percent, action in budget.actions.items()
    )


def note_reached(organization_id: int | None = None) -> int:
    """Write down each threshold that is reached and was not yet: of one organization, or of all. How many were new.

    Repeatable by any number of processes at once: the database keeps one row for each period, limit and action.
    """
    now = timezone.now()
    budgets = Budget.objects.not_over(now).exclude(**dict.fromkeys(("at_50", "at_80", "at_100"), BudgetAction.NOTHING))
    if organization_id is not None:
        budgets = budgets.filter(organization=organization_id)
    reached = [
        BudgetAlert(
            budget=budget, first_day=budget.days(now)[0], percent=percent, limit=budget.limit, action=action, at=now,
            used=used,
        )
        for budget, standing in with_standings(budgets.select_related("organization", "project").order_by("pk"), at=now)
        for percent, action in budget.actions.items()
        for used in [standing.posted if action == BudgetAction.STOP else standing.used]
        if action != BudgetAction.NOTHING and reaches(used, percent, budget.limit)
    ]  # fmt: skip
    known = set(BudgetAlert.objects.filter(budget__in={alert.budget_id for alert in reached}).values_list(*_KEY))
    return sum(_note(alert) for alert in reached if tuple(getattr(alert, name) for name in _KEY) not in known)


_KEY = ("budget_id", "first_day", "percent", "limit", "action")


@transaction.atomic
def _note(alert: BudgetAlert) -> bool:
    budget = alert.budget
    key = {name: getattr(alert, name) for name in _KEY}
    people = emails.managers_of_money(budget.organization, budget.project)
    rest = {"used": alert.used, "at": alert.at, "to_tell": [person.pk for person in people]}
    _row, is_new = BudgetAlert.objects.get_or_create(**key, defaults=rest)
    if is_new:
        audit.record(
            "budget.reached",
            place_of(budget.organization, budget.project),
            actor=BY,
            chain=budget.organization.code,
            detail={"period": budget.period, "name": budget.name, "percent": alert.percent}
            | {"limit": alert.limit, "used": alert.used, "action": alert.action},
        )
    return is_new


def tell() -> int:
    """Mails that are still to be sent; one that the mail server does not take is tried again the next time."""
    sent = 0
    for pk in list(BudgetAlert.objects.exclude(to_tell=[]).order_by("pk").values_list("pk", flat=True)[:100]):
        with transaction.atomic():  # who takes the names tells them: nobody is told twice
            row = BudgetAlert.objects.select_for_update(skip_locked=True, of=("self",)).filter(pk=pk)
            alert = row.select_related("budget__organization", "budget__project").first()
            if alert is None:
                continue
            BudgetAlert.objects.filter(pk=pk).update(to_tell=[])
        people = User.objects.filter(pk__in=alert.to_tell, is_active=True).order_by("pk")
        missed = [person.pk for person in people if not emails.send_alert(person, alert=alert)]
        sent += len(people) - len(missed)
        if missed:
            BudgetAlert.objects.filter(pk=pk).update(to_tell=missed)
    return sent
