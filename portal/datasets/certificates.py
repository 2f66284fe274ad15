"""The deletion certificate: what was removed with a dataset, where, and when the store confirmed that it is gone.

Written in batches, because a dataset may have a million files: first every file gets its entry and a leftover each,
the sweep removes these and reads the store back, and when all are confirmed the certificate is complete. Each step may
be cut off and run again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Count, Exists, OuterRef, Subquery, Sum
from django.db.models.functions import Coalesce, Now
from django.utils import timezone

from portal.accounts.models import Project, User
from portal.audit.recording import record
from portal.datasets import quota, storage
from portal.datasets.manifests import key_of
from portal.datasets.models import (
    Copy,
    CopyState,
    DataFile,
    Dataset,
    DatasetVersion,
    DeletionCause,
    DeletionCertificate,
    DeletionEntry,
    Leftover,
    PlaceAct,
    PlaceEvent,
)
from portal.datasets.places import storage_place
from portal.datasets.quota import PLAIN_LATE_S
from portal.datasets.reading import StillRead, readers_of

BATCH = 1000


def begin(dataset: Dataset, *, cause: DeletionCause, by: User | None = None, reason: str = "") -> DeletionCertificate:
    """The dataset and its files are gone for people and jobs; the certificate is to be filled. Raises StillRead, and
    nothing is changed then. Again: the certificate that is there."""
    with transaction.atomic():
        # Whoever begins an upload has locked the project; who submits a job holds the dataset until its inputs are
        # written (reading.hold). Both are waited for here, in an order in which nobody waits for us meanwhile.
        Project.objects.select_for_update(of=("self",), no_key=True).get(pk=dataset.project_id)
        locked = Dataset.objects.select_for_update(of=("self",)).select_related("organization").get(pk=dataset.pk)
        if locked.removed_at is not None:
            return locked.certificates.get()
        if readers := readers_of(locked):
            raise StillRead(readers)
        now = timezone.now()
        Dataset.objects.filter(pk=locked.pk).update(removed_at=now)
        held_bytes, stored_bytes = _give_up_files(locked, now)
        quota.give_back_all(dataset.project, held_bytes=held_bytes, stored_bytes=stored_bytes)
        certificate = DeletionCertificate.objects.create(
            organization_id=locked.organization_id,
            project_id=locked.project_id,
            dataset=locked,
            dataset_name=locked.name,
            cause=cause,
            by=by,
            reason=reason,
            at=now,
        )
        record(
            "dataset.deleted",
            f"dataset:{locked.code}",
            actor=f"user:{by.pk}" if by else "portal:expiry",
            chain=locked.organization.code,
            detail={"name": locked.name, "reason": reason, "cause": cause.value, "certificate": certificate.code},
        )
    return certificate


_GIVE_UP = """
WITH old AS (
    SELECT id, CASE WHEN state = 'uploading' AND part_size_bytes = 0 THEN %(plain_max)s
                    WHEN state IN ('uploading', 'verifying', 'ready') THEN size_bytes ELSE 0 END AS held,
           CASE WHEN state IN ('verifying', 'ready') THEN size_bytes ELSE 0 END AS stored
    FROM datasets_datafile WHERE dataset_id = %(dataset)s AND state <> 'removed' FOR UPDATE
), given_up AS (
    UPDATE datasets_datafile file SET state = 'removed', removed_at = %(now)s, checked_until = NULL
    FROM old WHERE file.id = old.id
)
SELECT coalesce(sum(held), 0), coalesce(sum(stored), 0) FROM old
"""


def _give_up_files(dataset: Dataset, now: datetime) -> tuple[int, int]:
    """All by one statement, however many: the bytes they held of the allowance, and those in the store. Who verifies
    or completes one of them at this moment finds that it is not theirs any more."""
    with connection.cursor() as cursor:
        cursor.execute(_GIVE_UP, {"dataset": dataset.pk, "now": now, "plain_max": quota.PLAIN_MAX_BYTES})
        held_bytes, stored_bytes = cursor.fetchone()
    return int(held_bytes), int(stored_bytes)


def carry_on(now: datetime) -> None:
    """Every certificate that is under way, as far as it can be brought now."""
    for pk in DeletionCertificate.objects.under_way().order_by("pk").values_list("pk", flat=True)[:100]:
        try:
            while list_files(pk):
                pass
        except storage.StorageUnavailable:
            return
        complete(pk, now)


def list_files(certificate_id: int) -> bool:
    """One batch of entries. False: every file of the dataset has its own. Raises StorageUnavailable."""
    manifests = _manifests_of(certificate_id) if _is_last_batch(certificate_id) else []
    with transaction.atomic():
        certificate = DeletionCertificate.objects.select_for_update(of=("self",)).get(pk=certificate_id)
        if certificate.listed_at:
            return False
        rest = DataFile.objects.filter(dataset=certificate.dataset_id, pk__gt=certificate.listed_through)
        files = list(rest.select_related("dataset").order_by("pk")[:BATCH])
        copies = _copies_of(files)
        listed = [entry for file in files for entry in _entries_of(certificate, file, copies[file.pk])]
        if len(files) < BATCH:
            listed += manifests
        entries = DeletionEntry.objects.bulk_create(listed)
        late = {"": certificate.at, **{file.code: _due_at(file, certificate.at) for file in files}}
        Leftover.objects.bulk_create(
            Leftover(
                storage_key=entry.storage_key, upload_id=entry.upload_id, entry=entry, due_at=late[entry.file_code]
            )
            for entry in entries
            if not entry.copy_site  # these go with the first, at the hands of the copies' own worker
        )
        if files:
            certificate.listed_through = files[-1].pk
        if len(files) < BATCH:
            certificate.listed_at = timezone.now()
        certificate.save(update_fields=["listed_through", "listed_at"])
    return certificate.listed_at is None


def _is_last_batch(certificate_id: int) -> bool:
    """No file comes into a dataset that is deleted, so what is found here stays true."""
    certificate = DeletionCertificate.objects.get(pk=certificate_id)
    rest = DataFile.objects.filter(dataset=certificate.dataset_id, pk__gt=certificate.listed_through)
    return certificate.listed_at is None and not rest.order_by("pk")[BATCH - 1 : BATCH].exists()


def _copies_of(files: list[DataFile]) -> dict[int, list[Copy]]:
    """Besides the primary site. What is gone already went before the deletion, and the place log tells of it."""
    found: dict[int, list[Copy]] = {file.pk: [] for file in files}
    there = Copy.objects.filter(file__in=files, site__is_primary=False).exclude(state=CopyState.GONE)
    for copy in there.select_related("site").order_by("pk"):
        found[copy.file_id].append(copy)  # type: ignore[index]  # filtered by file
    return found


def _entries_of(certificate: DeletionCertificate, file: DataFile, copies: list[Copy]) -> Iterator[DeletionEntry]:
    """One for each place where bytes of the file are or may be."""
    yield DeletionEntry(
        certificate=certificate,
        file_code=file.code,
        path=file.path,
        size_bytes=file.size_bytes,
        sha256=file.sha256,
        site=storage_place(),
        endpoint=settings.S3_ENDPOINT,
        storage_key=file.storage_key,
        upload_id=file.upload_id,
    )
    for copy in copies:
        yield DeletionEntry(
            certificate=certificate,
            file_code=file.code,
            path=file.path,
            size_bytes=file.size_bytes,
            sha256=file.sha256,
            site=copy.site.name[:100],
            copy_site=copy.site.slug,
            endpoint=copy.site.endpoint,
            storage_key=copy.storage_key,
            upload_id=copy.upload_id,
        )


def _manifests_of(certificate_id: int) -> list[DeletionEntry]:
    """The versions' lists of files are objects of their own. Asks the store for their sizes."""
    versions = DatasetVersion.objects.filter(dataset__certificates=certificate_id).order_by("number")
    return [
        DeletionEntry(
            certificate_id=certificate_id,
            path=f"{version.dataset.folder}@{version.number}",
            size_bytes=storage.size_of(key_of(version)) or 0,
            sha256=version.manifest_sha256,
            site=storage_place(),
            endpoint=settings.S3_ENDPOINT,
            storage_key=key_of(version),
        )
        for version in versions.select_related("dataset__organization")
    ]


def _due_at(file: DataFile, at: datetime) -> datetime:
    """A plain form that was opened may still be sent until its policy ends."""
    is_plain = not file.part_size_bytes and not file.sha256
    return at + timedelta(seconds=PLAIN_LATE_S if is_plain else 0)


def complete(certificate_id: int, now: datetime) -> bool:
    """Whether every entry is confirmed and the certificate is complete; told to the audit trail once."""
    with transaction.atomic():
        certificate = DeletionCertificate.objects.select_for_update(of=("self",)).get(pk=certificate_id)
        if certificate.completed_at:
            return True
        _confirm_copies(certificate)
        if not certificate.listed_at or certificate.entries.filter(confirmed_at=None).exists():
            return False
        certificate.entries_sha256 = _digest(certificate)
        certificate.completed_at = now
        certificate.save(update_fields=["entries_sha256", "completed_at"])
        sums = certificate.entries.aggregate(entries=Count("pk"), size_bytes=Sum("size_bytes", default=0))
        record(
            "dataset.removed",
            f"dataset:{certificate.dataset.code}",
            actor="portal:removal",
            chain=certificate.organization.code,
            detail={"certificate": certificate.code, **sums, "entries_sha256": certificate.entries_sha256},
        )
    return True


def _confirm_copies(certificate: DeletionCertificate) -> None:
    """A copy is gone when its site answered 404 after the removal (copying.py), and the place log has that time."""
    of_file = PlaceEvent.objects.filter(subject_code=certificate.dataset.code, file_code=OuterRef("file_code"))
    left = of_file.filter(act=PlaceAct.LEFT, site=OuterRef("copy_site"))  # by the log's own index
    gone = Copy.objects.filter(
        storage_key=OuterRef("storage_key"), site__slug=OuterRef("copy_site"), state=CopyState.GONE
    )
    at = Coalesce(Subquery(left.order_by("-id").values("at")[:1]), Now())
    waiting = certificate.entries.filter(Exists(gone), confirmed_at=None).exclude(copy_site="")
    waiting.update(removed_at=at, confirmed_at=at)


def lines_of(certificate: DeletionCertificate) -> Iterator[str]:
    """The entries in the order they were listed, each as one line of JSON. Their SHA-256 is `entries_sha256`: of all
    lines, each ended by a newline, in UTF-8."""
    for entry in certificate.entries.order_by("pk").iterator(chunk_size=BATCH):
        yield json.dumps(_as_dict(entry), ensure_ascii=False, separators=(",", ":"))


def _as_dict(entry: DeletionEntry) -> dict[str, Any]:
    return {
        "file": entry.file_code,
        "path": entry.path,
        "size_bytes": entry.size_bytes,
        "sha256": entry.sha256,
        "site": entry.site,
        "endpoint": entry.endpoint,
        "key": entry.storage_key,
        "upload_id": entry.upload_id,
        "removed_at": instant(entry.removed_at),
        "confirmed_at": instant(entry.confirmed_at),
    }


def instant(at: datetime | None) -> str | None:
    return at.isoformat().replace("+00:00", "Z") if at else None


def _digest(certificate: DeletionCertificate) -> str:
    whole = hashlib.sha256()
    for line in lines_of(certificate):
        whole.update(f"{line}\n".encode())
    return whole.hexdigest()
