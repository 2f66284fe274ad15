"""What nobody will ask for again leaves the store: parts of uploads that fell silent, bytes of deleted files."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import transaction

from portal.audit.recording import record
from portal.datasets import copies, sites, storage
from portal.datasets.models import Copy, DataFile, FileFailure, FileState, Leftover, StorageSite

SILENCE = timedelta(days=7)


def give_up_silent_uploads(now: datetime) -> int:
    """Uploads that nobody has gone on with for 7 days become `abandoned`; their page says so. Returns how many."""
    silent = DataFile.objects.filter(state=FileState.UPLOADING, active_at__lt=now - SILENCE)
    given_up = 0
    for file in silent.select_related("dataset__organization"):
        with transaction.atomic():
            if not silent.filter(pk=file.pk).update(
                state=FileState.ABANDONED, failure=FileFailure.SILENT, upload_id=""
            ):
                continue
            Leftover.objects.create(storage_key=file.storage_key, upload_id=file.upload_id)
            record(
                "upload.abandoned",
                f"file:{file.code}",
                actor="portal:cleaning",
                chain=file.dataset.organization.code,
                detail={"name": file.name},
            )
        given_up += 1
    return given_up


def abort_unknown_uploads(now: datetime) -> int:
    """Uploads a store knows and we do not: a process died between opening one and writing it down."""
    others = StorageSite.objects.filter(enabled=True, is_primary=False)
    return sum(_abort_unknown_at(store, now) for store in (storage.primary(), *map(sites.store_of, others)))


def _abort_unknown_at(store: storage.Store, now: datetime) -> int:
    old = [upload for upload in storage.open_uploads(at=store) if upload.started_at < now - SILENCE]
    ids = [upload.upload_id for upload in old]
    known = {
        *DataFile.objects.filter(upload_id__in=ids).values_list("upload_id", flat=True),
        *Copy.objects.filter(upload_id__in=ids).values_list("upload_id", flat=True),
    }
    unknown = [upload for upload in old if upload.upload_id not in known]
    for upload in unknown:
        storage.abort_upload(upload.key, upload.upload_id, at=store)
    return len(unknown)


def remove_leftovers(now: datetime) -> int:
    """Each may be tried twice: removing what is gone is fine. Raises StorageUnavailable; the rest stays listed."""
    removed = 0
    for leftover in Leftover.objects.filter(due_at__lte=now).order_by("pk")[:500]:
        if leftover.upload_id:
            storage.abort_upload(leftover.storage_key, leftover.upload_id)
        storage.delete(leftover.storage_key)
        with transaction.atomic():
            copies.give_up(leftover.storage_key)  # at the other sites too, and in the place log
            leftover.delete()
        removed += 1
    return removed
