"""Versions of a dataset: making one, what is in one, its manifest, and how to get all of its files."""

from __future__ import annotations

import shlex
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from portal.accounts.access import access_of, require
from portal.accounts.models import User
from portal.accounts.roles import Permission
from portal.audit import recording as audit
from portal.core.limits import limited
from portal.datasets import fetching, storage, versions
from portal.datasets.drafts import NothingNew, VersionRefused
from portal.datasets.forms import VersionForm
from portal.datasets.models import DataFile, DatasetVersion, VersionState
from portal.datasets.views.admission import browser_or_terminal, is_covered, session_of
from portal.datasets.views.finding import find_dataset, find_version, user_of

PAGE = 100
LINK_S = 300


@browser_or_terminal
@require_POST
def make_version(request: HttpRequest, code: str) -> HttpResponse:
    """`note` as it is; with `wait` what is still on its way is waited for.

    JSON where it is accepted: {"state": "made" | "waiting" | "unchanged", "number", "url"}, or {"error"} with 422.
    """
    dataset = find_dataset(request, code)
    if not is_covered(request, dataset):
        raise Http404
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


@login_required
@require_safe
def version(request: HttpRequest, code: str, number: int) -> HttpResponse:
    """Its files by path, a page at a time; `q`: those whose path begins so."""
    found = find_version(request, code, number)
    beginning, after = _plain(request, "q"), _plain(request, "after")
    files = DataFile.objects.of_version(found).in_path_order(beginning=beginning, after=after)
    page = list(files[: PAGE + 1])
    for file in page:
        file.dataset = found.dataset
    further = {"q": beginning, "after": page[PAGE - 1].name} if len(page) > PAGE else {}
    context = {
        "dataset": found.dataset,
        "version": found,
        "is_own": access_of(user_of(request)).may_in(found.dataset.project, Permission.VIEW),
        "files": page[:PAGE],
        "q": beginning,
        "next_url": f"{request.path}?{urlencode(further)}" if further else "",
        "first_url": f"{request.path}?{urlencode({'q': beginning})}" if after else "",
    }
    return render(request, "datasets/version.html", context)


@login_required
@require_safe
@limited("download")
def manifest(request: HttpRequest, code: str, number: int) -> HttpResponse:
    """On to the store, for 300 s."""
    found = find_version(request, code, number)
    if found.state != VersionState.READY:
        messages.warning(request, _("Version %(n)s is still being made. Try again in a minute.") % {"n": number})
        return redirect("datasets:version", code, number)
    name = f"{found.dataset.folder}-v{number}.jsonl"
    _note("version.manifest_downloaded", found, user_of(request))
    return redirect(
        storage.presigned_get(
            found.manifest_key, expires_s=LINK_S, download_name=name, content_type="application/jsonl"
        )
    )


@login_required
@require_safe
def download(request: HttpRequest, code: str, number: int) -> HttpResponse:
    """Commands that fetch every file, each with an address that lives a day."""
    found = find_version(request, code, number)
    token = fetching.token_for(found, user_of(request), session_of(request))
    address = request.build_absolute_uri(reverse("datasets:fetch", args=[token]))
    folder = shlex.quote(f"{found.dataset.folder}-v{number}")
    context: dict[str, Any] = {
        "dataset": found.dataset,
        "version": found,
        "hours": fetching.LIFETIME_S // 3600,
        "curl": (
            f"mkdir -p {folder} && cd {folder} && curl -fsS '{address}?as=curl' |"
            " curl -fL --parallel --create-dirs --retry 5 --config -"
        ),
        "check": f"curl -fsS '{address}?as=sha256' | sha256sum --check --quiet && echo OK",
        "aria2": f"curl -fsS '{address}?as=aria2' | aria2c -i - -c -j 8 -d {folder}",
        "addresses": f"{address}?as=urls",
    }
    return render(request, "datasets/version_download.html", context)


def _note(act: str, version: DatasetVersion, by: User) -> None:
    dataset = version.dataset
    with transaction.atomic():
        audit.record(
            act,
            f"dataset:{dataset.code}",
            actor=f"user:{by.pk}",
            chain=dataset.organization.code,
            detail={"number": version.number, "manifest_sha256": version.manifest_sha256},
        )


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


def _plain(request: HttpRequest, name: str) -> str:
    return request.GET.get(name, "").replace("\0", "")[:1000]
