"""Deleting data: the row goes at once, the bytes right after it."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import ProtectedError
from django.utils.translation import gettext as _

from portal.accounts.access import require
from portal.accounts.models import User
from portal.accounts.roles import Permission
from portal.audit.recording import record
from portal.datasets import quota, tasks
from portal.datasets.models import DataFile, Dataset, Leftover


class RemovalRefused(ValidationError):
    """This cannot be deleted; the message says why."""


def delete_file(file: DataFile, *, by: User) -> None:
    """Raises NotPermitted, RemovalRefused when a job refers to it. Again: nothing happens."""
    require(by, Permission.UPLOAD, file.dataset.project)
    try:
        with transaction.atomic():
            locked = DataFile.objects.select_for_update().filter(pk=file.pk).first()
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


def delete_dataset(dataset: Dataset, *, by: User) -> None:
    """Only an empty one. Raises NotPermitted, RemovalRefused. Again: nothing happens."""
    require(by, Permission.UPLOAD, dataset.project)
    try:
        with transaction.atomic():
            if not Dataset.objects.filter(pk=dataset.pk).delete()[0]:
                return
            record(
                "dataset.deleted",
                f"dataset:{dataset.code}",
                actor=f"user:{by.pk}",
                chain=dataset.organization.code,
                detail={"name": dataset.name},
            )
    except ProtectedError:
        raise RemovalRefused(_("The dataset still has files. Delete them first.")) from None
