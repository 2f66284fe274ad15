"""The month's total, person by person, job by job, and a job charge by charge."""

from __future__ import annotations

from datetime import datetime
from typing import Any, cast
from urllib.parse import urlencode

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_safe

from portal.accounts.access import access_of
from portal.accounts.context import current_of
from portal.accounts.models import User
from portal.accounts.roles import Permission
from portal.billing import drilling
from portal.billing.models import Charge
from portal.billing.overview import Scope, freshness_of, months_offered
from portal.billing.summaries import BEFORE_ALL, JobCost, dearest_jobs, every_job, month_of_use
from portal.billing.views.usage import month_asked, scope_of
from portal.catalog.models import Offering, Price, Provider
from portal.core.csv import csv_response
from portal.core.periods import JST, BillingMonth, billing_month
from portal.usage.models import UsageRecord

JOBS_AT_ONCE = 50
CHARGES_AT_ONCE = 100


@require_safe
@login_required
def people(request: HttpRequest) -> HttpResponseBase:
    if current_of(request).organization is None:
        return redirect("home:start")
    scope, month = scope_of(request), _month(request)
    found = drilling.people_of(scope, month, described=_described(request, scope))
    if request.GET.get("format") == "csv":
        header = [_("Person"), _("GPU-seconds"), _("Cost (yen, tax included)")]
        rows = [[line.name or _("Other projects’ people"), line.gpu_seconds, line.amount] for line in found.lines]
        if found.more:
            rest = found.gpu_seconds - sum(line.gpu_seconds for line in found.lines)
            rows.append(
                [ngettext("%(n)s more person", "%(n)s more people", found.more) % {"n": found.more}, rest, found.rest]
            )
        return csv_response(f"people-{month}.csv", header, [*rows, [_("Storage"), None, found.storage]])
    return render(request, "billing/people.html", _context(request, scope, month) | {"people": found})


@require_safe
@login_required
def jobs(request: HttpRequest) -> HttpResponseBase:
    if current_of(request).organization is None:
        return redirect("home:start")
    scope, month = scope_of(request), _month(request)
    described = _described(request, scope)
    person = _person(request)
    if request.GET.get("format") == "csv":
        whose = person.pk if person else None
        every = every_job(scope.organization, month, projects=scope.projects, described=described, person=whose)
        return csv_response(f"jobs-{month}.csv", _jobs_header(), map(_job_row, every))
    found = dearest_jobs(
        scope.organization,
        month,
        limit=JOBS_AT_ONCE + 1,
        projects=scope.projects,
        described=described,
        person=person.pk if person else None,
        after=_after(request),
    )
    context = _context(request, scope, month)
    older = ""
    if len(found) > JOBS_AT_ONCE:
        last = found[JOBS_AT_ONCE - 1]
        kept = {**context["kept"], "after": f"{last.amount}~{last.code}"} | ({"person": person.pk} if person else {})
        older = f"{reverse('usage:jobs')}?{urlencode(kept)}"
    return render(
        request,
        "billing/jobs.html",
        context | {"jobs": found[:JOBS_AT_ONCE], "person": person, "older_url": older, "first": "after" in request.GET},
    )


def _jobs_header() -> list[str]:
    return [
        _("Job"),
        _("Job name"),
        _("Project"),
        _("Provider"),
        _("GPU"),
        _("Person"),
        _("State"),
        _("GPU-seconds"),
        _("Cost (yen, tax included)"),
    ]


def _job_row(job: JobCost) -> list[Any]:
    state = str(job.state.label) if job.state else ""
    of_job = [job.code, job.name, job.project_name, job.provider.name, job.gpu_model]
    return [*of_job, job.person, state, job.gpu_seconds, job.amount]


@require_safe
@login_required
def job(request: HttpRequest, code: str) -> HttpResponseBase:
    """Each charge of a job beside the record it was reckoned from, whatever the month."""
    if current_of(request).organization is None:
        return redirect("home:start")
    scope = scope_of(request)
    if request.GET.get("format") == "csv" and (every := drilling.charges_of(code, scope, limit=None)):
        return csv_response(f"charges-{every[0].job_code}.csv", _charges_header(), map(_charge_row, every))
    after = request.GET.get("after", "")
    charges = drilling.charges_of(
        code, scope, after=int(after) if after.isascii() and after.isdigit() and len(after) < 19 else 0,
        limit=CHARGES_AT_ONCE + 1,
    )  # fmt: skip
    if not charges:
        raise Http404
    shown = charges[:CHARGES_AT_ONCE]
    described = _described(request, scope)
    project = shown[0].project
    context = {
        "code": code,
        "project": project,
        "charges": shown,
        "sum": drilling.sum_of(code, scope),
        "freshness": [
            (provider, at)
            for provider, at in _freshness(scope, billing_month(timezone.now()))
            if provider.slug in {charge.host_member.slug for charge in shown}
        ],
        "sees_job": described is None or project.pk in described,
        "older_url": f"{reverse('usage:job', args=[code])}?after={shown[-1].pk}"
        if len(charges) > CHARGES_AT_ONCE
        else "",
    }
    return render(request, "billing/job.html", context)


def _charges_header() -> list[str]:
    return [
        _("From (Japan)"),
        _("To (Japan)"),
        _("Usage record"),
        _("Attempt"),
        _("Provider"),
        _("Offering"),
        _("GPUs"),
        _("GPU-seconds"),
        _("Price (yen)"),
        _("Unit"),
        _("Tax"),
        _("Correction for"),
        _("Cost (yen, tax included)"),
    ]


def _charge_row(charge: Charge) -> list[Any]:
    # Charges of jobs have all three.
    record, price = cast(UsageRecord, charge.record), cast(Price, charge.price)
    ends = [at.astimezone(JST).strftime("%Y-%m-%d %H:%M:%S") for at in (record.started_at, record.ended_at)]
    tax = _("tax incl.") if price.tax_included else _("tax excl.")
    of_month = f"{charge.of_month:%Y-%m}" if charge.of_month else ""
    measured = [record.pk, record.attempt_code, charge.host_member.name, cast(Offering, charge.offering).name]
    unit = f"{price.get_unit_display()} {_('per GPU') if price.per_gpu else _('for the whole plan')}"
    return [*ends, *measured, record.gpus, record.gpu_seconds, price.amount, unit, tax, of_month, charge.amount]


def _context(request: HttpRequest, scope: Scope, month: BillingMonth) -> dict[str, Any]:
    kept = {"month": str(month)} | ({"project": scope.chosen.code} if scope.chosen else {})
    return {
        "scope": scope,
        "month": month,
        "months": months_offered(scope.organization, timezone.now(), month),
        "kept": kept,
        "query": urlencode(kept),
        "is_current": month == billing_month(timezone.now()),
        "freshness": _freshness(scope, month),
    }


def _freshness(scope: Scope, month: BillingMonth) -> list[tuple[Provider, datetime]]:
    """Up to when the month's use is complete, by provider. One query, the overview's own."""
    use = month_of_use(scope.organization, month, until=month.last_day, projects=scope.projects)
    return freshness_of(use, month, now=timezone.now())


def _month(request: HttpRequest) -> BillingMonth:
    current = billing_month(timezone.now())
    return min(month_asked(request) or current, current)


def _described(request: HttpRequest, scope: Scope) -> set[int] | None:
    access = access_of(request.user)
    return None if access.may_in(scope.organization, Permission.VIEW) else set(access.projects_with(Permission.VIEW))


def _person(request: HttpRequest) -> User | None:
    """A colleague by number; whoever is none has no jobs in the scope, and is not named."""
    asked = request.GET.get("person", "")
    if not (asked.isascii() and asked.isdigit() and len(asked) < 10):
        return None
    organization = current_of(request).organization
    found: User | None = (
        User.objects.filter(pk=int(asked)).filter(pk__in=drilling.people_with_charges(organization)).first()
    )
    if found is None:
        raise Http404
    return found


def _after(request: HttpRequest) -> tuple[int, str]:
    amount, tilde, code = request.GET.get("after", "").partition("~")
    digits = amount.removeprefix("-")
    if tilde and digits.isascii() and digits.isdigit() and len(digits) < 18 and code.isprintable():
        return int(amount), code[:24]
    return BEFORE_ALL
