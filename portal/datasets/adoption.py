"""An object of the store becomes a file's own: copied within the store, in pieces that outlast a killed worker."""

from __future__ import annotations

from collections.abc import Callable

from portal.datasets import storage
from portal.datasets.models import DataFile, FileState, Leftover

# S3 copies up to 5 GiB at once. No more than this here: the store answers within the client's read timeout, the lease
# is renewed in between, and what a killed worker has done stays done.
AT_ONCE_BYTES = 64 * storage.MIB


class SourceGone(Exception):
    """There is nothing left to copy from."""


def fetch(file: DataFile, *, renew: Callable[[], None]) -> None:
    """Leaves the bytes under the file's own key and `copy_from` empty. Safe to repeat, also by two at once.

    `renew` is called while it takes long. Raises SourceGone, StorageUnavailable.
    """
    if storage.size_of(file.copy_from) is None:
        raise SourceGone
    if file.size_bytes <= AT_ONCE_BYTES:
        try:
            storage.copy(file.copy_from, file.storage_key)
        except storage.NotInStorage:
            raise SourceGone from None
    else:
        _copy_in_parts(file, renew)
    kept = DataFile.objects.filter(pk=file.pk, state__in=[FileState.VERIFYING, FileState.READY])
    if not kept.update(copy_from="", upload_id=""):
        Leftover.objects.create(storage_key=file.storage_key, upload_id=file.upload_id)  # deleted meanwhile
    file.copy_from = file.upload_id = ""


def _copy_in_parts(file: DataFile, renew: Callable[[], None]) -> None:
    held = _held(file)
    part_bytes = max(AT_ONCE_BYTES, -(-file.size_bytes // storage.PARTS_MAX))
    try:
        for number, start in enumerate(range(0, file.size_bytes, part_bytes), start=1):
            if number in held:
                continue
            length = min(part_bytes, file.size_bytes - start)
            storage.copy_part(file.copy_from, file.storage_key, file.upload_id, number, start=start, length=length)
            renew()
        storage.complete_upload(file.storage_key, file.upload_id, storage.parts_of(file.storage_key, file.upload_id))
    except storage.NotInStorage:
        # Completed by another worker, or the upload is no more and the next try opens one anew.
        if storage.size_of(file.storage_key) != file.size_bytes:
            DataFile.objects.filter(pk=file.pk, upload_id=file.upload_id).update(upload_id="")
            raise storage.StorageUnavailable("the upload was forgotten") from None


def _held(file: DataFile) -> set[int]:
    """Numbers of the parts that a worker before has copied; an upload is opened where there is none."""
    if file.upload_id:
        try:
            return {part.number for part in storage.parts_of(file.storage_key, file.upload_id)}
        except storage.NotInStorage:
            return set()  # the first part will tell
    upload_id = storage.create_upload(file.storage_key)
    if not DataFile.objects.filter(pk=file.pk, upload_id="").update(upload_id=upload_id):
        storage.abort_upload(file.storage_key, upload_id, quietly=True)
        file.refresh_from_db(fields=["upload_id"])
        return _held(file)
    file.upload_id = upload_id
    return set()
