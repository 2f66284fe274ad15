"""How many bytes a project may keep: reserved before the first one travels, given back when they are given up.

Change the files first, then reserve or give back, in the same transaction. So the allowance's row is locked last and
shortly, and whoever makes or recounts it misses nobody: who changed files and has not been here yet comes afterwards.
"""

from __future__ import annotations

from collections.abc import Collection

import structlog
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.db.models import BigIntegerField, Case, F, Sum, Value, When
from django.utils.translation import gettext as _

from portal.accounts.models import Project
from portal.audit.recording import record
from portal.core.templatetags.formats import bytes as size_in_words
from portal.datasets import metering
from portal.datasets.models import DataFile, FileState, StorageAllowance

log = structlog.get_logger(__name__)

PLAIN_MAX_BYTES = 100 * 10**6  # how large a file of the plain form is, is known when it has arrived
PLAIN_LATE_S = 900  # so long after it was opened
_KEPT = [FileState.UPLOADING, FileState.VERIFYING, FileState.READY]
_STORED = [FileState.VERIFYING, FileState.READY]
HELD_BYTES = Case(
    When(state=FileState.UPLOADING, part_size_bytes=0, then=Value(PLAIN_MAX_BYTES)),
    When(state__in=_KEPT, then=F("size_bytes")),
    default=Value(0),
    output_field=BigIntegerField(),
)


class OverQuota(ValidationError):
    """The project's storage does not hold this; the message says how much it lacks and what to do."""


class BelowUsed(Exception):
    """The project keeps more than that. `used_bytes` is the least that its limit can be."""

    def __init__(self, used_bytes: int) -> None:
        super().__init__(used_bytes)
        self.used_bytes = used_bytes


def held_of(file: DataFile) -> int:
    """What the row, as it is in memory, takes of its project's allowance: `HELD_BYTES` for one."""
    if file.state == FileState.UPLOADING and not file.part_size_bytes:
        return PLAIN_MAX_BYTES
    return file.size_bytes if file.state in _KEPT else 0


def stored_of(file: DataFile) -> int:
    """What of it lies in the store as an object, and is metered."""
    return file.size_bytes if file.state in _STORED else 0


def reserve(file: DataFile) -> None:
    """For a file that was just written down. Raises OverQuota; the caller's transaction then takes the file back."""
    _move(file.dataset.project, held_of(file), stored=stored_of(file))


def reserve_all(project: Project, files: Collection[DataFile]) -> None:
    """For many files that were written down by one statement. Raises OverQuota."""
    _move(project, sum(map(held_of, files)), stored=sum(map(stored_of, files)))


def give_back(file: DataFile) -> None:
    """For a file that was just given up; `file` is the row as it was before. Never refused."""
    _move(file.dataset.project, -held_of(file), stored=-stored_of(file))


def give_back_all(project: Project, *, held_bytes: int, stored_bytes: int) -> None:
    """For many files that were given up by one statement."""
    _move(project, -held_bytes, stored=-stored_bytes)


def arrived(file: DataFile, *, size_bytes: int) -> None:
    """An upload has become an object; `file` is the row as it was before. The size of a plain form takes the place of
    the largest that it may have. Raises OverQuota where that is more."""
    _move(file.dataset.project, size_bytes - held_of(file), stored=size_bytes)


def set_limit(project: Project, limit_bytes: int, *, by: str) -> None:
    """Raises BelowUsed; nothing is changed then."""
    with transaction.atomic():
        allowance = _locked(project.pk)
        if limit_bytes < allowance.used_bytes:
            raise BelowUsed(allowance.used_bytes)
        StorageAllowance.objects.filter(pk=allowance.pk).update(limit_bytes=limit_bytes)
        record(
            "storage.limit_changed",
            f"project:{project.code}",
            actor=by,
            chain=project.organization.code,
            detail={"from_bytes": allowance.limit_bytes, "to_bytes": limit_bytes},
        )


def recount(project_id: int) -> StorageAllowance:
    """From the files, whatever was counted before. Where they are more than the limit, the limit becomes as large."""
    with transaction.atomic():
        allowance = _locked(project_id)
        allowance.used_bytes = _counted(project_id)
        allowance.limit_bytes = max(allowance.limit_bytes, allowance.used_bytes)
        allowance.save(update_fields=["used_bytes", "limit_bytes"])
        metering.recounted(project_id, _stored(project_id), site=metering.primary_site())
    return allowance


def allowance_of(project: Project) -> StorageAllowance:
    """For showing; one that nobody has reserved in yet is not stored."""
    known = StorageAllowance.objects.filter(project=project).first()
    return known or _unused(project)


def known_allowance(project: Project) -> StorageAllowance:
    """Of a project that was read with `select_related("storage_allowance")`: no further query."""
    try:
        return project.storage_allowance
    except StorageAllowance.DoesNotExist:
        return _unused(project)


def _unused(project: Project) -> StorageAllowance:
    return StorageAllowance(project=project, limit_bytes=settings.STORAGE_LIMIT_BYTES)


def _move(project: Project, by_bytes: int, *, stored: int) -> None:
    allowance = _locked(project.pk, changed_by=by_bytes, stored_by=stored)
    used = allowance.used_bytes + by_bytes
    if by_bytes > 0 and used > allowance.limit_bytes:
        raise OverQuota(
            _(
                "The project “%(project)s” can store up to %(limit)s. %(used)s of it are used or reserved, and this"
                " file needs %(needed)s. Delete what is no longer needed, or ask the portal's office for more."
            )
            % {
                "project": project.name,
                "limit": size_in_words(allowance.limit_bytes),
                "used": size_in_words(allowance.used_bytes),
                "needed": size_in_words(by_bytes),
            }
        )
    if used < 0:  # nobody's cancel fails because of a sum; verify_storage tells
        log.error("storage allowance below zero", project=project.code, used_bytes=used)
    if by_bytes:
        StorageAllowance.objects.filter(pk=allowance.pk).update(used_bytes=max(0, used))
    if stored:
        metering.changed(project.pk, stored, site=metering.primary_site())


def _locked(project_id: int, *, changed_by: int = 0, stored_by: int = 0) -> StorageAllowance:
    """The project's row, as it is without the bytes by which this transaction has changed its files. Who makes it
    counts what is there, and what is metered too."""
    rows = StorageAllowance.objects.select_for_update(of=("self",)).filter(project=project_id)
    for allowance in rows:
        return allowance
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO datasets_storageallowance (project_id, limit_bytes, used_bytes) VALUES (%s, %s, 0)"
            " ON CONFLICT (project_id) DO NOTHING RETURNING id",
            [project_id, settings.STORAGE_LIMIT_BYTES],
        )
        ours = cursor.fetchone()
    allowance = rows.get()
    if ours:
        allowance.used_bytes = max(0, _counted(project_id) - changed_by)
        allowance.limit_bytes = max(allowance.limit_bytes, allowance.used_bytes)
        allowance.save(update_fields=["used_bytes", "limit_bytes"])
        metering.recounted(project_id, max(0, _stored(project_id) - stored_by), site=metering.primary_site())
    return allowance


def _counted(project_id: int) -> int:
    files = DataFile.objects.filter(dataset__project=project_id, state__in=_KEPT)
    return int(files.aggregate(held=Sum(HELD_BYTES))["held"] or 0)


def _stored(project_id: int) -> int:
    files = DataFile.objects.filter(dataset__project=project_id, state__in=_STORED)
    return int(files.aggregate(stored=Sum("size_bytes"))["stored"] or 0)
