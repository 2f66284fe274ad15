"""Spending beyond a budget: asked for one job with its form kept, decided by who manages the money, used once."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from portal.accounts.access import access_of, require
from portal.accounts.models import Project, User
from portal.accounts.roles import Permission
from portal.billing import tasks
from portal.billing.models import BillingAccount, SpendRequest, SpendState
from portal.billing.spend_requests import BY, OPEN, close, concerns_organization, record
from portal.celery import nudge

ANSWERED_WITHIN = timedelta(days=14)
USED_WITHIN = timedelta(days=7)


class NotOpen(Exception):
    """Somebody has decided already, or nobody did in time."""

    @property
    def message(self) -> str:
        return _("Nothing was changed: somebody has already decided, or the request has expired.")


@transaction.atomic
def ask(
    project: Project, *, job_name: str, amount: int, digest: str, form: Mapping[str, Any], reason: str, by: User
) -> SpendRequest:
    """Keep the form and ask for an approval of `amount` yen. The same job again, while it is open, is the same wish.

    `digest` stands for exactly that job; `form` is plain JSON without secrets. The caller has checked that the person
    may submit in the project.
    """
    # Two at once: the second waits for the first one's commit.
    BillingAccount.objects.select_for_update().filter(organization=project.organization_id).first()
    open_ones = SpendRequest.objects.filter(project=project, asked_by=by, digest=digest, state__in=OPEN)
    for known in open_ones:
        if known.expires_at > timezone.now() and known.amount >= amount:
            return known
        close(known, SpendState.EXPIRED, by=BY)
    request = SpendRequest.objects.create(
        organization_id=project.organization_id, project=project, asked_by=by, reason=reason, job_name=job_name,
        amount=amount, digest=digest, form=dict(form), expires_at=timezone.now() + ANSWERED_WITHIN,
    )  # fmt: skip
    record("spend.asked", request, by=f"user:{by.pk}", amount=amount, reason=reason)
    nudge(tasks.watch_budgets, project.organization_id)
    return request


def approve(request: SpendRequest, *, by: User) -> SpendRequest:
    """Exactly that job may be created once within a week. Raises NotOpen, NotPermitted."""
    return _decide(request, SpendState.APPROVED, answer="", by=by)


def decline(request: SpendRequest, *, answer: str, by: User) -> SpendRequest:
    """Raises NotOpen, NotPermitted."""
    return _decide(request, SpendState.DECLINED, answer=answer, by=by)


@transaction.atomic
def _decide(request: SpendRequest, state: SpendState, *, answer: str, by: User) -> SpendRequest:
    locked = SpendRequest.objects.select_for_update(of=("self",)).select_related("organization", "project")
    request = locked.get(pk=request.pk)
    now = timezone.now()
    require(by, Permission.MANAGE_MONEY, request.project)
    if state == SpendState.APPROVED and concerns_organization(request):
        require(by, Permission.MANAGE_MONEY, request.organization)
    if request.state != SpendState.ASKED or request.expires_at <= now:
        raise NotOpen
    request.state, request.answer, request.decided_by, request.decided_at = state, answer, by, now
    request.of_organization = access_of(by).may_in(request.organization, Permission.MANAGE_MONEY)
    if state == SpendState.APPROVED:
        request.expires_at = now + USED_WITHIN
    request.save()
    record(f"spend.{state.value}", request, by=f"user:{by.pk}", amount=request.amount, answer=answer)
    nudge(tasks.watch_budgets, request.organization_id)
    return request
