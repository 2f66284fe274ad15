"""Where a dataset is kept, and how far its copies have come."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db.models import Count, Exists, OuterRef, Sum
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from portal.accounts.access import access_of, require
from portal.accounts.roles import Permission
from portal.core.htmx import respond
from portal.datasets.copies import LISTED
from portal.datasets.keeping import KeepingRefused, keep_at
from portal.datasets.models import Copy, CopyState, Dataset, Keeping, StorageSite
from portal.datasets.tallies import tally_of
from portal.datasets.views.finding import find_dataset, user_of

_UNDER_WAY = (CopyState.WANTED, CopyState.COPYING)


@dataclass(frozen=True)
class Row:
    """One site of one dataset. `percent` is of the bytes, of copies that are not verified yet too."""

    site: StorageSite
    kept: bool
    files: int  # that are to be there
    size_bytes: int
    done_files: int
    done_bytes: int
    damaged: int
    removing: int

    @property
    def is_complete(self) -> bool:
        return self.done_files >= self.files and not self.damaged

    @property
    def is_live(self) -> bool:
        return bool(self.removing or (self.kept and not self.is_complete))


def shown(request: HttpRequest, dataset: Dataset, *, files: int, size_bytes: int) -> dict[str, Any]:
    """What templates/datasets/_places.html needs, given how much of the dataset is ready: two statements, however many
    files and copies there are."""
    rows = [row for row in _rows(dataset, files, size_bytes) if row.site.enabled or row.done_files]
    return {
        "places": rows,
        "places_live": any(row.is_live for row in rows),
        "may_keep": access_of(user_of(request)).may_in(dataset.project, Permission.UPLOAD)
        and any(not row.site.is_primary for row in rows),
    }


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def places(request: HttpRequest, code: str) -> HttpResponse:
    """GET: the part of the dataset's page, alone. POST: at which sites it is to be kept."""
    dataset = _own(request, code)
    if request.method == "POST":
        require(request.user, Permission.UPLOAD, dataset.project)
        try:
            changed = keep_at(dataset, request.POST.getlist("site"), by=user_of(request))
        except KeepingRefused as refused:
            messages.error(request, str(refused.message % (refused.params or {})))
        else:
            said = (
                _("Saved. Copies are made and removed in the background.") if changed else _("Nothing was different.")
            )
            messages.success(request, said)
        return redirect("datasets:detail", dataset.code)
    tally = tally_of(dataset)
    context = {"dataset": dataset, **shown(request, dataset, files=tally.files, size_bytes=tally.size_bytes)}
    return respond(request, "datasets/places.html", "datasets/_places.html", context)


def _own(request: HttpRequest, code: str) -> Dataset:
    """Not for those the dataset is only shared with."""
    dataset = find_dataset(request, code)
    require(request.user, Permission.VIEW, dataset.project)
    return dataset


def _rows(dataset: Dataset, files: int, size_bytes: int) -> list[Row]:
    counted: dict[int, dict[str, dict[str, Any]]] = {}
    sums = Copy.objects.filter(dataset=dataset).exclude(state=CopyState.GONE).values("site_id", "state")
    for found in sums.annotate(files=Count("pk"), size=Sum("size_bytes"), sent=Sum("sent_bytes")).order_by():
        counted.setdefault(found["site_id"], {})[found["state"]] = dict(found)
    keeping = Keeping.objects.filter(dataset=dataset, site=OuterRef("pk"), ending=False)
    rows = []
    for site in StorageSite.objects.annotate(kept=Exists(keeping)).order_by("-is_primary", "pk"):
        states = counted.get(site.pk, {})
        is_kept = site.is_primary or site.kept
        verified = states.get(CopyState.VERIFIED, {})
        rows.append(
            Row(
                site=site,
                kept=is_kept,
                files=files if is_kept else sum(states.get(state, {}).get("files", 0) for state in LISTED),
                size_bytes=size_bytes if is_kept else 0,
                done_files=verified.get("files", 0),
                done_bytes=verified.get("size", 0) + sum(states.get(s, {}).get("sent", 0) for s in _UNDER_WAY),
                damaged=states.get(CopyState.BROKEN, {}).get("files", 0),
                removing=states.get(CopyState.REMOVING, {}).get("files", 0),
            )
        )
    return rows
