"""Files: how they are, one itself, its end."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_safe

from portal.accounts.access import require
from portal.accounts.roles import Permission
from portal.audit import recording as audit
from portal.core.limits import limited
from portal.datasets import storage
from portal.datasets.models import DataFile, FileState
from portal.datasets.removal import RemovalRefused, delete_file
from portal.datasets.views.admission import browser_or_terminal, is_covered
from portal.datasets.views.finding import find_file, user_of

DOWNLOAD_EXPIRES_S = 300


@browser_or_terminal
@require_safe
def states(request: HttpRequest) -> HttpResponse:
    """Of up to 100 files (`?files=CODE,CODE`) those that the person may see, by code."""
    codes = request.GET.get("files", "").replace("\0", "").split(",")[:100]
    files = DataFile.objects.visible_to(user_of(request)).filter(code__in=codes).select_related("dataset")
    return JsonResponse(
        {
            "files": {
                file.code: {"state": file.state, "failure": file.failure_text, "sha256": file.sha256}
                for file in files
                if is_covered(request, file.dataset)
            }
        }
    )


@login_required
@require_safe
@limited("download")
def download(request: HttpRequest, code: str) -> HttpResponse:
    """On to the store, for 300 s, under the name the person gave the file."""
    file = find_file(request, code)
    if file.state != FileState.READY:
        messages.warning(request, _("“%(name)s” is not ready to be downloaded.") % {"name": file.name})
        return redirect("datasets:detail", file.dataset.code)
    with transaction.atomic():
        project = file.dataset.project
        audit.record(
            "file.downloaded",
            f"file:{file.code}",
            actor=f"user:{user_of(request).pk}",
            chain=project.organization.code,
            detail={"project": project.code, "name": file.name},
        )
    return redirect(storage.presigned_get(file.storage_key, expires_s=DOWNLOAD_EXPIRES_S, download_name=file.base_name))


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def delete(request: HttpRequest, code: str) -> HttpResponse:
    file = find_file(request, code)
    require(request.user, Permission.UPLOAD, file.dataset.project)
    refused = ""
    if request.method == "POST":
        try:
            delete_file(file, by=user_of(request))
        except RemovalRefused as why:
            refused = str(why.message)
        else:
            if file.added_in is None:
                words = _("“%(name)s” was deleted.")
            else:
                words = _("“%(name)s” is not in the next version. The versions that have it keep it.")
            messages.success(request, words % {"name": file.name})
            return redirect("datasets:detail", file.dataset.code)
    context = {"file": file, "refused": refused}
    return render(request, "datasets/delete_file.html", context, status=422 if refused else 200)
