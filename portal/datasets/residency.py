"""The place log: where the bytes of each file came to, were verified, and left. The report is made of it alone.

Versions' manifests are objects too. They lie at the primary site, and their code is v-<number> where files have f-….
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from itertools import groupby

from portal.datasets.models import Copy, DataFile, DatasetVersion, PlaceAct, PlaceEvent, StorageSite
from portal.datasets.storage import Store

# --- the log ---------------------------------------------------------------------------------------------------------


def arrived(stays: Sequence[tuple[DataFile, StorageSite, Store, datetime]]) -> list[PlaceEvent]:
    """Files, each come to a site at a time; they have their dataset and organization with them."""
    return PlaceEvent.objects.bulk_create(_arrival(*stay) for stay in stays)


def _arrival(file: DataFile, site: StorageSite, store: Store, at: datetime) -> PlaceEvent:
    return PlaceEvent(
        file_code=file.code,
        dataset_code=file.dataset.code,
        organization_code=file.dataset.organization.code,
        name=file.name,
        site=site.slug,
        region=site.region,
        country=site.country,
        endpoint=store.endpoint,
        bucket=store.bucket,
        storage_key=file.storage_key,
        act=PlaceAct.ARRIVED,
        at=at,
        sha256=file.sha256,
        size_bytes=file.size_bytes,
    )


def note(act: PlaceAct, copies: Sequence[tuple[Copy, datetime]]) -> None:
    """For copies that have arrived, each at its time; the event is like that of the arrival."""
    came = PlaceEvent.objects.in_bulk([copy.arrival for copy, _at in copies if copy.arrival is not None])
    PlaceEvent.objects.bulk_create(
        _like(came[copy.arrival], act=act, at=at) for copy, at in copies if copy.arrival is not None
    )


def note_stray(copy: Copy, store: Store, *, at: datetime) -> None:
    """Bytes whose arrival nobody lived to write down, found when they were removed: both are told now."""
    siblings = Copy.objects.filter(storage_key=copy.storage_key).exclude(arrival=None)
    came = PlaceEvent.objects.filter(pk__in=siblings.values("arrival")).first()
    if came is None:
        return
    site = copy.site
    place = {
        "site": site.slug,
        "region": site.region,
        "country": site.country,
        "endpoint": store.endpoint,
        "bucket": store.bucket,
    }
    PlaceEvent.objects.bulk_create(_like(came, act=act, at=at, **place) for act in (PlaceAct.ARRIVED, PlaceAct.LEFT))


def manifest_arrived(
    version: DatasetVersion, site: StorageSite, store: Store, *, size_bytes: int, at: datetime
) -> None:
    """It came and was read back equal. `version` has its key and hash, its dataset and organization."""
    came = PlaceEvent(
        file_code=code_of_manifest(version.number),
        dataset_code=version.dataset.code,
        organization_code=version.dataset.organization.code,
        name=f"manifest-v{version.number}.jsonl",
        site=site.slug,
        region=site.region,
        country=site.country,
        endpoint=store.endpoint,
        bucket=store.bucket,
        storage_key=version.manifest_key,
        act=PlaceAct.ARRIVED,
        at=at,
        sha256=version.manifest_sha256,
        size_bytes=size_bytes,
    )
    PlaceEvent.objects.bulk_create([came, _like(came, act=PlaceAct.VERIFIED)])


def manifest_left(dataset_code: str, number: int, *, at: datetime) -> None:
    """Nothing is noted of one that never was there."""
    of_manifest = PlaceEvent.objects.filter(dataset_code=dataset_code, file_code=code_of_manifest(number))
    newest = of_manifest.order_by("-pk").first()
    if newest is not None and newest.act != PlaceAct.LEFT:
        _like(newest, act=PlaceAct.LEFT, at=at).save()


def code_of_manifest(number: int) -> str:
    return f"v-{number}"


def _like(event: PlaceEvent, **changes: object) -> PlaceEvent:
    same = {field.attname: getattr(event, field.attname) for field in PlaceEvent._meta.fields if field.name != "id"}
    return PlaceEvent(**{**same, **changes})


# --- the report ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stay:
    """One object at one place, from its arrival until it left (None: it is there). `verified_at` is the last time its
    bytes were read back and equal; `damaged_at` is set while they are known to be not."""

    file: str  # code
    name: str
    site: str
    region: str
    country: str
    endpoint: str
    bucket: str
    key: str
    size_bytes: int
    sha256: str
    arrived_at: datetime
    verified_at: datetime | None
    damaged_at: datetime | None
    left_at: datetime | None

    @property
    def manifest_of(self) -> int | None:
        """The number of the version whose manifest this is; None: a file."""
        return int(self.file[2:]) if self.file.startswith("v-") else None


COLUMNS = tuple(field.name for field in fields(Stay))


def report(dataset_code: str, *, files: Sequence[str] | None = None) -> Iterator[Stay]:
    """By file code, then by site and arrival. `files`: of these codes alone. A million objects take no more memory
    than one."""
    events = PlaceEvent.objects.filter(dataset_code=dataset_code).order_by("file_code", "pk")
    if files is not None:
        events = events.filter(file_code__in=files)
    for _code, of_one in groupby(events.iterator(2000), key=lambda event: event.file_code):
        yield from _stays(of_one)


def file_codes(dataset_code: str, *, after: str, limit: int) -> list[str]:
    """The files that the log knows of this dataset, in the order of the report."""
    codes = PlaceEvent.objects.filter(dataset_code=dataset_code, file_code__gt=after).order_by("file_code")
    return list(codes.values_list("file_code", flat=True).distinct()[:limit])


def report_json(dataset_code: str) -> Iterator[str]:
    """One stay a line, so that two reports can be compared by line."""
    yield f'{{"dataset": {json.dumps(dataset_code)}, "stays": ['
    before = "\n"
    for stay in report(dataset_code):
        yield before + json.dumps(as_texts(stay), ensure_ascii=False)
        before = ",\n"
    yield "\n]}\n"


def as_texts(stay: Stay) -> dict[str, str | int | None]:
    """Instants in UTC (ISO 8601)."""
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in asdict(stay).items()}


def _stays(events: Iterable[PlaceEvent]) -> list[Stay]:
    """Of one file. An object that arrives where it still is was written again: it is the same stay."""
    done: list[Stay] = []
    open_: dict[tuple[str, str], Stay] = {}
    for event in events:
        where = (event.site, event.storage_key)
        stay = open_.get(where)
        if event.act == PlaceAct.ARRIVED and stay is None:
            open_[where] = _begun(event)
        elif stay is None:
            continue
        elif event.act == PlaceAct.ARRIVED:
            open_[where] = replace(stay, endpoint=event.endpoint, bucket=event.bucket, region=event.region)
        elif event.act == PlaceAct.VERIFIED:
            open_[where] = replace(stay, verified_at=event.at, damaged_at=None)
        elif event.act == PlaceAct.DAMAGED:
            open_[where] = replace(stay, damaged_at=event.at)
        else:
            done.append(replace(open_.pop(where), left_at=event.at))
    return sorted([*done, *open_.values()], key=lambda stay: (stay.site, stay.arrived_at))


def _begun(event: PlaceEvent) -> Stay:
    return Stay(
        file=event.file_code,
        name=event.name,
        site=event.site,
        region=event.region,
        country=event.country,
        endpoint=event.endpoint,
        bucket=event.bucket,
        key=event.storage_key,
        size_bytes=event.size_bytes,
        sha256=event.sha256,
        arrived_at=event.at,
        verified_at=None,
        damaged_at=None,
        left_at=None,
    )
