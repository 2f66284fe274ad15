"""A file's preview: a page of the portal around a frame that has no origin, so that nothing in it could act as us."""

from __future__ import annotations

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

from portal.audit import recording as audit
from portal.core.limits import limited
from portal.datasets import preview, storage
from portal.datasets.models import FileState
from portal.datasets.views.finding import find_file, user_of

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


@login_required
@require_safe
@csp_update({"frame-src": [SELF]})  # type: ignore[arg-type]  # typed for views without arguments
def page(request: HttpRequest, code: str) -> HttpResponse:
    file = find_file(request, code)
    if file.state != FileState.READY:
        messages.warning(request, _("“%(name)s” is not ready to be looked at.") % {"name": file.name})
        return redirect("datasets:detail", file.dataset.code)
    return render(request, "datasets/preview.html", {"file": file})


@login_required
@require_safe
@limited("download")
@xframe_options_sameorigin
@csp(_NO_ORIGIN)  # type: ignore[arg-type]  # as above
def content(request: HttpRequest, code: str) -> HttpResponse:
    """What stands in the frame. Reading it is a download as far as the audit trail goes."""
    file = find_file(request, code)
    context: dict[str, object] = {"file": file}
    status = 200
    if file.state != FileState.READY:
        context["kind"] = "Nothing"
    else:
        try:
            seen = preview.preview_of(file.name, key=file.storage_key, size_bytes=file.size_bytes)
        except storage.StorageError:
            context["kind"], status = "Away", 503
        else:
            context |= {"kind": type(seen).__name__, "seen": seen}
            if isinstance(seen, preview.Image):
                context["address"] = storage.presigned_get(
                    file.storage_key, expires_s=IMAGE_EXPIRES_S, content_type=seen.content_type
                )
            project = file.dataset.project
            with transaction.atomic():
                audit.record(
                    "file.previewed",
                    f"file:{file.code}",
                    actor=f"user:{user_of(request).pk}",
                    chain=project.organization.code,
                    detail={"project": project.code, "name": file.name},
                )
    return render(request, "datasets/preview_content.html", context, status=status)
