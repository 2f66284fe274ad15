"""What nobody will ask for again leaves the store: parts of uploads that fell silent, bytes of deleted files."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from portal.accounts.models import User
from portal.audit.recording import record
from portal.datasets import copies, emails, quota, residency, sites, storage
from portal.datasets.models import (
    Copy,
    DataFile,
    DeletionEntry,
    FileFailure,
    FileState,
    Leftover,
    PlaceEvent,
    StorageSite,
)

SILENCE = timedelta(hours=24)
TOLD_AFTER = timedelta(hours=12)
TOLD_AT_ONCE = 500


def tell_of_silent_uploads(now: datetime) -> int:
    """A mail to each person whose uploads nobody has gone on with for 12 hours, once for each silence. Returns how
    many mails left; one that the mail server did not take is tried again."""
    due = DataFile.objects.filter(
        Q(silence_told_at=None) | Q(silence_told_at__lt=F("active_at")),
        state=FileState.UPLOADING,
        active_at__lte=now - TOLD_AFTER,
        active_at__gt=now - SILENCE,
    )
    told = 0
    for person in User.objects.filter(pk__in=due.values("created_by"), is_active=True):
        with transaction.atomic():
            silent = due.filter(created_by=person).select_related("dataset").order_by("active_at", "pk")
            files = list(silent.select_for_update(of=("self",), skip_locked=True)[:TOLD_AT_ONCE])
            DataFile.objects.filter(pk__in=[file.pk for file in files]).update(silence_told_at=now)
        if not files:
            continue  # another worker is telling them
        if emails.send_silence(person, files=files, gone_at=files[0].active_at + SILENCE):
            told += 1
        else:
            DataFile.objects.filter(pk__in=[file.pk for file in files]).update(silence_told_at=None)
    return told


def give_up_silent_uploads(now: datetime) -> int:
    """Uploads that nobody has gone on with for 24 hours become `abandoned`; their page says so. Returns how many."""
    silent = DataFile.objects.filter(state=FileState.UPLOADING, active_at__lt=now - SILENCE)
    given_up = 0
    for file in silent.select_related("dataset__organization", "dataset__project"):
        with transaction.atomic():
            if not silent.filter(pk=file.pk).update(
                state=FileState.ABANDONED, failure=FileFailure.SILENT, upload_id=""
            ):
                continue
            Leftover.objects.create(storage_key=file.storage_key, upload_id=file.upload_id)
            quota.give_back(file)
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
    due = Leftover.objects.filter(due_at__lte=now).select_related("entry__certificate__dataset")
    for leftover in due.order_by("pk")[:500]:
        if leftover.upload_id:
            storage.abort_upload(leftover.storage_key, leftover.upload_id)
        storage.delete(leftover.storage_key)
        if leftover.entry_id is not None:
            removed_at = timezone.now()
            if not _is_gone(leftover):
                continue  # the next sweep removes it again
            DeletionEntry.objects.filter(pk=leftover.entry_id, confirmed_at=None).update(
                removed_at=removed_at, confirmed_at=timezone.now()
            )
        with transaction.atomic():
            if leftover.entry is not None and not leftover.entry.file_code:
                dataset, number = leftover.entry.certificate.dataset, leftover.entry.path.rpartition("@")[2]
                residency.manifest_left(dataset.code, int(number), at=timezone.now())
            copies.give_up(leftover.storage_key)  # at the other sites too, and in the place log
            if leftover.arrival is not None:
                residency.left(PlaceEvent.objects.filter(pk=leftover.arrival), at=timezone.now())
            leftover.delete()
        removed += 1
    return removed


def _is_gone(leftover: Leftover) -> bool:
    """Read back from the store, which is believed only when it answers 404."""
    if storage.size_of(leftover.storage_key) is not None:
        return False
    if not leftover.upload_id:
        return True
    try:
        storage.parts_of(leftover.storage_key, leftover.upload_id)
    except storage.NotInStorage:
        return True
    return False
