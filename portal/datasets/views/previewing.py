"""A file's preview: a page of the portal around a frame that has no origin, so that nothing in it could act as us."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

from csp.constants import NONE, SELF
from csp.decorators import csp, csp_update
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.clickjacking import xframe_options_sameorigin
from django.views.decorators.http import require_safe

from portal.accounts.access import access_of
from portal.accounts.roles import Permission
from portal.audit import recording as audit
from portal.core.limits import limited
from portal.datasets import preview, storage
from portal.datasets.models import FileState
from portal.datasets.views.finding import find_file, user_of

View = Callable[..., HttpResponse]

IMAGE_EXPIRES_S = 60
_STORE = "{0.scheme}://{0.netloc}".format(urlsplit(settings.S3_PUBLIC_ENDPOINT))
_NO_ORIGIN = {
    "sandbox": [],
    "default-src": [NONE],
    "style-src": [SELF],
    "img-src": [_STORE],
    "frame-ancestors": [SELF],
    "base-uri": [NONE],
    "form-action": [NONE],
}


@dataclass(frozen=True)
class Looked:
    """A stored object that somebody looks at."""

    name: str
    storage_key: str
    size_bytes: int


def around_frame(view: View) -> View:
    """For pages that hold such a frame."""
    return cast(View, csp_update({"frame-src": [SELF]})(view))  # type: ignore[arg-type]  # typed for a lone request


def in_frame(view: View) -> View:
    """For what stands in it."""
    return cast(View, xframe_options_sameorigin(csp(_NO_ORIGIN)(view)))  # type: ignore[arg-type]  # as above


@login_required
@require_safe
@around_frame
def page(request: HttpRequest, code: str) -> HttpResponse:
    file = find_file(request, code)
    if file.state != FileState.READY:
        messages.warning(request, _("“%(name)s” is not ready to be looked at.") % {"name": file.name})
        return redirect("datasets:detail", file.dataset.code)
    is_own = access_of(user_of(request)).may_in(file.dataset.project, Permission.VIEW)
    return render(request, "datasets/preview.html", {"file": file, "is_own": is_own})


@login_required
@require_safe
@limited("download")
@in_frame
def content(request: HttpRequest, code: str) -> HttpResponse:
    file = find_file(request, code)
    project = file.dataset.project

    def note() -> None:
        audit.record(
            "file.previewed",
            f"file:{file.code}",
            actor=f"user:{user_of(request).pk}",
            chain=project.organization.code,
            detail={"project": project.code, "name": file.name},
        )

    looked = Looked(file.name, file.storage_key, file.size_bytes) if file.state == FileState.READY else None
    return content_of(request, looked, note=note)


def content_of(request: HttpRequest, looked: Looked | None, *, note: Callable[[], None]) -> HttpResponse:
    """What stands in the frame; nothing of None. `note` tells the audit trail, for which reading is a download."""
    context: dict[str, object] = {"kind": "Nothing", "name": looked.name if looked else ""}
    status = 200
    if looked is not None:
        try:
            seen = preview.preview_of(looked.name, key=looked.storage_key, size_bytes=looked.size_bytes)
        except storage.StorageError:
            context["kind"], status = "Away", 503
        else:
            context |= {"kind": type(seen).__name__, "seen": seen}
            if isinstance(seen, preview.Image):
                context["address"] = storage.presigned_get(
                    looked.storage_key, expires_s=IMAGE_EXPIRES_S, content_type=seen.content_type
                )
            with transaction.atomic():
                note()
    return render(request, "datasets/preview_content.html", context, status=status)
