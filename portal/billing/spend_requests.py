"""What becomes of a request to spend beyond a budget: used up by its job, expired, and told of by mail."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from portal.accounts.models import Project
from portal.audit import recording as audit
from portal.billing import budgets, emails
from portal.billing.models import BillingAccount, SpendRequest, SpendState

BY = "portal:budgets"
OPEN = (SpendState.ASKED, SpendState.APPROVED)


def concerns_organization(request: SpendRequest) -> bool:
    """Whether a budget of the whole organization stands in its way now: then its project's managers cannot approve."""
    account = BillingAccount(organization_id=request.organization_id)
    return any(
        budget.project_id is None and request.amount > standing.without_approval(budget)
        for budget, standing in budgets.binding(account, request.project)
    )


def take(
    project: Project, *, by: str, digest: str, amount: int, job_code: str, of_organization: bool
) -> SpendRequest | None:
    """Use up the approval of exactly that job, in the transaction that creates it; None: there is none.

    `of_organization`: it has to be by somebody who manages the whole organization's money.
    """
    approved = SpendRequest.objects.select_for_update(of=("self",)).select_related("organization", "project")
    approved = approved.filter(project=project, digest=digest, state=SpendState.APPROVED, amount__gte=amount)
    for request in approved.filter(expires_at__gt=timezone.now()).order_by("pk"):
        if f"user:{request.asked_by_id}" == by and (request.of_organization or not of_organization):
            request.state, request.job_code = SpendState.USED, job_code
            request.told = SpendState.USED  # they did it themselves
            request.save(update_fields=["state", "job_code", "told"])
            return request
    return None


def expire_due() -> int:
    """What nobody answered or used in time. How many."""
    due = SpendRequest.objects.filter(state__in=OPEN, expires_at__lte=timezone.now()).order_by("pk")
    expired = 0
    for pk in list(due.values_list("pk", flat=True)[:1000]):
        with transaction.atomic():
            locked = SpendRequest.objects.select_for_update(of=("self",)).select_related("organization", "project")
            for request in locked.filter(pk=pk, state__in=OPEN, expires_at__lte=timezone.now()):
                close(request, SpendState.EXPIRED, by=BY)
                expired += 1
    return expired


def tell() -> int:
    """Mails about requests whose state nobody was told of; again when the mail server did not take any."""
    untold = SpendRequest.objects.filter(state__in=[SpendState.ASKED, SpendState.APPROVED, SpendState.DECLINED])
    untold = untold.exclude(told=F("state")).select_related("organization", "project", "asked_by", "decided_by")
    sent = 0
    for request in untold.order_by("pk")[:100]:
        before = request.told
        if not SpendRequest.objects.filter(pk=request.pk, told=before).update(told=request.state):
            continue  # another process tells it
        told = _tell(request)
        sent += told
        if not told:
            SpendRequest.objects.filter(pk=request.pk, told=request.state).update(told=before)
    return sent


def _tell(request: SpendRequest) -> int:
    if request.state != SpendState.ASKED:
        return int(emails.send_decision(request.asked_by, request=request))
    project = None if concerns_organization(request) else request.project
    people = emails.managers_of_money(request.organization, project)
    return sum(emails.send_request(person, request=request) for person in people)


def close(request: SpendRequest, state: SpendState, *, by: str) -> None:
    request.state = state
    request.save(update_fields=["state"])
    record(f"spend.{state.value}", request, by=by, amount=request.amount)


def record(act: str, request: SpendRequest, *, by: str, **detail: Any) -> None:
    audit.record(
        act,
        budgets.place_of(request.organization, request.project),
        actor=by,
        chain=request.organization.code,
        detail={"request": request.code, "job": request.job_name, **detail},
    )
