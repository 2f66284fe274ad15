"""Which copies there are to be, and which is nearest. The copying itself is in copying.py; here nothing leaves.

A ready file has a copy row at the primary site (its own bytes) and at each site its dataset is kept at. `place` writes
them with the file's becoming ready; `plan` catches up for the files that were there before the wish.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Case, Count, Exists, IntegerField, OuterRef, QuerySet, Sum, Value, When

from portal.datasets import drafts, residency, storage
from portal.datasets.models import Copy, CopyState, DataFile, FileState, Keeping, StorageSite
from portal.datasets.models import PlaceAct as Act
from portal.datasets.sites import primary_site, store_of
from portal.datasets.storage import Store

VERIFY_EVERY = timedelta(days=30)
AT_ONCE = 500
LISTED = (CopyState.WANTED, CopyState.COPYING, CopyState.VERIFIED, CopyState.BROKEN)


# --- rows ------------------------------------------------------------------------------------------------------------


def place(files: Sequence[DataFile]) -> None:
    """Write down where these ready files of one dataset are, and what copies they are to have.

    Inside a transaction that has locked the dataset (drafts.lock), as has who changes where it is kept; `files` come
    with dataset and organization.
    """
    primary = primary_site()
    store, dataset = storage.primary(), files[0].dataset
    kept = list(StorageSite.objects.filter(keepings__dataset=dataset, keepings__ending=False))
    came = residency.arrived([(file, primary, store, min(file.active_at, _ready_at(file))) for file in files])
    own = [
        Copy(
            **_facts(file),
            site=primary,
            state=CopyState.VERIFIED,
            arrival=event.pk,
            verified_at=file.ready_at,
            verify_after=_ready_at(file) + VERIFY_EVERY,
        )
        for file, event in zip(files, came, strict=True)
    ]
    residency.note(Act.VERIFIED, [(copy, _ready_at(file)) for file, copy in zip(files, own, strict=True)])
    Copy.objects.bulk_create([*own, *(Copy(**_facts(file), site=site) for file in files for site in kept)])
    DataFile.objects.filter(pk__in=[file.pk for file in files]).update(placed=True)


def place_unplaced() -> int:
    """Files that became ready without a word. Returns how many."""
    waiting = DataFile.objects.filter(state=FileState.READY, placed=False)
    dataset_id = waiting.order_by("pk").values_list("dataset_id", flat=True).first()
    if dataset_id is None:
        return 0
    with transaction.atomic():
        drafts.lock(dataset_id)
        files = list(
            waiting.filter(dataset_id=dataset_id).select_related("dataset__organization").order_by("pk")[:AT_ONCE]
        )
        if files:
            place(files)
    return len(files)


def plan(keeping_id: int) -> bool:
    """The next few hundred copies of a keeping. False: there is nothing left to plan now."""
    dataset_id = Keeping.objects.filter(pk=keeping_id).values_list("dataset_id", flat=True).first()
    if dataset_id is None:
        return False
    with transaction.atomic():
        drafts.lock(dataset_id)  # a dataset that is deleted meanwhile gets no copies that its certificate misses
        keeping = Keeping.objects.select_for_update().filter(pk=keeping_id, planned=False).first()
        if keeping is None:
            return False
        return _give_up_some(keeping) if keeping.ending else _ask_for_some(keeping)


def _ask_for_some(keeping: Keeping) -> bool:
    ready = DataFile.objects.filter(dataset_id=keeping.dataset_id, state=FileState.READY, pk__gt=keeping.planned_to)
    files = list(ready.order_by("pk")[:AT_ONCE])
    Copy.objects.bulk_create([Copy(**_facts(file), site_id=keeping.site_id) for file in files], ignore_conflicts=True)
    # Given up before: asked for again. Whoever is removing it now has it until its lease ends.
    before = Copy.objects.filter(site_id=keeping.site_id, file__in=files)
    before.filter(state=CopyState.GONE).update(state=CopyState.WANTED, not_before=None, arrival=None)
    before.filter(state=CopyState.REMOVING).update(state=CopyState.WANTED, not_before=None)
    return _went_to(keeping, [file.pk for file in files], over=len(files) < AT_ONCE)


def _give_up_some(keeping: Keeping) -> bool:
    """Never the last good one: it stays until the primary site's is whole again."""
    copies = Copy.objects.filter(site_id=keeping.site_id, dataset_id=keeping.dataset_id, state__in=LISTED)
    good = Copy.objects.filter(file=OuterRef("file"), site__is_primary=True, state=CopyState.VERIFIED)
    free = copies.filter(Exists(good))
    Copy.objects.filter(pk__in=list(free.values_list("pk", flat=True)[:AT_ONCE])).update(
        state=CopyState.REMOVING, not_before=None
    )
    if not copies.exists():
        keeping.delete()
        return False
    return free.exists()


def _went_to(keeping: Keeping, pks: list[int], *, over: bool) -> bool:
    keeping.planned_to, keeping.planned = max([keeping.planned_to, *pks]), over
    keeping.save(update_fields=["planned_to", "planned"])
    return not over


def give_up(storage_key: str) -> None:
    """Its bytes go at every site. Called with each key that nobody needs any more."""
    Copy.objects.filter(storage_key=storage_key).exclude(state__in=[CopyState.REMOVING, CopyState.GONE]).update(
        state=CopyState.REMOVING, not_before=None
    )


def _facts(file: DataFile) -> dict[str, object]:
    return {
        "file_id": file.pk,
        "dataset_id": file.dataset_id,
        "storage_key": file.storage_key,
        "size_bytes": file.size_bytes,
        "sha256": file.sha256,
    }


def _ready_at(file: DataFile) -> datetime:
    assert file.ready_at is not None  # file_ready_means_verified
    return file.ready_at


# --- reading ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Source:
    """Where a file is read from."""

    site: StorageSite
    store: Store


@dataclass(frozen=True)
class Address:
    """A presigned GET, and whose it is."""

    url: str
    site: str  # slug


@dataclass(frozen=True)
class Held:
    """How much of some files is verified at one site: for placing a job near its data."""

    site: str  # slug
    name: str  # in the language of who asks
    provider: str  # catalog.Provider's slug, or empty
    failing: bool
    files: int
    size_bytes: int


def nearest(files: Iterable[DataFile], *, provider: str = "") -> dict[int, Source]:
    """By file id: the verified copy at a site that answers, the provider's own first, then the primary site's.

    A file without any such copy is read at the primary site, where it is ready.
    """
    wanted = [file.pk for file in files]
    if not wanted:
        return {}
    sites = {site.pk: site for site in StorageSite.objects.filter(enabled=True)}
    primary = next((site for site in sites.values() if site.is_primary), None) or primary_site()
    best = dict.fromkeys(wanted, primary)
    if len(sites) > 1 or primary.failing_since:
        rows = Copy.objects.filter(file__in=wanted, site__in=sites, state=CopyState.VERIFIED)
        rows = rows.annotate(rank=_rank(provider)).order_by("file_id", "rank", "site_id").distinct("file_id")
        best |= {pk: sites[site] for pk, site in rows.values_list("file_id", "site_id")}
    stores = {site.pk: store_of(site) for site in best.values()}
    return {pk: Source(site, stores[site.pk]) for pk, site in best.items()}


def addresses_for(files: Sequence[DataFile], provider: str, *, expires_s: int) -> dict[int, Address]:
    """By file id, for a machine of this provider (slug)."""
    sources = nearest(files, provider=provider)
    return {
        file.pk: Address(
            storage.presigned_get(file.storage_key, expires_s=expires_s, at=sources[file.pk].store),
            sources[file.pk].site.slug,
        )
        for file in files
    }


def held_at(files: QuerySet[DataFile]) -> list[Held]:
    """One row for each site that has any of these files, most bytes first. Two statements."""
    rows = (
        Copy.objects.filter(file__in=files, state=CopyState.VERIFIED, site__enabled=True)
        .values("site")
        .annotate(files=Count("pk"), size=Sum("size_bytes"))
        .order_by("-size", "site__slug")
    )
    found = list(rows)
    sites = StorageSite.objects.in_bulk([row["site"] for row in found])
    return [
        Held(site.slug, site.name, site.provider, site.failing_since is not None, row["files"], row["size"])
        for row in found
        for site in [sites[row["site"]]]
    ]


def _rank(provider: str) -> Case:
    own = When(site__provider=provider, then=Value(1)) if provider else When(pk=None, then=Value(1))
    return Case(
        When(site__failing_since__isnull=False, then=Value(9)),
        own,
        When(site__is_primary=True, then=Value(2)),
        default=Value(3),
        output_field=IntegerField(),
    )
