"""For programs that have an address and no session: a version's files, listed and one by one."""

from __future__ import annotations

from collections.abc import Iterator

from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from portal.accounts.models import User
from portal.audit import recording as audit
from portal.core.limits import wait_for
from portal.datasets import storage
from portal.datasets.fetching import KINDS, list_of, opened
from portal.datasets.models import DataFile, DatasetVersion

ADDRESS_EXPIRES_S = 300
LINES_AT_ONCE = 200


@require_safe
def fetch(request: HttpRequest, token: str) -> HttpResponseBase:
    """`as`: curl, aria2, sha256 or urls. The list is written as it is read: memory does not grow with it."""
    person, version = _opened(token)
    kind = request.GET.get("as", "")
    if kind not in KINDS:
        return HttpResponse(_("Say ?as=curl, aria2, sha256 or urls.") + "\n", status=400, content_type=TEXT)
    with transaction.atomic():
        audit.record(
            "version.listed_to_download",
            f"dataset:{version.dataset.code}",
            actor=f"user:{person.pk}",
            chain=version.dataset.organization.code,
            detail={"number": version.number, "manifest_sha256": version.manifest_sha256, "as": kind},
        )
    place = request.build_absolute_uri(reverse("datasets:fetch_file", args=[token, "f"])).removesuffix("f/")
    lines = list_of(version, kind, lambda file: f"{place}{file.code}/")
    return StreamingHttpResponse(_some_at_a_time(lines), content_type=TEXT)


@require_safe
def fetch_file(request: HttpRequest, token: str, code: str) -> HttpResponse:
    person, version = _opened(token)
    request.user = person
    if wait_s := wait_for(request, "fetch"):
        busy = HttpResponse(_("Too many requests. Wait a minute and try again.") + "\n", status=429, content_type=TEXT)
        busy["Retry-After"] = str(wait_s)
        return busy
    file = DataFile.objects.of_version(version).filter(code=code.replace("\0", "")).first()
    if file is None:
        raise Http404
    name = file.name.rpartition("/")[2]
    return redirect(storage.presigned_get(file.storage_key, expires_s=ADDRESS_EXPIRES_S, download_name=name))


TEXT = "text/plain; charset=utf-8"


def _opened(token: str) -> tuple[User, DatasetVersion]:
    found = opened(token.replace("\0", ""))
    if found is None:
        raise Http404
    return found


def _some_at_a_time(lines: Iterator[str]) -> Iterator[str]:
    waiting: list[str] = []
    for line in lines:
        waiting.append(line)
        if len(waiting) == LINES_AT_ONCE:
            yield "".join(waiting)
            waiting.clear()
    yield "".join(waiting)
