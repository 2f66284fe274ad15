"""A person's saved views of the list of jobs: keep, rename, delete."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from portal.accounts.context import current_of
from portal.jobs import saved_views
from portal.jobs.models import SavedView
from portal.jobs.views.filtering import projects_to_see, wanted_of
from portal.jobs.views.finding import user_of


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def views(request: HttpRequest) -> HttpResponse:
    """The filters to keep are those in the URL, as on the list. One form each: add, rename, delete."""
    user, current = user_of(request), current_of(request)
    if current.organization is None:
        return render(request, "jobs/views.html", {"nowhere": True})
    wanted = wanted_of(request.GET, current, projects_to_see(request, user, current))
    error, said = "", request.POST
    mine = SavedView.objects.filter(user=user, organization=current.organization)
    try:
        if request.method != "POST":
            pass
        elif "delete" in said or "rename" in said:
            view = get_object_or_404(mine, pk=_number(said.get("delete") or said.get("rename")))
            if "delete" in said:
                view.delete()
            else:
                saved_views.rename(view, name=said.get("name", ""))
            return redirect(request.get_full_path())
        else:
            saved_views.save(user, current.organization, name=said.get("name", ""), query=wanted.query)
            return redirect(f"{reverse('jobs:list')}?{wanted.query}")
    except saved_views.NotSaved as no:
        error = str(no.message)
    context = {
        "views": saved_views.views_of(user, current.organization),
        "wanted": wanted,
        "error": error,
        "wrong": _number(said.get("rename")),
        "typed": said.get("name", ""),
        "name_max": saved_views.NAME_MAX,
    }
    return render(request, "jobs/views.html", context, status=422 if error else 200)


def _number(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 10 else 0
