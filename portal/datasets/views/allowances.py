"""What the projects keep in storage, and how much they may."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_safe

from portal.accounts.access import access_of, require
from portal.accounts.context import current_of
from portal.accounts.models import Project
from portal.accounts.roles import Permission
from portal.datasets import quota
from portal.datasets.views.finding import page_of, user_of


@login_required
@require_safe
def storage(request: HttpRequest) -> HttpResponse:
    if current_of(request).organization is None:
        return redirect("home:start")
    projects, newer_url, older_url = page_of(request, _projects(request).select_related("storage_allowance"))
    context = {
        "rows": [(project, quota.known_allowance(project)) for project in projects],
        "newer_url": newer_url,
        "older_url": older_url,
    }
    return render(request, "datasets/storage.html", context)


def _projects(request: HttpRequest) -> QuerySet[Project]:
    """Those of the organization whose data the person may see, closed ones too: they keep data. None: 403."""
    organization = current_of(request).organization
    assert organization is not None
    found = Project.objects.filter(organization=organization)
    access = access_of(request.user)
    if access.may_in(organization, Permission.VIEW):
        return found
    here = access.projects_with(Permission.VIEW)
    if not found.filter(pk__in=here).exists():
        require(user_of(request), Permission.VIEW, organization)
    return found.filter(pk__in=here)
