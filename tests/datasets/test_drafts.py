from __future__ import annotations

from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.utils import translation

from portal.accounts.models import Project, User
from portal.audit.models import AuditEvent
from portal.datasets import drafts
from portal.datasets.models import DataFile, Dataset, DatasetVersion, Leftover
from portal.datasets.tallies import tally_of
from portal.jobs.models import JobInput
from tests.factories import DataFileFactory, DatasetFactory, JobFactory

pytestmark = pytest.mark.django_db
NOT_YET = {"sha256": "", "ready_at": None}


@pytest.fixture
def dataset(project: Project, member: User) -> Dataset:
    return DatasetFactory(project=project, created_by=member, name="売上")


def files(version: DatasetVersion) -> list[str]:
    return [file.name for file in DataFile.objects.of_version(version).in_path_order()]


def draft_of(dataset: Dataset) -> list[str]:
    return [file.name for file in DataFile.objects.filter(dataset=dataset).draft().ready().in_path_order()]


def take_out(file: DataFile) -> bool:
    return drafts.take_out(file, drafts.lock(file.dataset_id))


def arrive(file: DataFile) -> DataFile:
    """It is verified, and takes the place of the one of its name, as checks.verify does it."""
    replaced = drafts.make_room(file, drafts.lock(file.dataset_id))
    DataFile.objects.filter(pk=file.pk).update(
        state="ready", sha256="a" * 64, ready_at="2026-11-01T00:00Z", replaced_earlier=replaced
    )
    file.refresh_from_db()
    return file


def sending(dataset: Dataset, name: str) -> DataFile:
    return DataFileFactory(dataset=dataset, name=name, state="verifying", **NOT_YET)


def test_versions_keep_what_the_draft_was(dataset: Dataset, member: User) -> None:
    for name in ("b.txt", "a.txt", "c.txt"):
        DataFileFactory(dataset=dataset, name=name)
    first = drafts.make_version(dataset, by=member, note="初版")
    take_out(DataFile.objects.get(name="a.txt"))
    arrive(sending(dataset, "b.txt"))
    arrive(sending(dataset, "d.txt"))
    tally = tally_of(dataset)
    second = drafts.make_version(dataset, by=member)

    assert (files(first), files(second), draft_of(dataset)) == (
        ["a.txt", "b.txt", "c.txt"],
        ["b.txt", "c.txt", "d.txt"],
        ["b.txt", "c.txt", "d.txt"],
    )
    assert (tally.added, tally.replaced, tally.removed, tally.files) == (1, 1, 1, 3)
    after = tally_of(dataset)
    assert (after.added, after.replaced, after.removed, after.files, after.differs) == (0, 0, 0, 3, False)
    old, new = DataFile.objects.filter(name="b.txt").order_by("pk")
    assert (old.added_in, old.removed_in, new.added_in, new.removed_in) == (1, 2, 2, None)
    dataset.refresh_from_db()
    assert (first.number, first.state, first.file_count, first.size_bytes, first.note, first.created_by) == (
        1, "making", 3, 15, "初版", member,
    )  # fmt: skip
    assert (second.number, dataset.latest_number, Leftover.objects.count()) == (2, 2, 0)
    assert list(AuditEvent.objects.values_list("act", "subject", "detail")) == [
        ("dataset.version_made", f"dataset:{dataset.code}", {"number": n, "files": 3, "size_bytes": 15}) for n in (1, 2)
    ]


def test_a_file_that_was_in_no_version_goes_with_its_bytes(dataset: Dataset) -> None:
    file = DataFileFactory(dataset=dataset)
    assert take_out(file) is False
    assert (DataFile.objects.count(), list(Leftover.objects.values_list("storage_key", flat=True))) == (
        0,
        [file.storage_key],
    )


def test_the_record_of_what_a_job_read_outlives_its_place_in_the_draft(dataset: Dataset) -> None:
    file = DataFileFactory(dataset=dataset, name="a.txt")
    JobInput.objects.create(job=JobFactory(project=dataset.project), data_file=file, path="x", size_bytes=5)
    arrive(sending(dataset, "a.txt"))
    file.refresh_from_db()
    assert (file.added_in, file.removed_in, draft_of(dataset), tally_of(dataset).files) == (None, 1, ["a.txt"], 1)


def test_taken_out_and_sent_again_counts_as_replaced(dataset: Dataset, member: User) -> None:
    file = DataFileFactory(dataset=dataset, name="a.txt")
    drafts.make_version(dataset, by=member)
    file.refresh_from_db()
    take_out(file)
    gone = tally_of(dataset)
    again = arrive(sending(dataset, "a.txt"))
    tally = tally_of(dataset)
    take_out(again)
    assert [(t.added, t.replaced, t.removed, t.files) for t in (gone, tally, tally_of(dataset))] == [
        (0, 0, 1, 0), (0, 1, 0, 1), (0, 0, 1, 0),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("others", "sentence"),
    [
        (
            [("a.txt", "uploading")],
            "“a.txt” has not been uploaded and verified yet. Wait for it, or cancel its upload.",
        ),
        (
            [("a.txt", "uploading"), ("b.txt", "verifying")],
            "“b.txt”, “a.txt” have not been uploaded and verified yet. Wait for them, or cancel their uploads.",
        ),
        ([("a.txt", "failed")], "“a.txt” did not arrive whole. Upload it again, or delete it."),
        (
            [(name, "abandoned") for name in "abcd"],
            "“d”, “c”, “b” … did not all arrive whole. Upload again what failed, or delete it.",
        ),
    ],
)
def test_no_version_while_something_is_not_verified(
    dataset: Dataset, member: User, others: list[tuple[str, str]], sentence: str
) -> None:
    DataFileFactory(dataset=dataset)
    for name, state in others:
        DataFileFactory(dataset=dataset, name=name, state=state, **NOT_YET)
    with translation.override("en"), pytest.raises(drafts.VersionRefused) as refused:
        drafts.make_version(dataset, by=member)
    dataset.refresh_from_db()
    assert (refused.value.messages, dataset.latest_number, DatasetVersion.objects.count()) == ([sentence], 0, 0)


def test_nothing_to_make_a_version_of(dataset: Dataset, member: User) -> None:
    said = []
    with translation.override("en"):
        for act in (lambda: None, lambda: DataFileFactory(dataset=dataset), lambda: None):
            act()
            try:
                said.append(drafts.make_version(dataset, by=member).number)
            except drafts.NothingNew as why:
                said += why.messages
        take_out(DataFile.objects.get())
        with pytest.raises(drafts.NothingNew) as empty:
            drafts.make_version(dataset, by=member)
    assert said == ["There are no verified files to make a version of.", 1, "Nothing differs from version 1."]
    assert empty.value.messages == ["There are no verified files to make a version of."]
    assert (DatasetVersion.objects.count(), DataFile.objects.get().removed_in) == (1, 2)


def test_a_wanted_version_waits_for_every_file(dataset: Dataset, member: User) -> None:
    Dataset.objects.filter(pk=dataset.pk).update(version_wanted_by=member, version_wanted_note="夜の分")
    DataFileFactory(dataset=dataset)
    late = sending(dataset, "late.txt")
    early = (drafts.wanted(), drafts.make_wanted(dataset.pk))
    arrive(late)
    due = drafts.wanted()
    made, again = drafts.make_wanted(dataset.pk), drafts.make_wanted(dataset.pk)

    assert (early, due, again, drafts.make_wanted(0)) == (([], None), [dataset.pk], None, None)
    assert made is not None
    dataset.refresh_from_db()
    assert (made.number, made.file_count, made.note, made.created_by, dataset.version_wanted_by) == (
        1, 2, "夜の分", member, None,
    )  # fmt: skip


def test_a_wish_ends_when_nothing_is_left_to_make_it_of(dataset: Dataset, member: User) -> None:
    Dataset.objects.filter(pk=dataset.pk).update(version_wanted_by=member)
    assert (drafts.wanted(), drafts.make_wanted(dataset.pk), drafts.wanted()) == ([dataset.pk], None, [])


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "other"}, {"size_bytes": 6}, {"sha256": "b" * 64}, {"storage_key": "t/x"}, {"added_in": None},
        {"added_in": 2}, {"removed_in": 1},
    ],
)  # fmt: skip
def test_the_database_keeps_the_files_of_a_version(dataset: Dataset, member: User, changes: dict[str, Any]) -> None:
    file = DataFileFactory(dataset=dataset)
    version = drafts.make_version(dataset, by=member)
    DatasetVersion.objects.filter(pk=version.pk).update(state="ready", manifest_sha256="a" * 64, manifest_key="k")
    with pytest.raises(IntegrityError), transaction.atomic():
        DataFile.objects.filter(pk=file.pk).update(**changes)
    with pytest.raises(IntegrityError), transaction.atomic():
        DataFile.objects.filter(pk=file.pk)._raw_delete("default")
    late = DataFileFactory(dataset=dataset)
    with pytest.raises(IntegrityError), transaction.atomic():
        DataFile.objects.filter(pk=late.pk).update(added_in=1)
    assert (files(version), DataFile.objects.filter(pk=file.pk).update(removed_in=2)) == ([file.name], 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"number": 2}, {"file_count": 2}, {"size_bytes": 9}, {"manifest_sha256": "b" * 64}, {"manifest_key": "x"},
        {"note": "x"}, {"state": "making"},
    ],
)  # fmt: skip
def test_the_database_keeps_a_ready_version(dataset: Dataset, member: User, changes: dict[str, Any]) -> None:
    DataFileFactory(dataset=dataset)
    row = DatasetVersion.objects.filter(pk=drafts.make_version(dataset, by=member).pk)
    with pytest.raises(IntegrityError), transaction.atomic():
        row.update(state="ready")  # without a manifest
    row.update(state="ready", manifest_sha256="a" * 64, manifest_key="k")
    for act in (lambda: row.update(**changes), lambda: row._raw_delete("default")):
        with pytest.raises(IntegrityError), transaction.atomic():
            act()
    assert row.count() == 1
