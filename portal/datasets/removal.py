"""Deleting data: at once for people and jobs; the bytes go right after it."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import ProtectedError
from django.utils.translation import gettext as _

from portal.accounts.access import require
from portal.accounts.models import User
from portal.accounts.roles import Permission
from portal.audit.recording import record
from portal.celery import nudge
from portal.datasets import certificates, drafts, tasks
from portal.datasets.models import DataFile, Dataset, DeletionCause, DeletionCertificate, FileState


class RemovalRefused(ValidationError):
    """This cannot be deleted; the message says why."""


def delete_file(file: DataFile, *, by: User) -> None:
    """Out of the draft; what is in a version stays there. Raises NotPermitted, RemovalRefused when a job refers to a
    file that is in no version. Again: nothing happens."""
    require(by, Permission.UPLOAD, file.dataset.project)
    try:
        with transaction.atomic():
            dataset = drafts.lock(file.dataset_id)
            kept = DataFile.objects.exclude(state=FileState.REMOVED)
            locked = kept.select_for_update().filter(pk=file.pk, removed_in=None).first()
            if locked is None:
                return
            stays = drafts.take_out(locked, dataset)
            record(
                "file.taken_out" if stays else "file.deleted",
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
    certificate = certificates.begin(dataset, cause=DeletionCause.PERSON, by=by, reason=reason)
    nudge(tasks.certify_deletions)
    return certificate
