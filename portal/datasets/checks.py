"""Is what the store holds what the person has? Only then is a file ready.

Size and checksum come from the bytes in the store, read once from the first to the last, never from what anybody said.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone

from portal.audit.recording import record
from portal.datasets import adoption, copies, drafts, quota, storage
from portal.datasets.models import DataFile, FileFailure, FileState, Leftover

LEASE = timedelta(minutes=2)
RENEW_BYTES = 1024 * storage.MIB


@dataclass(frozen=True)
class Measured:
    size_bytes: int
    sha256: str
    parts_sha256: str  # over the parts' SHA-256 in order; empty for a file sent as a plain form


def verify(file_id: int) -> FileState | None:
    """Expects a file in `verifying`, leaves it `ready` or `failed`. None: somebody else has it or it is settled.

    Raises StorageUnavailable; the file stays in `verifying` and the sweep comes back to it.
    """
    if not DataFile.objects.to_verify().filter(pk=file_id).update(checked_until=Now() + LEASE):
        return None
    file = DataFile.objects.select_related("dataset__organization", "dataset__project").get(pk=file_id)
    try:
        if file.copy_from:
            adoption.fetch(file, renew=partial(_renew, file))
        measured = _measure(file)
    except adoption.SourceGone:
        return _settle(file, FileFailure.GONE, None)
    except storage.NotInStorage:
        return _settle(file, FileFailure.LOST, None)
    except storage.StorageError:
        DataFile.objects.filter(pk=file_id).update(checked_until=None)
        raise
    return _settle(file, _difference(file, measured), measured)


def _measure(file: DataFile) -> Measured:
    whole, part, parts = hashlib.sha256(), hashlib.sha256(), hashlib.sha256()
    size, room, renew_at = 0, file.part_size_bytes, RENEW_BYTES
    for piece in storage.pieces(file.storage_key):
        whole.update(piece)
        size += len(piece)
        rest = memoryview(piece)
        while file.part_size_bytes and rest:
            now, rest = rest[:room], rest[room:]
            part.update(now)
            room -= len(now)
            if not room:
                parts.update(part.digest())
                part, room = hashlib.sha256(), file.part_size_bytes
        if size >= renew_at:
            renew_at += RENEW_BYTES
            _renew(file)
    if file.part_size_bytes and room < file.part_size_bytes:
        parts.update(part.digest())
    return Measured(size, whole.hexdigest(), parts.hexdigest() if file.part_size_bytes else "")


def _renew(file: DataFile) -> None:
    DataFile.objects.filter(pk=file.pk).update(checked_until=Now() + LEASE)


def _difference(file: DataFile, measured: Measured) -> FileFailure | None:
    if measured.size_bytes != file.size_bytes:
        return FileFailure.SIZE
    if file.declared_sha256 and file.declared_sha256 != measured.sha256:
        return FileFailure.CHECKSUM
    if file.declared_parts_sha256 and file.declared_parts_sha256 != measured.parts_sha256:
        return FileFailure.CHECKSUM
    return None


def _settle(file: DataFile, failure: FileFailure | None, measured: Measured | None) -> FileState | None:
    state = FileState.FAILED if failure else FileState.READY
    with transaction.atomic():
        dataset = drafts.lock(file.dataset_id)
        verifying = DataFile.objects.filter(pk=file.pk, state=FileState.VERIFYING)
        if not verifying.select_for_update().exists():
            return None
        replaced_earlier = failure is None and drafts.make_room(file, dataset)
        verifying.update(
            state=state,
            failure=failure or "",
            sha256=measured.sha256 if measured else "",
            ready_at=None if failure else timezone.now(),
            checked_until=None,
            replaces=None,
            replaced_earlier=replaced_earlier,
        )
        if failure:
            # Nobody can use these bytes.
            Leftover.objects.create(storage_key=file.storage_key, upload_id=file.upload_id)
            quota.give_back(file)
        else:
            file.refresh_from_db(fields=["sha256", "ready_at"])
            copies.place([file])
        record(
            "file.failed" if failure else "file.verified",
            f"file:{file.code}",
            actor="portal:verify",
            chain=file.dataset.organization.code,
            detail={"sha256": measured.sha256, "size_bytes": measured.size_bytes} if measured else {},
        )
    return state
