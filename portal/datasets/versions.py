"""Making a version of a dataset: now, or as soon as every file of its draft is verified."""

from __future__ import annotations

from django.db import transaction

from portal.accounts.access import require
from portal.accounts.models import User
from portal.accounts.roles import Permission
from portal.celery import nudge
from portal.datasets import drafts, tasks
from portal.datasets.models import Dataset, DatasetVersion
from portal.datasets.tallies import tally_of

AT_ONCE = 20_000  # files that are stamped while the person waits; more are left to a worker


def make(dataset: Dataset, *, by: User, note: str = "") -> DatasetVersion | None:
    """The draft becomes the next version; None: it is large, and a worker makes it.
    Raises NotPermitted, VersionRefused; nothing is changed then."""
    require(by, Permission.UPLOAD, dataset.project)
    if tally_of(dataset).added > AT_ONCE:
        _leave_to_a_worker(dataset, by, note)
        return None
    with transaction.atomic():
        version = drafts.make_version(dataset, by=by, note=note)
        nudge(tasks.write_manifest, version.pk)
    return version


def make_when_verified(dataset: Dataset, *, by: User, note: str = "") -> DatasetVersion | None:
    """As `make`, but what is still on its way is waited for: then None, too. Raises NotPermitted, NothingNew."""
    try:
        return make(dataset, by=by, note=note)
    except drafts.NothingNew:
        raise
    except drafts.VersionRefused:
        _leave_to_a_worker(dataset, by, note)
        return None


def _leave_to_a_worker(dataset: Dataset, by: User, note: str) -> None:
    with transaction.atomic():
        drafts.lock(dataset.pk)
        Dataset.objects.filter(pk=dataset.pk).update(version_wanted_by=by, version_wanted_note=note)
        nudge(tasks.make_wanted_version, dataset.pk)
