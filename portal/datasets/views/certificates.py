"""Deletion certificates: of the organization, one with its entries, and as a file."""

from __future__ import annotations

import json
from collections.abc import Iterator

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.db.models import Count, Q, Sum
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_safe

from portal.accounts.access import access_of, require
from portal.accounts.context import current_of
from portal.accounts.roles import Permission
from portal.core.htmx import respond
from portal.core.limits import limited
from portal.datasets import certificates
from portal.datasets.models import DeletionCause, DeletionCertificate, StorageSite
from portal.datasets.places import storage_place
from portal.datasets.views.finding import find_certificate, page_of, user_of


@login_required
@require_safe
def certificate_list(request: HttpRequest) -> HttpResponse:
    user, organization = user_of(request), current_of(request).organization
    if organization is None:
        return redirect("home:start")
    if not any(access_of(user).may_in(project, Permission.UPLOAD) for project in current_of(request).projects):
        require(user, Permission.UPLOAD, organization)
    found = DeletionCertificate.objects.visible_to(user).filter(organization=organization)
    rows, newer_url, older_url = page_of(request, found.select_related("project", "by"))
    context = {"rows": rows, "newer_url": newer_url, "older_url": older_url}
    return render(request, "datasets/certificates.html", context)


@login_required
@require_safe
def certificate(request: HttpRequest, code: str) -> HttpResponse:
    """While the store has not confirmed everything, the page refreshes by itself."""
    found = find_certificate(request, code)
    entries, newer_url, older_url = page_of(request, found.entries.all())
    names = {site.slug: site.name for site in StorageSite.objects.all()}
    for entry in entries:
        # In the reader's language; the entry keeps the name that it was listed with, under its hash.
        primary = storage_place() if entry.endpoint == settings.S3_ENDPOINT else entry.site
        entry.place = names.get(entry.copy_site, entry.site) if entry.copy_site else primary
    sums = found.entries.aggregate(
        entries=Count("pk"),
        confirmed=Count("pk", filter=Q(confirmed_at__isnull=False)),
        size_bytes=Sum("size_bytes", default=0),
    )
    context = {
        "certificate": found,
        "cause": DeletionCause(found.cause).label,
        "entries": entries,
        "sums": sums,
        "newer_url": newer_url,
        "older_url": older_url,
        "here": request.get_full_path(),
    }
    return respond(request, "datasets/certificate.html", "datasets/_certificate.html", context)


@login_required
@require_safe
@limited("download")
def as_json(request: HttpRequest, code: str) -> StreamingHttpResponse:
    """A million entries pass through one batch at a time. The entries are lines whose SHA-256 is `entries_sha256`."""
    found = find_certificate(request, code)
    response = StreamingHttpResponse(_json(found), content_type="application/json")
    response["Content-Disposition"] = f'attachment; filename="deletion-{found.code}.json"'
    return response


def _json(found: DeletionCertificate) -> Iterator[str]:
    head = {
        "certificate": found.code,
        "organization": {"code": found.organization.code, "name": found.organization.name},
        "project": {"code": found.project.code, "name": found.project.name},
        "dataset": {"code": found.dataset.code, "name": found.dataset_name},
        "cause": found.cause,
        "by": str(found.by) if found.by else None,
        "reason": found.reason,
        "at": certificates.instant(found.at),
        "complete": found.completed_at is not None,
        "completed_at": certificates.instant(found.completed_at),
        "entries_sha256": found.entries_sha256,
    }
    yield json.dumps(head, ensure_ascii=False, indent=1)[:-2] + ',\n "entries": ['
    separator = "\n"
    for line in certificates.lines_of(found):
        yield separator + line
        separator = ",\n"
    yield "\n]}\n"
