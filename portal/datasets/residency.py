"""The place log: where the bytes of each object came to, were verified, and left. The report is made of it alone.

An object belongs to a dataset or to a job. A dataset has files (their code is f-…) and manifests of its versions
(v-<number>); a job has the files it left (a-…) and what its runs needed and sent (log-<number of the run>, and the
other codes of LABELS). All but files lie at the primary site alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from itertools import groupby

from django.utils.translation import gettext_lazy as _

from portal.datasets import storage
from portal.datasets.models import (
    Copy,
    DataFile,
    Dataset,
    DatasetVersion,
    PlaceAct,
    PlaceEvent,
    StorageSite,
    VersionState,
)
from portal.datasets.sites import primary_by_settings
from portal.datasets.storage import Store

# --- the log ---------------------------------------------------------------------------------------------------------


def arrived(stays: Sequence[tuple[DataFile, StorageSite, Store, datetime]]) -> list[PlaceEvent]:
    """Files, each come to a site at a time; they have their dataset and organization with them."""
    return PlaceEvent.objects.bulk_create(_arrival(*stay) for stay in stays)


def _arrival(file: DataFile, site: StorageSite, store: Store, at: datetime) -> PlaceEvent:
    return PlaceEvent(
        file_code=file.code,
        subject_code=file.dataset.code,
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
        subject_code=version.dataset.code,
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
    of_manifest = PlaceEvent.objects.filter(subject_code=dataset_code, file_code=code_of_manifest(number))
    newest = of_manifest.order_by("-pk").first()
    if newest is not None and newest.act != PlaceAct.LEFT:
        _like(newest, act=PlaceAct.LEFT, at=at).save()


def last_manifest_not_told(dataset: Dataset) -> int | None:
    """The newest version whose manifest was written before the log had manifests. None: all are in it."""
    ready = DatasetVersion.objects.filter(dataset=dataset, state=VersionState.READY).values_list("number", flat=True)
    by_code = {code_of_manifest(number): number for number in ready}
    told = PlaceEvent.objects.filter(subject_code=dataset.code, file_code__in=by_code)
    not_told = by_code.keys() - set(told.values_list("file_code", flat=True))
    return max((by_code[code] for code in not_told), default=None)


def code_of_manifest(number: int) -> str:
    return f"v-{number}"


@dataclass(frozen=True)
class JobObject:
    """One object of a job at the primary site. `code` is its own in the job, of at most 20 letters, and stays the same
    when a later run writes it under another key. `then` is what else was found or done until `at`, in this order."""

    code: str
    name: str
    key: str
    size_bytes: int
    sha256: str
    at: datetime  # it came then, or was found there
    then: tuple[PlaceAct, ...] = ()


def job_objects_arrived(job_code: str, organization_code: str, objects: Iterable[JobObject]) -> None:
    """One statement, however many. Told twice, they are the same objects that were written again."""
    site, store = primary_by_settings(), storage.primary()
    PlaceEvent.objects.bulk_create(
        PlaceEvent(
            file_code=one.code,
            subject_code=job_code,
            organization_code=organization_code,
            name=one.name,
            site=site.slug,
            region=site.region,
            country=site.country,
            endpoint=store.endpoint,
            bucket=store.bucket,
            storage_key=one.key,
            act=act,
            at=one.at,
            sha256=one.sha256,
            size_bytes=one.size_bytes,
        )
        for one in objects
        for act in (PlaceAct.ARRIVED, *one.then)
    )


def arrivals_of(job_code: str, keys: Sequence[str]) -> dict[str, PlaceEvent]:
    """By storage key, the newest arrival of each that the log knows. One statement, or none."""
    if not keys:
        return {}
    came = PlaceEvent.objects.filter(subject_code=job_code, storage_key__in=keys, act=PlaceAct.ARRIVED)
    return {event.storage_key: event for event in came.order_by("pk")}


def left(arrivals: Iterable[PlaceEvent], *, at: datetime) -> None:
    PlaceEvent.objects.bulk_create(_like(came, act=PlaceAct.LEFT, at=at) for came in arrivals)


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
    sha256: str  # empty: nobody computed it
    arrived_at: datetime
    verified_at: datetime | None
    damaged_at: datetime | None
    left_at: datetime | None

    @property
    def label(self) -> str:
        """For people, in their language: the path of a file, or what else it is."""
        kind, _dash, number = self.file.rpartition("-")
        return str(LABELS[kind]) % {"n": number} if kind in LABELS else self.name


LABELS = {
    "v": _("Manifest of version %(n)s"),
    "manifest": _("Command, variables and secrets for run %(n)s"),
    "script": _("Script for run %(n)s"),
    "log": _("Log of run %(n)s"),
    "sent-log": _("Log as the machine of run %(n)s sent it"),
    "sent-files": _("Results as the machine of run %(n)s sent them"),
}

COLUMNS = tuple(field.name for field in fields(Stay))


def report(subject_code: str, *, files: Sequence[str] | None = None) -> Iterator[Stay]:
    """Of a dataset or a job: by file code, then by site and arrival. `files`: of these codes alone. A million objects
    take no more memory than one."""
    events = PlaceEvent.objects.filter(subject_code=subject_code).order_by("file_code", "pk")
    if files is not None:
        events = events.filter(file_code__in=files)
    for _code, of_one in groupby(events.iterator(2000), key=lambda event: event.file_code):
        yield from _stays(of_one)


def file_codes(subject_code: str, *, after: str, limit: int) -> list[str]:
    """The objects that the log knows of this dataset or job, in the order of the report."""
    codes = PlaceEvent.objects.filter(subject_code=subject_code, file_code__gt=after).order_by("file_code")
    return list(codes.values_list("file_code", flat=True).distinct()[:limit])


def report_json(subject_code: str) -> Iterator[str]:
    """One stay a line, so that two reports can be compared by line."""
    kind = "job" if subject_code.startswith("J-") else "dataset"
    yield f'{{"{kind}": {json.dumps(subject_code)}, "stays": ['
    before = "\n"
    for stay in report(subject_code):
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
