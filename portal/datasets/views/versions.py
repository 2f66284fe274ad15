"""Versions of a dataset: making one, what is in one, its manifest, and how to get all of its files."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from portal.accounts.access import require
from portal.accounts.roles import Permission
from portal.datasets import versions
from portal.datasets.drafts import NothingNew, VersionRefused
from portal.datasets.forms import VersionForm
from portal.datasets.views.finding import find_dataset, user_of


@login_required
@require_POST
def make_version(request: HttpRequest, code: str) -> HttpResponse:
    """`note` as it is; with `wait` what is still on its way is waited for.

    JSON where it is accepted: {"state": "made" | "waiting" | "unchanged", "number", "url"}, or {"error"} with 422.
    """
    dataset = find_dataset(request, code)
    require(request.user, Permission.UPLOAD, dataset.project)
    form = VersionForm(request.POST)
    if not form.is_valid():
        return _refused(request, code, " ".join(str(error) for errors in form.errors.values() for error in errors))
    make = versions.make_when_verified if form.cleaned_data["wait"] else versions.make
    try:
        version = make(dataset, by=user_of(request), note=form.cleaned_data["note"])
    except NothingNew as why:
        if form.cleaned_data["wait"]:
            return _made(request, code, "unchanged", dataset.latest_number, str(why.message))
        return _refused(request, code, str(why.message))
    except VersionRefused as why:
        return _refused(request, code, str(why.message))
    if version is None:
        words = _("Version %(n)s is made as soon as every file is verified.") % {"n": dataset.next_number}
        return _made(request, code, "waiting", dataset.next_number, words)
    return _made(request, code, "made", version.number, _("Version %(n)s was made.") % {"n": version.number})


def _made(request: HttpRequest, code: str, state: str, number: int, words: str) -> HttpResponse:
    if _wants_json(request):
        return JsonResponse({"state": state, "number": number, "url": reverse("datasets:detail", args=[code])})
    messages.success(request, words)
    return redirect("datasets:detail", code)


def _refused(request: HttpRequest, code: str, sentence: str) -> HttpResponse:
    if _wants_json(request):
        return JsonResponse({"error": sentence}, status=422)
    messages.error(request, sentence)
    return redirect("datasets:detail", code)


def _wants_json(request: HttpRequest) -> bool:
    return request.headers.get("Accept", "").startswith("application/json")
