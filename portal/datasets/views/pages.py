"""The list of datasets and one dataset with its files; both have the place to drop files."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db.models import Count, F, Q, QuerySet, Sum, Value
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_safe

from portal.accounts.access import access_of, require
from portal.accounts.context import Current, current_of
from portal.accounts.models import User
from portal.accounts.roles import Permission
from portal.catalog.pricing import storage_price_now
from portal.core.htmx import respond, wants_fragment
from portal.datasets import quota, uploading
from portal.datasets.forms import DeleteDatasetForm
from portal.datasets.models import DataFile, Dataset, DatasetShare, DatasetVersion, FileState, VersionState
from portal.datasets.places import storage_place
from portal.datasets.reading import StillRead, readers_of
from portal.datasets.removal import delete_dataset as remove_dataset
from portal.datasets.tallies import NOTHING, tallies_of, tally_of
from portal.datasets.views import places
from portal.datasets.views.finding import PAGE, find_dataset, number_in, page_of, projects_to_upload, user_of

VERSIONS = 10
UNFINISHED = 20


@login_required
@require_safe
def dataset_list(request: HttpRequest) -> HttpResponse:
    user, current = user_of(request), current_of(request)
    if current.organization is None:
        return respond(request, "datasets/list.html", "datasets/_list.html", {"nowhere": True})
    projects = projects_to_upload(user, current)
    own = _in_place(Dataset.objects.visible_to(user).kept().begun_for(user), user, current)
    received = _received_in_place(user, current)
    shared = Dataset.objects.filter(pk__in=received.values("dataset")).exclude(pk__in=own.values("pk"))
    with_names = [
        datasets.select_related("project", "created_by").annotate(is_own=Value(is_own))
        for datasets, is_own in ((own, True), (shared, False))
    ]
    rows, newer_url, older_url = page_of(request, *with_names)
    tallies, shares = tallies_of(rows), _shares(rows, received)
    context = {
        "rows": [(dataset, tallies.get(dataset.pk, NOTHING), shares.get(dataset.pk)) for dataset in rows],
        "newer_url": newer_url,
        "older_url": older_url,
        "here": request.get_full_path(),
        **_upload_place(user, _in_place(DataFile.objects.unfinished_of(user), user, current, "dataset__")),
        "projects": projects,
        "allowance": quota.allowance_of(projects[0]) if len(projects) == 1 else None,
        "may_upload": bool(projects),
    }
    return respond(request, "datasets/list.html", "datasets/_list.html", context)


@login_required
@require_safe
def detail(request: HttpRequest, code: str) -> HttpResponse:
    """The draft by path, what differs from the newest version, and the versions. `q`: the files whose path begins
    so. While something on the page is on its way, it refreshes by itself."""
    user, dataset = user_of(request), find_dataset(request, code)
    is_own = access_of(user).may_in(dataset.project, Permission.VIEW)
    tally = tally_of(dataset)
    beginning, show = _text(request, "q"), request.GET.get("show", "")
    files, pages = _files(request, dataset, beginning, show, is_own=is_own)
    older_versions = number_in(request, "versions_before")
    found = DatasetVersion.objects.filter(dataset=dataset).select_related("created_by").order_by("-number")
    versions = list((found.filter(number__lt=older_versions) if older_versions else found)[: VERSIONS + 1])
    may_change = access_of(user).may_in(dataset.project, Permission.UPLOAD)
    context = {
        "dataset": dataset,
        "share": None if is_own else _share_for(user, dataset),
        "receivers": dataset.shares.live().count() if is_own else 0,
        "files": files,
        "tally": tally,
        "q": beginning,
        "show": show,
        "versions": versions[:VERSIONS],
        "older_versions": versions[VERSIONS - 1].number if len(versions) > VERSIONS else 0,
        "newest_versions": bool(older_versions),
        "swapping": wants_fragment(request),
        "live": bool(tally.verifying or dataset.version_wanted_by_id)
        or any(version.state == VersionState.MAKING for version in versions),
        **pages,
        "here": request.get_full_path(),
        **_upload_place(user, DataFile.objects.unfinished_of(user).filter(dataset=dataset)),
        "allowance": quota.known_allowance(dataset.project),
        "may_upload": may_change and dataset.project.is_open and not dataset.removed_at,
        "may_delete": may_change and not dataset.removed_at,
        # A dataset whose last day is over is still here: jobs may read it.
        "waits_for": readers_of(dataset) if _is_overdue(dataset) else [],
        "certificate": dataset.certificates.first() if may_change and dataset.removed_at else None,
    }
    if is_own and not wants_fragment(request):
        context |= places.shown(request, dataset, files=tally.files, size_bytes=tally.size_bytes)
    return respond(request, "datasets/detail.html", "datasets/_files.html", context)


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def delete_dataset(request: HttpRequest, code: str) -> HttpResponse:
    """Says what goes, what stays and who reads it, and asks for a reason."""
    dataset = find_dataset(request, code)
    require(request.user, Permission.UPLOAD, dataset.project)
    if dataset.removed_at:
        return redirect("datasets:detail", dataset.code)
    form = DeleteDatasetForm(request.POST if request.method == "POST" else None)
    readers = readers_of(dataset)
    if form.is_bound and form.is_valid():
        try:
            certificate = remove_dataset(dataset, by=user_of(request), reason=form.cleaned_data["reason"])
        except StillRead as refused:
            readers = refused.readers
        else:
            messages.success(request, _("“%(name)s” was deleted.") % {"name": dataset.name})
            return redirect("datasets:certificate", certificate.code)
    files = DataFile.objects.filter(dataset=dataset)
    kept = Q(state__in=[FileState.READY, FileState.VERIFYING])
    sums = files.aggregate(
        files=Count("pk", filter=kept),
        size_bytes=Sum("size_bytes", filter=kept, default=0),
        unfinished=Count("pk", filter=Q(state=FileState.UPLOADING)),
    )
    context = {
        "dataset": dataset,
        "form": form,
        "sums": sums,
        "readers": [reader for reader in readers if reader.code],
        "foreign_readers": any(not reader.code for reader in readers),
    }
    return render(request, "datasets/delete_dataset.html", context, status=422 if form.is_bound else 200)


def _is_overdue(dataset: Dataset) -> bool:
    return not dataset.removed_at and dataset.expires_at is not None and dataset.expires_at <= timezone.now()


def _in_place(rows: Any, user: User, current: Current, prefix: str = "") -> Any:
    """Narrowed to the organization and project the person works in. Nothing there to see is a 403."""
    access = access_of(user)
    assert current.organization is not None
    if current.project is not None:
        require(user, Permission.VIEW, current.project)
        return rows.filter(**{f"{prefix}project": current.project})
    if access.may_in(current.organization, Permission.VIEW):
        return rows.filter(**{f"{prefix}organization": current.organization})
    seen = [project for project in current.projects if access.may_in(project, Permission.VIEW)]
    if not seen:
        require(user, Permission.VIEW, current.organization)
    return rows.filter(**{f"{prefix}project__in": seen})


def _received_in_place(user: User, current: Current) -> QuerySet[DatasetShare]:
    """Live shares with the organization and project the person works in."""
    assert current.organization is not None
    if current.project is not None:
        return DatasetShare.objects.to(current.project)
    return DatasetShare.objects.received_by(user).filter(to_organization=current.organization)


def _shares(datasets: list[Dataset], received: QuerySet[DatasetShare]) -> dict[int, DatasetShare]:
    """By dataset: of an own one a live share, if any; of another's that by which the place sees it. Of several the one
    that lasts longest. One statement."""
    own = [dataset for dataset in datasets if dataset.is_own]  # type: ignore[attr-defined]
    seen = DatasetShare.objects.filter(Q(dataset__in=own) | Q(dataset__in=datasets, pk__in=received.values("pk")))
    lasting = seen.live().select_related("organization", "dataset__project").order_by(F("until").desc(nulls_first=True))
    return {share.dataset_id: share for share in reversed(lasting)}


def _share_for(user: User, dataset: Dataset) -> DatasetShare | None:
    """By which somebody of another place sees the dataset: the one that lasts longest."""
    received = DatasetShare.objects.received_by(user).filter(dataset=dataset).select_related("organization")
    return received.order_by(F("until").desc(nulls_first=True)).first()


def _upload_place(user: User, unfinished: QuerySet[DataFile]) -> dict[str, Any]:
    return {
        "unfinished": list(unfinished.select_related("dataset__project")[:UNFINISHED]),
        "place": storage_place(),
        "price": storage_price_now(),
        "max_bytes": uploading.MAX_BYTES,
        "plain_max_bytes": uploading.PLAIN_MAX_BYTES,
    }


def _files(
    request: HttpRequest, dataset: Dataset, beginning: str, show: str, *, is_own: bool
) -> tuple[list[DataFile], dict[str, str]]:
    """By path, what was removed the newest first; and the pages before and after. To those it is shared with, what is
    verified."""
    every = DataFile.objects.filter(dataset=dataset).select_related("created_by")
    if not is_own:
        every = every.ready()
    if show == "removed":
        files, newer_url, older_url = page_of(
            request, every.filter(removed_in=dataset.next_number, added_in__isnull=False)
        )
        pages = {"newer_url": newer_url, "older_url": older_url}
    else:
        after = _text(request, "after_path")
        found = every.draft().exclude(state=FileState.UPLOADING).in_path_order(beginning=beginning, after=after)
        files = list(found[: PAGE + 1])
        searched = {"q": beginning} if beginning else {}
        more = {**searched, "after_path": files[PAGE - 1].name} if len(files) > PAGE else {}
        pages = {
            "first_url": f"{request.path}?{urlencode(searched)}" if after else "",
            "next_url": f"{request.path}?{urlencode(more)}" if more else "",
        }
        files = files[:PAGE]
    for file in files:
        file.dataset = dataset
    return files, pages


def _text(request: HttpRequest, name: str) -> str:
    return request.GET.get(name, "").replace("\0", "")[:1000]
