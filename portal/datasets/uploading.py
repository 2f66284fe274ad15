"""A file's way into the store: begun here, sent by the browser straight to the store, completed here, then checked.

The store's own list of parts is the truth about what has arrived; the rows here say what was promised. Each act that
calls the store is three steps: take (short transaction), call (none open), settle (short, only if still ours).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from portal.accounts.access import require
from portal.accounts.models import Project, User
from portal.accounts.roles import Permission
from portal.audit.recording import record
from portal.celery import nudge
from portal.datasets import drafts, quota, storage, tasks
from portal.datasets.models import UNFINISHED, DataFile, Dataset, FileState, Leftover
from portal.datasets.names import folder_from

MAX_BYTES = 5 * 2**40  # the most that S3 stores as one object
PLAIN_MAX_BYTES = quota.PLAIN_MAX_BYTES
PLAIN_EXPIRES_S = quota.PLAIN_LATE_S  # a person still has to choose the file
ADDRESS_EXPIRES_S = 300
PARTS_WANTED = 1000
NUDGED = 100  # of many files at once; the sweep brings the others
PART_MIN_BYTES, PART_USUAL_BYTES, PART_COMFORTABLE_BYTES = 8 * storage.MIB, 32 * storage.MIB, 128 * storage.MIB
SMALL_PARTS_TO_BYTES = 256 * storage.MIB


class UploadRefused(ValidationError):
    """This file cannot be taken; the message says why and what to do."""


class PartsMissing(Exception):
    """The store has not got every part in its right size. `numbers` are to be sent again."""

    def __init__(self, numbers: list[int]) -> None:
        super().__init__(numbers)
        self.numbers = numbers


@dataclass(frozen=True)
class StoredObject:
    """Something of ours in the store, and the file it is to become. `name` as in FileToSend, `sha256` in hex."""

    name: str
    size_bytes: int
    sha256: str
    storage_key: str


@dataclass(frozen=True)
class FileToSend:
    """What the browser says of a file. `name` has passed names.file_path_from; checksums are hex or empty."""

    name: str
    size_bytes: int
    content_type: str = ""
    last_modified_ms: int = 0
    fingerprint: str = ""
    sha256: str = ""


def begin(
    project: Project, *, sent: FileToSend, by: User, dataset: Dataset | None = None, dataset_name: str = ""
) -> DataFile:
    """An upload to send parts to: a new one, or this person's unfinished one of the very same file. Where the dataset
    has this very file already, that one, whose state is not `uploading`: a folder chosen again sends what is missing.

    Without a dataset, the one of that name is used or made; without a name, one called like the file.
    Raises NotPermitted, UploadRefused, OverQuota, StorageUnavailable.
    """
    _check_may_upload(project, by)
    with transaction.atomic():
        # One name, one dataset, one file.
        Project.objects.select_for_update(of=("self",), no_key=True).get(pk=project.pk)
        _check_is_kept(dataset)
        file = _unfinished(project, sent, by, dataset, dataset_name) or _there(project, sent, dataset, dataset_name)
        if file is None:
            into, is_new = (
                (dataset, False) if dataset else _dataset_called(project, dataset_name or _stem(sent.name), by)
            )
            file = _promise(into, sent, by, part_size_bytes=_part_size(sent.size_bytes))
            _note_dataset(into, by, is_new=is_new)
    return _opened(file)


def resume(file: DataFile, *, sent: FileToSend) -> DataFile:
    """Raises UploadRefused when this is not the file whose parts are in the store, StorageUnavailable."""
    promised = (file.base_name, file.size_bytes, file.last_modified_ms, file.fingerprint, file.declared_sha256)
    if promised != (
        sent.name.rpartition("/")[2],
        sent.size_bytes,
        sent.last_modified_ms,
        sent.fingerprint,
        sent.sha256,
    ):
        raise UploadRefused(
            _("This is not the interrupted file: its name, size, date or content differs from “%(name)s”.")
            % {"name": file.name}
        )
    return _opened(file)


def begin_plain(
    project: Project, *, name: str, by: User, dataset: Dataset | None = None, dataset_name: str = ""
) -> DataFile:
    """For a browser without script: the size is known when it has arrived. Raises as `begin`."""
    _check_may_upload(project, by)
    with transaction.atomic():
        Project.objects.select_for_update(of=("self",), no_key=True).get(pk=project.pk)
        _check_is_kept(dataset)
        into, is_new = (dataset, False) if dataset else _dataset_called(project, dataset_name or _stem(name), by)
        file = _promise(into, FileToSend(name=name, size_bytes=0), by, part_size_bytes=0)
        _note_dataset(into, by, is_new=is_new)
        return file


def keep(project: Project, *, objects: Sequence[StoredObject], origin: str, by: User, dataset_name: str) -> Dataset:
    """Objects of the store become files of the dataset of that name, made where there is none: a worker copies each,
    then verifies it like an upload, and a version is made of all. All or none; what is there already stays as it is.

    `origin` is the subject that the audit trail has them from. Raises NotPermitted, UploadRefused, OverQuota.
    """
    _check_may_upload(project, by)
    with transaction.atomic():
        Project.objects.select_for_update(of=("self",), no_key=True).get(pk=project.pk)
        dataset, is_new = _dataset_called(project, dataset_name, by)
        files = _kept(dataset, objects, by)
        if files:
            Dataset.objects.filter(pk=dataset.pk).update(version_wanted_by=by)  # as soon as all are verified
            quota.reserve_all(project, files)
            _note_dataset(dataset, by, is_new=is_new)
            record(
                "dataset.kept",
                f"dataset:{dataset.code}",
                actor=f"user:{by.pk}",
                chain=project.organization.code,
                detail={"from": origin, "files": len(files), "size_bytes": sum(file.size_bytes for file in files)},
            )
        for file in files[:NUDGED]:
            nudge(tasks.verify_file, file.pk)
    return dataset


def plain_form(file: DataFile, *, redirect_to: str) -> storage.PresignedForm:
    DataFile.objects.filter(pk=file.pk).update(active_at=timezone.now())
    return storage.presigned_form(
        file.storage_key, max_bytes=PLAIN_MAX_BYTES, redirect_to=redirect_to, expires_s=PLAIN_EXPIRES_S
    )


def parts_held(file: DataFile) -> list[storage.StoredPart]:
    """Those of the right size. When the store has forgotten the upload, a new one is opened and the list is empty."""
    if not file.upload_id:
        return []
    try:
        found = storage.parts_of(file.storage_key, file.upload_id)
    except storage.NotInStorage:
        forgotten = file.upload_id
        DataFile.objects.filter(pk=file.pk, upload_id=forgotten, state=FileState.UPLOADING).update(upload_id="")
        file.refresh_from_db()
        _opened(file)
        return []
    return [part for part in found if part.size_bytes == _expected(file, part.number)]


def addresses(file: DataFile, digests: dict[int, str]) -> dict[int, storage.PresignedPart]:
    """Where to PUT each part, given its SHA-256 (hex). Raises UploadRefused for a part the file does not have."""
    if any(not 1 <= number <= file.part_count for number in digests):
        raise UploadRefused(_("The file has no such part. Reload the page and choose the file again."))
    DataFile.objects.filter(pk=file.pk).update(active_at=timezone.now())
    return {
        number: storage.presigned_part(
            file.storage_key,
            file.upload_id,
            number,
            size_bytes=file.size_of_part(number),
            sha256=sha256,
            expires_s=ADDRESS_EXPIRES_S,
        )
        for number, sha256 in digests.items()
    }


def complete(file: DataFile, *, parts_sha256: str) -> None:
    """From `uploading` to `verifying`; called again nothing happens. Raises PartsMissing, StorageUnavailable."""
    if file.state != FileState.UPLOADING:
        return
    if not file.size_bytes:
        storage.put_bytes(file.storage_key, b"")
    else:
        _join(file)
    _arrived(file, declared_parts_sha256=parts_sha256)


def posted(file: DataFile) -> None:
    """A plain form says it has been sent: what did the store get?

    Raises UploadRefused, OverQuota, StorageUnavailable.
    """
    if file.state != FileState.UPLOADING:
        return
    size = storage.size_of(file.storage_key)
    if size is None:
        raise UploadRefused(_("“%(name)s” has not arrived in the storage. Send it again.") % {"name": file.name})
    _arrived(file, size_bytes=size)


def cancel(file: DataFile, *, by: User) -> None:
    """The upload is forgotten and its parts are removed, and the dataset with it where no file ever arrived. Completed
    meanwhile: nothing happens."""
    require(by, Permission.UPLOAD, file.dataset.project)
    with transaction.atomic():
        Project.objects.select_for_update(of=("self",), no_key=True).get(pk=file.dataset.project_id)
        locked = DataFile.objects.select_for_update().filter(pk=file.pk, state=FileState.UPLOADING).first()
        if locked is None:
            return
        # A plain form that was opened may still be sent until its policy ends.
        due_at = timezone.now() + timedelta(seconds=0 if locked.part_size_bytes else PLAIN_EXPIRES_S)
        Leftover.objects.create(storage_key=locked.storage_key, upload_id=locked.upload_id, due_at=due_at)
        locked.delete()
        quota.give_back(locked)
        _note("upload.cancelled", file, by)
        drafts.discard_if_nothing_arrived(file.dataset, by=by)
        transaction.on_commit(tasks.remove_leftovers.delay, robust=True)


def _check_may_upload(project: Project, by: User) -> None:
    require(by, Permission.UPLOAD, project)
    if not project.is_open:
        raise UploadRefused(_("This project is closed. Choose another project."))


def _check_is_kept(dataset: Dataset | None) -> None:
    """The project's row is locked, as by whoever deletes a dataset."""
    if dataset is not None and not Dataset.objects.kept().filter(pk=dataset.pk).exists():
        raise UploadRefused(_("This dataset was deleted. Choose another dataset."))


def _unfinished(
    project: Project, sent: FileToSend, by: User, dataset: Dataset | None, dataset_name: str
) -> DataFile | None:
    same = DataFile.objects.unfinished_of(by).filter(
        dataset__project=project,
        name=sent.name,
        size_bytes=sent.size_bytes,
        last_modified_ms=sent.last_modified_ms,
        fingerprint=sent.fingerprint,
        declared_sha256=sent.sha256,
        part_size_bytes__gt=0,
    )
    if dataset is not None:
        same = same.filter(dataset=dataset)
    elif dataset_name:
        same = same.filter(dataset__name=dataset_name)
    return same.select_related("dataset__project").first()


def _there(project: Project, sent: FileToSend, dataset: Dataset | None, dataset_name: str) -> DataFile | None:
    """The same bytes by checksum, or for a large file by size, date and its two ends, under the same path."""
    same = Q(sha256=sent.sha256) | Q(state=FileState.VERIFYING, declared_sha256=sent.sha256)
    if not sent.sha256:
        same = Q(fingerprint=sent.fingerprint, last_modified_ms=sent.last_modified_ms) & ~Q(fingerprint="")
    where = {"dataset": dataset} if dataset else {"dataset__name": dataset_name or _stem(sent.name)}
    found = DataFile.objects.filter(
        same,
        dataset__project=project,
        size_bytes=sent.size_bytes,
        dataset__removed_at=None,
        state__in=[FileState.VERIFYING, FileState.READY],
        **where,
    ).draft()
    return found.at(sent.name).select_related("dataset__project").first()


def _dataset_called(project: Project, name: str, by: User) -> tuple[Dataset, bool]:
    """And whether it was made just now: the caller notes that, after it has reserved (see _note_dataset)."""
    kept = Dataset.objects.kept().filter(project=project)
    known = kept.filter(name=name).first()
    if known:
        return known, False
    folders = kept.values_list("folder", flat=True)
    dataset = Dataset.objects.create(
        organization_id=project.organization_id,
        project=project,
        name=name,
        folder=folder_from(name, is_taken=lambda folder: folders.filter(folder=folder).exists()),
        created_by=by,
    )
    return dataset, True


def _note_dataset(dataset: Dataset, by: User, *, is_new: bool) -> None:
    """The trail's head is locked after the allowance, as where bytes are given back: no two wait in a ring."""
    if not is_new:
        return
    record(
        "dataset.created",
        f"dataset:{dataset.code}",
        actor=f"user:{by.pk}",
        chain=dataset.project.organization.code,
        detail={"name": dataset.name},
    )


def _promise(dataset: Dataset, sent: FileToSend, by: User, *, part_size_bytes: int) -> DataFile:
    namesakes = DataFile.objects.filter(dataset=dataset).at(sent.name)
    # What failed under this name before is replaced by this try.
    namesakes.filter(state__in=[FileState.FAILED, FileState.ABANDONED]).delete()
    if namesakes.filter(state__in=UNFINISHED).exists():
        raise UploadRefused(
            _("“%(name)s” is being uploaded into this dataset already. Wait for it, or cancel that upload first.")
            % {"name": sent.name}
        )
    file = DataFile(
        dataset=dataset,
        name=sent.name,
        size_bytes=sent.size_bytes,
        content_type=sent.content_type,
        created_by=by,
        replaces=namesakes.draft().ready().first(),
        part_size_bytes=part_size_bytes,
        last_modified_ms=sent.last_modified_ms,
        fingerprint=sent.fingerprint,
        declared_sha256=sent.sha256,
    )
    _check_is_file_or_folder(file)
    file.storage_key = f"t/{dataset.project.organization.code}/{file.code}"
    file.save()
    quota.reserve(file)
    return file


def _kept(dataset: Dataset, objects: Sequence[StoredObject], by: User) -> list[DataFile]:
    """Rows of those that are not there yet, still to be copied. One of another content takes its namesake's place."""
    namesakes = DataFile.objects.filter(dataset=dataset, name__in=[found.name for found in objects])
    namesakes.filter(state__in=[FileState.FAILED, FileState.ABANDONED]).delete()
    on_their_way = {file.name: file for file in namesakes.filter(state__in=UNFINISHED)}
    in_draft = {file.name: file for file in namesakes.draft().ready()}
    files = []
    for found in objects:
        coming, there = on_their_way.get(found.name), in_draft.get(found.name)
        if coming is not None and coming.declared_sha256 != found.sha256:
            raise UploadRefused(
                _("“%(name)s” is being uploaded into this dataset already. Wait for it, or cancel that upload first.")
                % {"name": found.name}
            )
        if coming is not None or (there is not None and there.sha256 == found.sha256):
            continue
        file = DataFile(
            dataset=dataset,
            name=found.name,
            size_bytes=found.size_bytes,
            declared_sha256=found.sha256,
            state=FileState.VERIFYING,
            copy_from=found.storage_key,
            replaces=there,
            created_by=by,
        )
        file.storage_key = f"t/{dataset.project.organization.code}/{file.code}"
        _check_is_file_or_folder(file)
        files.append(file)
    return DataFile.objects.bulk_create(files, batch_size=1000)


def _check_is_file_or_folder(file: DataFile) -> None:
    """No machine could hold a folder and a file of the same name."""
    there = DataFile.objects.filter(dataset=file.dataset, state__in=[*UNFINISHED, FileState.READY]).draft()
    in_the_way = there.at(*file.folders).first() if file.folders else None
    if in_the_way is not None:
        raise UploadRefused(
            _("“%(name)s” is a file in this dataset, so no folder of that name can be made. Rename one of the two.")
            % {"name": in_the_way.name}
        )
    if there.below(file.name).exists():
        raise UploadRefused(
            _("“%(name)s” is a folder in this dataset, so no file can have that name. Rename one of the two.")
            % {"name": file.name}
        )


def _opened(file: DataFile) -> DataFile:
    """With an upload at the store to send parts to. Two that open at once: the second one's is given back."""
    if file.upload_id or not file.size_bytes or file.state != FileState.UPLOADING:
        return file
    upload_id = storage.create_upload(file.storage_key)
    ours = DataFile.objects.filter(pk=file.pk, upload_id="", state=FileState.UPLOADING).update(
        upload_id=upload_id, active_at=timezone.now()
    )
    if not ours:
        storage.abort_upload(file.storage_key, upload_id, quietly=True)
    file.refresh_from_db(fields=["upload_id", "state"])
    return file


def _join(file: DataFile) -> None:
    try:
        found = storage.parts_of(file.storage_key, file.upload_id)
        held = {part.number: part for part in found if part.size_bytes == _expected(file, part.number)}
        if missing := [number for number in range(1, file.part_count + 1) if number not in held]:
            raise PartsMissing(missing)
        storage.complete_upload(file.storage_key, file.upload_id, [held[number] for number in sorted(held)])
    except storage.StorageRefused:
        raise PartsMissing([part.number for part in found]) from None
    except storage.NotInStorage:
        # Completed before, and the answer was lost; or the upload is gone. The check tells which.
        if storage.size_of(file.storage_key) is None:
            raise PartsMissing(list(range(1, file.part_count + 1))) from None


def _arrived(file: DataFile, **fields: Any) -> None:
    with transaction.atomic():
        changed = DataFile.objects.filter(pk=file.pk, state=FileState.UPLOADING).update(
            state=FileState.VERIFYING, upload_id="", **fields
        )
        if changed:
            quota.arrived(file, size_bytes=fields.get("size_bytes", file.size_bytes))
            nudge(tasks.verify_file, file.pk)
    file.refresh_from_db()


def _expected(file: DataFile, number: int) -> int:
    return file.size_of_part(number) if 1 <= number <= file.part_count else -1


def _part_size(size_bytes: int) -> int:
    """Whole MiB: 8 up to 256 MiB, so that little is sent again; then 32, since each part costs an address; growing so
    that about 1,000 parts do, from 134 GB on 128 and more parts; from 1.3 TB on as large as the 10,000 parts of S3
    need, at most 525."""
    least = PART_MIN_BYTES if size_bytes <= SMALL_PARTS_TO_BYTES else PART_USUAL_BYTES
    few, most = (-(-size_bytes // (parts * storage.MIB)) * storage.MIB for parts in (PARTS_WANTED, storage.PARTS_MAX))
    return max(min(max(few, least), PART_COMFORTABLE_BYTES), most)


def _stem(path: str) -> str:
    """What a dataset is called that begins with this file: like its outermost folder, else like the file."""
    first, slash, _rest = path.partition("/")
    return (first if slash else first.split(".")[0] or first)[:100]


def _note(act: str, file: DataFile, by: User) -> None:
    record(
        act,
        f"file:{file.code}",
        actor=f"user:{by.pk}",
        chain=file.dataset.organization.code,
        detail={"name": file.name, "dataset": file.dataset.code},
    )
