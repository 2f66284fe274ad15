"""Deleting data: at once for people and jobs; the bytes go right after it."""

from __future__ import annotations

from datetime import datetime

from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.db.models import ProtectedError
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import pgettext

from portal.accounts.access import require
from portal.accounts.models import Project, User
from portal.accounts.roles import Permission
from portal.audit.recording import record
from portal.celery import nudge
from portal.datasets import quota, tasks
from portal.datasets.models import DataFile, Dataset, DeletionCause, DeletionCertificate, FileState, Leftover
from portal.datasets.reading import Reader, readers_of


class RemovalRefused(ValidationError):
    """This cannot be deleted; the message says why."""


class StillRead(RemovalRefused):
    """Jobs that have not ended read it. `readers` are those; the message names them."""

    def __init__(self, readers: list[Reader]) -> None:
        named = [str(reader) for reader in readers if reader.code]
        if len(named) < len(readers):
            named.append(_("a job of another organization"))
        super().__init__(
            _("Jobs that have not ended read this dataset: %(jobs)s. Wait for their end, or stop them first.")
            % {"jobs": pgettext("between items of a list", ", ").join(named)}
        )
        self.readers = readers


def delete_file(file: DataFile, *, by: User) -> None:
    """Raises NotPermitted, RemovalRefused when a job refers to it. Again: nothing happens."""
    require(by, Permission.UPLOAD, file.dataset.project)
    try:
        with transaction.atomic():
            locked = DataFile.objects.select_for_update().filter(pk=file.pk).exclude(state=FileState.REMOVED).first()
            if locked is None:
                return
            Leftover.objects.create(storage_key=locked.storage_key, upload_id=locked.upload_id)
            locked.delete()
            quota.give_back(locked)
            record(
                "file.deleted",
                f"file:{file.code}",
                actor=f"user:{by.pk}",
                chain=file.dataset.organization.code,
                detail={"name": file.name, "dataset": file.dataset.code, "sha256": file.sha256},
            )
            transaction.on_commit(tasks.remove_leftovers.delay, robust=True)
    except ProtectedError:
        raise RemovalRefused(
            _("“%(name)s” is the input of a job and stays as the record of what that job read.") % {"name": file.name}
        ) from None


def delete_dataset(dataset: Dataset, *, by: User, reason: str) -> DeletionCertificate:
    """The dataset with every file and upload in it; rows stay as the record, and the certificate says what went.

    Raises NotPermitted, StillRead. Again: nothing happens, and the certificate is the one that is there.
    """
    require(by, Permission.UPLOAD, dataset.project)
    return remove(dataset, cause=DeletionCause.PERSON, by=by, reason=reason)


def remove(dataset: Dataset, *, cause: DeletionCause, by: User | None = None, reason: str = "") -> DeletionCertificate:
    """Raises StillRead; nothing is changed then."""
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
            actor=f"user:{by.pk}" if by else "portal:cleaning",
            chain=locked.organization.code,
            detail={"name": locked.name, "reason": reason, "cause": cause.value, "certificate": certificate.code},
        )
        nudge(tasks.certify_deletions)
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
