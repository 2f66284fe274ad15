"""The draft: what the next version will be made of. Files come, take another's place and go; a version fixes what is
there.

A version copies no rows: it holds the ready files with added_in <= its number < removed_in (models.DataFile). Whoever
writes removed_in or makes a version holds the lock of the dataset's row, taken before that of any file.
"""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Count, Exists, OuterRef, ProtectedError, Sum
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from portal.accounts.models import User
from portal.audit.recording import record
from portal.datasets import quota
from portal.datasets.models import (
    NOT_READY,
    UNFINISHED,
    DataFile,
    Dataset,
    DatasetTally,
    DatasetVersion,
    FileState,
    Leftover,
    PlaceEvent,
)

NAMES_SHOWN = 3
_NO_WISH = {"version_wanted_by": None, "version_wanted_note": ""}


class VersionRefused(ValidationError):
    """No version can be made of this draft now; the message says why and what to do."""


class NothingNew(VersionRefused):
    """The draft is what the newest version is, or empty."""


def lock(dataset_id: int) -> Dataset:
    """In a transaction. Uploads may begin meanwhile."""
    locked = Dataset.objects.select_for_update(of=("self",), no_key=True).select_related("organization")
    return locked.get(pk=dataset_id)


def take_out(file: DataFile, dataset: Dataset) -> bool:
    """Out of the draft; `dataset` is locked. A file of a version stays with its bytes and returns True; any other is
    deleted, with its bytes. Raises ProtectedError when a job has read a file that is in no version."""
    if file.added_in is not None:
        DataFile.objects.filter(pk=file.pk, removed_in=None).update(removed_in=dataset.next_number)
        return True
    Leftover.objects.create(storage_key=file.storage_key, upload_id=file.upload_id)
    file.delete()
    quota.give_back(file)
    return False


def discard_if_nothing_arrived(dataset: Dataset, *, by: User) -> None:
    """After an upload was cancelled: a dataset in which no file ever arrived goes with its last one. The caller's
    transaction has locked the project, so that none begins meanwhile."""
    rest = DataFile.objects.filter(dataset=dataset)
    if rest.exclude(state=FileState.ABANDONED).exists() or dataset.latest_number or dataset.removed_at:
        return
    if PlaceEvent.objects.filter(subject_code=dataset.code).exists():
        return
    rest.delete()
    Dataset.objects.filter(pk=dataset.pk).delete()
    record(
        "dataset.discarded",
        f"dataset:{dataset.code}",
        actor=f"user:{by.pk}",
        chain=dataset.organization.code,
        detail={"name": dataset.name},
    )


def make_room(file: DataFile, dataset: Dataset) -> bool:
    """Before `file` becomes ready: the one of its name leaves the draft. Returns whether the newest version has one of
    that name."""
    namesakes = DataFile.objects.filter(dataset=dataset, name=file.name)
    for earlier in namesakes.draft().ready().exclude(pk=file.pk):
        try:
            with transaction.atomic():
                take_out(earlier, dataset)
        except ProtectedError:  # in no version, and the record of what a job read
            DataFile.objects.filter(pk=earlier.pk).update(removed_in=dataset.next_number)
    return namesakes.filter(removed_in=dataset.next_number, added_in__isnull=False).exists()


def make_version(dataset: Dataset, *, by: User, note: str = "") -> DatasetVersion:
    """The draft as it is becomes the next version, `making` until its manifest is written. Raises VersionRefused."""
    with transaction.atomic():
        locked = lock(dataset.pk)
        _check(locked)
        number = locked.next_number
        draft = DataFile.objects.filter(dataset=locked).draft().ready()
        fresh = DataFile.objects.filter(dataset=locked).in_no_version()
        gone = DataFile.objects.filter(dataset=locked, removed_in=number, added_in__isnull=False).count()
        if not draft.exists():
            raise NothingNew(_("There are no verified files to make a version of."))
        if not (fresh.update(added_in=number) or gone):
            raise NothingNew(_("Nothing differs from version %(n)s.") % {"n": locked.latest_number})
        sums = draft.aggregate(files=Count("pk"), size_bytes=Sum("size_bytes"))
        version = DatasetVersion.objects.create(
            dataset=locked,
            number=number,
            file_count=sums["files"],
            size_bytes=sums["size_bytes"],
            note=note,
            created_by=by,
        )
        Dataset.objects.filter(pk=locked.pk).update(latest_number=number, **_NO_WISH)
        DatasetTally.objects.create(dataset=locked, gone=-gone)  # history now; all else the database has counted
        record(
            "dataset.version_made",
            f"dataset:{locked.code}",
            actor=f"user:{by.pk}",
            chain=locked.organization.code,
            detail={"number": number, "files": version.file_count, "size_bytes": version.size_bytes},
        )
    return version


def make_wanted(dataset_id: int) -> DatasetVersion | None:
    """The version somebody wants, if all of the draft is verified by now. Asked twice, it is made once."""
    dataset = Dataset.objects.select_related("version_wanted_by").filter(pk=dataset_id).first()
    if dataset is None or dataset.version_wanted_by is None:
        return None
    if DataFile.objects.filter(dataset=dataset, state__in=NOT_READY).draft().exists():
        return None
    try:
        return make_version(dataset, by=dataset.version_wanted_by, note=dataset.version_wanted_note)
    except VersionRefused:
        # Made meanwhile, or nothing is left to make it of: the wish ends unless something new is on its way.
        with transaction.atomic():
            lock(dataset_id)
            if not DataFile.objects.filter(dataset=dataset, state__in=NOT_READY).draft().exists():
                Dataset.objects.filter(pk=dataset_id).update(**_NO_WISH)
        return None


def wanted() -> list[int]:
    """Datasets whose wanted version can be made now."""
    waiting = DataFile.objects.filter(dataset=OuterRef("pk"), state__in=NOT_READY, removed_in=None)
    found = Dataset.objects.filter(~Exists(waiting), version_wanted_by__isnull=False)
    return list(found.order_by("pk").values_list("pk", flat=True)[:100])


def _check(dataset: Dataset) -> None:
    in_the_way = DataFile.objects.filter(dataset=dataset, state__in=NOT_READY).draft()
    found = list(in_the_way.order_by("-pk").values_list("name", "state")[: NAMES_SHOWN + 1])
    if not found:
        return
    names = ", ".join(f"“{name}”" for name, _state in found[:NAMES_SHOWN])
    if len(found) > NAMES_SHOWN:
        names += " …"
    if all(state in UNFINISHED for _name, state in found):
        raise VersionRefused(
            ngettext(
                "%(names)s has not been uploaded and verified yet. Wait for it, or cancel its upload.",
                "%(names)s have not been uploaded and verified yet. Wait for them, or cancel their uploads.",
                len(found),
            )
            % {"names": names}
        )
    raise VersionRefused(
        ngettext(
            "%(names)s did not arrive whole. Upload it again, or delete it.",
            "%(names)s did not all arrive whole. Upload again what failed, or delete it.",
            len(found),
        )
        % {"names": names}
    )
