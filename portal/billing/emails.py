"""Mails about budgets, in the reader's language."""

from __future__ import annotations

from django.conf import settings
from django.db.models import Q
from django.urls import reverse

from portal.accounts.emails import send
from portal.accounts.models import Membership, Organization, Project, User
from portal.accounts.roles import MATRIX, Permission
from portal.billing.models import BudgetAlert, SpendRequest

MANAGERS = [role for role, permissions in MATRIX.items() if Permission.MANAGE_MONEY in permissions]


def managers_of_money(organization: Organization, project: Project | None) -> list[User]:
    """Who may set budgets there: of the whole organization, and of the project if one is named."""
    place = Q(project=None)
    if project is not None:
        place |= Q(project=project)
    members = Membership.objects.active().filter(place, organization=organization, role__in=MANAGERS)
    return list(User.objects.filter(memberships__in=members, is_active=True).distinct().order_by("pk"))


def send_alert(to: User, *, alert: BudgetAlert) -> bool:
    """False when the mail server did not take it: it is sent again later."""
    budget = alert.budget
    first, last = budget.days(alert.at)
    context = {
        "alert": alert,
        "place": budget.project.name if budget.project else budget.organization.name,
        "first": first,
        "last": last,
        "url": settings.PORTAL_URL + reverse("usage:budgets"),
    }
    return send("billing/email/alert", to=to.email, language=to.language, context=context)


def send_request(to: User, *, request: SpendRequest) -> bool:
    url = settings.PORTAL_URL + reverse("usage:request", args=[request.code])
    context = {"request": request, "url": url}
    return send("billing/email/request", to=to.email, language=to.language, context=context)


def send_decision(to: User, *, request: SpendRequest) -> bool:
    """To who asked: approved with the form to send, or declined with the sentence."""
    url = settings.PORTAL_URL + reverse("usage:request", args=[request.code])
    context = {"request": request, "url": url}
    return send("billing/email/decision", to=to.email, language=to.language, context=context)
