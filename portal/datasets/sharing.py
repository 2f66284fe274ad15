"""Letting others read a dataset, and ending it. Both organizations' audit chains tell of it.

Who may delete data may share it. Receivers see what is ready, download it and give it to jobs; they change nothing and
pass nothing on. When a share ends, downloads, previews and new jobs end with it; jobs submitted before read on.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext as _

from portal.accounts.access import require
from portal.accounts.models import Project, User
from portal.accounts.roles import Permission
from portal.audit.recording import record
from portal.celery import nudge
from portal.datasets import tasks
from portal.datasets.models import Dataset, DatasetShare


class SharingRefused(ValidationError):
    """This cannot be shared so; the message says why and what to do. `code`: "last_day" when that is missing."""


def share(dataset: Dataset, *, with_project: Project | None, until: datetime | None, by: User) -> DatasetShare:
    """With one project, or (None) with everybody of the dataset's own organization who may see data somewhere in it.

    The same receiver again: with the same end nothing happens, with another one the new share takes the old one's
    place. Raises NotPermitted, SharingRefused.
    """
    require(by, Permission.UPLOAD, dataset.project)
    receiver = with_project.organization if with_project else dataset.organization
    if with_project is not None and with_project.pk == dataset.project_id:
        raise SharingRefused(_("The dataset belongs to this project already. Choose another one."))
    if until is None and receiver.pk != dataset.organization_id:
        raise SharingRefused(_("Enter the last day: what goes to another organization needs one."), "last_day")
    with transaction.atomic():
        Dataset.objects.select_for_update(of=("self",), no_key=True).get(
            pk=dataset.pk
        )  # two at once: one after the other
        to_same = dataset.shares.filter(to_organization=receiver, to_project=with_project, ended_at=None)
        if same := to_same.live().filter(until=until).first():
            return same
        to_same.filter(until__lte=Now()).update(ended_at=F("until"))
        to_same.update(ended_at=Now(), ended_by=by)
        made = DatasetShare.objects.create(
            dataset=dataset,
            organization=dataset.organization,
            to_organization=receiver,
            to_project=with_project,
            until=until,
            created_by=by,
            told_at=None if with_project else timezone.now(),  # one's own organization sees it in the list
        )
        _record("dataset.shared", made, by)
        nudge(tasks.tell_of_share, made.pk)
    return made


def end(made: DatasetShare, *, by: User) -> None:
    """At once. Ended before: nothing happens. Raises NotPermitted."""
    require(by, Permission.UPLOAD, made.dataset.project)
    with transaction.atomic():
        if DatasetShare.objects.live().filter(pk=made.pk).update(ended_at=Now(), ended_by=by):
            _record("dataset.share_ended", made, by)


def _record(act: str, made: DatasetShare, by: User) -> None:
    dataset, receiver = made.dataset, made.to_organization
    detail: dict[str, Any] = {
        "name": dataset.name,
        "from_project": dataset.project.code,
        "to_organization": receiver.code,
        "to_project": made.to_project.code if made.to_project else "",
        "until": made.until.isoformat() if made.until else "",
    }
    for chain in sorted({dataset.organization.code, receiver.code}):  # in one order: the heads of chains are locked
        record(act, f"dataset:{dataset.code}", actor=f"user:{by.pk}", chain=chain, detail=detail)


def receiver_called(code: str) -> Project | None:
    """The open project with this code. Codes are random, 2^40 of them: who knows one was told it."""
    return Project.objects.open().filter(code=code).select_related("organization").first()
