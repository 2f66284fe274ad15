"""The first page after sign-up: the person's name and organization. Here because money stands above accounts."""

from __future__ import annotations

from contextlib import suppress
from typing import cast

from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from portal.accounts import membership
from portal.accounts.context import choose, current_of
from portal.accounts.forms import FoundingForm, posted
from portal.accounts.models import OrganizationKind, User
from portal.billing import credits


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def start(request: HttpRequest) -> HttpResponse:
    if current_of(request).organization is not None:
        return redirect("/")
    user = cast(User, request.user)
    names = {"family_name": user.family_name, "given_name": user.given_name, "kind": OrganizationKind.STARTUP.value}
    form = FoundingForm(posted(request), initial=names)
    if request.method == "POST" and form.is_valid():
        # Refused is the second of two submits: the first one's organization is waiting.
        with suppress(membership.AlreadyMember):
            _found(request, user, form.cleaned_data)
        return redirect("/")
    context = {"form": form, "had_trial": credits.had_trial(user)}
    return render(request, "home/start.html", context, status=422 if request.method == "POST" else 200)


@transaction.atomic
def _found(request: HttpRequest, user: User, data: dict[str, str]) -> None:
    """Name, organization, project and, for the first one, trial credit: all of it or nothing."""
    membership.edit_person(user, family_name=data["family_name"], given_name=data["given_name"], language=user.language)
    name = data["organization_name"] or user.get_full_name()
    organization = membership.found_organization(user, name=name, kind=data["kind"])
    credits.grant_trial(organization, founder=user)
    choose(request, organization=organization, project=organization.projects.get())
