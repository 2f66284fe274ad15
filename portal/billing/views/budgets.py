"""Budgets with their thresholds and history, and requests to spend beyond them."""

from __future__ import annotations

from typing import Any, cast

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from portal.accounts.access import NotPermitted, access_of, require
from portal.accounts.context import current_of
from portal.accounts.models import Organization, Project, User
from portal.accounts.roles import Permission
from portal.billing import approvals, budgets
from portal.billing.budget_list import listing
from portal.billing.forms import FIXED_ONLY, AnswerForm, TermsForm
from portal.billing.models import THRESHOLDS, Budget, BudgetAction, BudgetPeriod, SpendRequest
from portal.billing.overview import Scope
from portal.billing.spend_requests import concerns_organization


@require_safe
@login_required
def overview(request: HttpRequest) -> HttpResponse:
    if current_of(request).organization is None:
        return redirect("home:start")
    organization, access = _here(request), access_of(request.user)
    projects = None
    if not access.may_in(organization, Permission.VIEW_MONEY):
        seen = set(access.projects_with(Permission.VIEW_MONEY))
        projects = [project for project in current_of(request).projects if project.pk in seen]
        if not projects:
            raise NotPermitted(Permission.VIEW_MONEY)
    after = request.GET.get("after", "0")
    if not (after.isascii() and after.isdigit() and len(after) < 19):
        raise Http404
    manages = _manages(request)
    context = {
        "scope": Scope(organization, None if projects is None else [project.pk for project in projects]),
        "page": listing(organization, projects=projects, manages=manages, after=int(after)),
        "may_set": bool(manages),
        "marks": THRESHOLDS[:-1],
        "nothing": BudgetAction.NOTHING,
        "after": int(after),
    }
    return render(request, "billing/budgets.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def new(request: HttpRequest) -> HttpResponse:
    if current_of(request).organization is None:
        return redirect("home:start")
    organization, access = _here(request), access_of(request.user)
    projects = [p for p in current_of(request).projects if access.may_in(p, Permission.MANAGE_MONEY)]
    whole = organization if access.may_in(organization, Permission.MANAGE_MONEY) else None
    if not (whole or projects):
        raise NotPermitted(Permission.MANAGE_MONEY)
    usual = budgets.Terms(0)
    form = TermsForm(
        request.POST if request.method == "POST" else None,
        organization=whole,
        projects=projects,
        budget=None,
        initial={f"at_{percent}": getattr(usual, f"at_{percent}") for percent in THRESHOLDS},
    )
    if form.is_valid():
        try:
            budgets.create(
                organization,
                project=form.project,
                period=BudgetPeriod(form.cleaned_data["period"]),
                terms=form.terms,
                by=_user(request),
            )
        except budgets.BelowCommitted as refused:
            form.add_error("limit", refused.message)
        except budgets.AlreadySet:
            form.add_error("period", _("There is such a budget already. Change it instead."))
        else:
            return _saved(request)
    return _form(request, form, None)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def edit(request: HttpRequest, pk: int) -> HttpResponse:
    budget = _budget(request, pk)
    names = ("limit", *(f"at_{percent}" for percent in THRESHOLDS), *FIXED_ONLY)
    form = TermsForm(
        request.POST if request.method == "POST" else None,
        organization=None,
        projects=[],
        budget=budget,
        initial={name: getattr(budget, name) for name in names},
    )
    if form.is_valid():
        try:
            budgets.change(budget, terms=form.terms, by=_user(request))
        except budgets.BelowCommitted as refused:
            form.add_error("limit", refused.message)
        else:
            return _saved(request)
    return _form(request, form, budget)


@require_POST
@login_required
def remove(request: HttpRequest, pk: int) -> HttpResponse:
    budgets.remove(_budget(request, pk), by=_user(request))
    messages.success(request, _("The budget is taken away."))
    return redirect("usage:budgets")


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def request_page(request: HttpRequest, code: str) -> HttpResponse:
    """For who asked, and for those who may decide it."""
    rows = SpendRequest.objects.select_related("project__organization", "organization", "asked_by", "decided_by")
    asked = get_object_or_404(rows, code=code.replace("\0", ""))
    access, user = access_of(request.user), _user(request)
    decides = access.may_in(asked.project, Permission.MANAGE_MONEY)
    if not (decides or (asked.asked_by_id == user.pk and access.may_in(asked.project, Permission.VIEW_MONEY))):
        raise Http404
    needs_organization = concerns_organization(asked)
    may_approve = decides and (not needs_organization or access.may_in(asked.organization, Permission.MANAGE_MONEY))
    form = AnswerForm(request.POST if request.method == "POST" else None)
    if request.method == "POST":
        require(user, Permission.MANAGE_MONEY, asked.project)
        if form.is_valid():
            return _decide(request, asked, form)
    context = {"asked": asked, "form": form, "decides": decides, "may_approve": may_approve}
    return render(request, "billing/request.html", context, status=422 if form.is_bound else 200)


def _decide(request: HttpRequest, asked: SpendRequest, form: AnswerForm) -> HttpResponse:
    try:
        if "approve" in request.POST:
            approvals.approve(asked, by=_user(request))
            messages.success(request, _("Approved. The person who asked gets a mail and can create the job."))
        else:
            approvals.decline(asked, answer=form.cleaned_data["answer"], by=_user(request))
            messages.success(request, _("Declined. The person who asked gets your sentence by mail."))
    except approvals.NotOpen as over:
        messages.info(request, over.message)
    return redirect("usage:request", asked.code)


def _here(request: HttpRequest) -> Organization:
    return cast(Organization, current_of(request).organization)


def _user(request: HttpRequest) -> User:
    return cast(User, request.user)


def _manages(request: HttpRequest) -> set[int | None]:
    """Of the current organization; None stands for the whole of it."""
    access = access_of(request.user)
    if access.may_in(_here(request), Permission.MANAGE_MONEY):
        return {None}
    here = {project.pk for project in current_of(request).projects}
    return {pk for pk in access.projects_with(Permission.MANAGE_MONEY) if pk in here}


def _budget(request: HttpRequest, pk: int) -> Budget:
    """404 for what the person does not see."""
    access = access_of(request.user)
    budget = get_object_or_404(Budget.objects.select_related("organization", "project__organization"), pk=pk)
    place: Organization | Project = budget.project or budget.organization
    if not access.may_in(place, Permission.VIEW_MONEY):
        raise Http404
    require(request.user, Permission.MANAGE_MONEY, place)
    return budget


def _saved(request: HttpRequest) -> HttpResponse:
    messages.success(request, _("The budget is saved. It holds for every job submitted from now on."))
    return redirect("usage:budgets")


def _form(request: HttpRequest, form: TermsForm, budget: Budget | None) -> HttpResponse:
    context: dict[str, Any] = {"form": form, "budget": budget}
    return render(request, "billing/budget_form.html", context, status=422 if form.is_bound else 200)
