from __future__ import annotations

from typing import Any, cast
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import get_language
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from portal.accounts.access import NotPermitted, access_of, require
from portal.accounts.context import current_of
from portal.accounts.models import Organization, Project, User
from portal.accounts.roles import Permission
from portal.billing import budgets, summaries
from portal.billing.focus import DATASETS
from portal.billing.forms import BudgetForm
from portal.billing.overview import BREAKDOWNS, Overview, Scope, months_offered
from portal.billing.overview import overview as read_overview
from portal.billing.spans import SpanPage, monthly_rows, span_page, spans_offered
from portal.catalog.pricing import storage_price_now
from portal.core.csv import csv_response
from portal.core.periods import BillingMonth, FiscalSpan, billing_month, day_of
from portal.core.templatetags.formats import day, yen
from portal.usage.storage import storage_of_month


@require_safe
@login_required
def overview(request: HttpRequest) -> HttpResponse:
    if current_of(request).organization is None:
        return redirect("home:start")
    scope = scope_of(request)
    if span := _span(request):
        return _span_page(request, scope, span)
    return _page(request, scope, _budget_form(request, scope))


@require_POST
@login_required
def budget(request: HttpRequest) -> HttpResponse:
    if current_of(request).organization is None:
        return redirect("home:start")
    scope = scope_of(request)
    form = _budget_form(request, scope, sent=True)
    if form is None:
        raise NotPermitted(Permission.MANAGE_MONEY)
    if form.is_valid():
        try:
            budgets.set_limit(
                scope.organization,
                project=form.project,
                monthly_limit=form.cleaned_data["monthly_limit"],
                by=cast(User, request.user),
            )
        except budgets.BelowCommitted as refused:
            form.add_error("monthly_limit", refused.message)
        else:
            messages.success(request, _("The budget is saved. It holds for every job submitted from now on."))
            return redirect(_address(scope))
    return _page(request, scope, form, status=422)


@require_safe
@login_required
def csv(request: HttpRequest) -> HttpResponseBase:
    """The month as rows: what the page's figures are the sums of."""
    if current_of(request).organization is None:
        return redirect("home:start")
    scope = scope_of(request)
    if span := _span(request):
        return _span_csv(scope, span)
    month = month_asked(request) or billing_month(timezone.now())
    header = [
        _("Date (Japan)"),
        _("Provider"),
        _("Project"),
        _("Project code"),
        _("Offering"),
        _("GPU"),
        _("GPU-seconds"),
        _("Cost (yen, tax included)"),
    ]
    rows = summaries.daily_rows(scope.organization, month, projects=scope.projects)
    return csv_response(f"usage-{month}.csv", header, rows)


def scope_of(request: HttpRequest) -> Scope:
    """What of the current organization's money this person sees here. 404 for a project they do not know."""
    current = current_of(request)
    organization = cast(Organization, current.organization)
    if code := request.GET.get("project"):
        project = next((p for p in current.projects if p.code == code), None) or _closed_project(request, code)
        require(request.user, Permission.VIEW_MONEY, project)
        return Scope(organization, [project.pk], chosen=project, budgeted=project)
    access = access_of(request.user)
    if access.may_in(organization, Permission.VIEW_MONEY):
        return Scope(organization, None)
    if projects := access.projects_with(Permission.VIEW_MONEY):
        here = [p for p in current.projects if p.pk in projects]
        return Scope(organization, projects, budgeted=here[0] if len(here) == 1 else None)
    raise NotPermitted(Permission.VIEW_MONEY)


def _closed_project(request: HttpRequest, code: str) -> Project:
    known = Project.objects.visible_to(cast(User, request.user)).filter(organization=current_of(request).organization)
    project = known.filter(code=code).first() if code.isprintable() else None
    if project is None:
        raise Http404
    return project


def month_asked(request: HttpRequest) -> BillingMonth | None:
    """None for nonsense: the page then shows the running month."""
    try:
        return BillingMonth.parse(request.GET.get("month", ""))
    except ValueError:
        return None


def _span(request: HttpRequest) -> FiscalSpan | None:
    """None for a month, and for nonsense."""
    try:
        return FiscalSpan.parse(request.GET.get("month", ""))
    except ValueError:
        return None


def _budget_form(request: HttpRequest, scope: Scope, *, sent: bool = False) -> BudgetForm | None:
    """None for people who may set no budget here."""
    access = access_of(request.user)
    projects = [p for p in current_of(request).projects if access.may_in(p, Permission.MANAGE_MONEY)]
    organization = scope.organization if access.may_in(scope.organization, Permission.MANAGE_MONEY) else None
    if not (organization or projects):
        return None
    return BudgetForm(
        request.POST if sent else None,
        organization=organization,
        projects=projects,
        initial={"place": scope.chosen.code if scope.chosen else None},
        auto_id="budget_%s",
    )


def _span_page(request: HttpRequest, scope: Scope, span: FiscalSpan) -> HttpResponse:
    by = request.GET.get("by", "")
    shown = span_page(scope, span, by=by if by in BREAKDOWNS else "provider")
    context = _of_every_page(scope, shown) | {"page": shown, "begins": shown.month.months[0].first_day}
    return render(request, "billing/span.html", context)


def _of_every_page(scope: Scope, shown: Overview | SpanPage) -> dict[str, Any]:
    now = timezone.now()
    kept = {"month": str(shown.month)} | ({"project": scope.chosen.code} if scope.chosen else {})
    return {
        "query": urlencode(kept),
        "breakdowns": [("provider", _("Provider")), ("project", _("Project")), ("gpu", _("GPU"))],
        "months": months_offered(scope.organization, now, shown.month if isinstance(shown, Overview) else None),
        "spans": spans_offered(day_of(scope.organization.created_at), day_of(now)),
    }


def _span_csv(scope: Scope, span: FiscalSpan) -> HttpResponseBase:
    header = [
        _("Month (Japan)"),
        _("Provider"),
        _("Project"),
        _("Project code"),
        _("Offering"),
        _("GPU"),
        _("GPU-seconds"),
        _("Cost (yen, tax included)"),
    ]
    language = "en" if (get_language() or "ja").startswith("en") else "ja"
    return csv_response(f"usage-{span}.csv", header, monthly_rows(scope, span, language=language))


def _page(request: HttpRequest, scope: Scope, form: BudgetForm | None, *, status: int = 200) -> HttpResponse:
    by = request.GET.get("by", "")
    access = access_of(request.user)
    shown = read_overview(
        scope,
        month=month_asked(request),
        by=by if by in BREAKDOWNS else "provider",
        may_see_credit=access.may_in(scope.organization, Permission.VIEW_MONEY),
        described=None if access.may_in(scope.organization, Permission.VIEW) else access.projects_with(Permission.VIEW),
        all_open=request.GET.get("open") == "1",
    )
    context = _of_every_page(scope, shown) | {
        "page": shown,
        "form": form,
        "marks": (50, 80),
        "sums_in_words": _sums_in_words(shown),
        "storage": storage_of_month(scope.organization, shown.month, projects=scope.projects),
        "price": storage_price_now(),
        "exports": DATASETS.values(),
        "budget_url": reverse("usage:budget") + (f"?project={scope.chosen.code}" if scope.chosen else ""),
    }
    return render(request, "billing/overview.html", context, status=status)


def _sums_in_words(shown: Overview) -> str:
    """The chart of the sums for those who hear it."""
    words = [_("%(total)s up to %(day)s.") % {"total": yen(shown.use.amount), "day": day(shown.until)}]
    if shown.expected is not None:
        words.append(_("Forecast to the month's end: %(amount)s.") % {"amount": yen(shown.expected)})
    if shown.budget and shown.is_current:
        words.append(_("Budget: %(limit)s.") % {"limit": yen(shown.budget.limit)})
    return " ".join(words)


def _address(scope: Scope) -> str:
    return reverse("usage:overview") + (f"?project={scope.chosen.code}" if scope.chosen else "")
