from __future__ import annotations

import pytest

from portal.accounts.models import User
from portal.datasets import drafts, tallies
from portal.datasets.models import DataFile, DatasetTally
from portal.datasets.tallies import NOTHING, Tally, tallies_of, tally_of
from tests.factories import DataFileFactory, DatasetFactory

pytestmark = pytest.mark.django_db
NOT_YET = {"sha256": "", "ready_at": None}


def plain(tally: Tally) -> tuple[int, ...]:
    """Without the clock."""
    return (
        tally.files, tally.size_bytes, tally.added, tally.replaced, tally.removed, tally.uploading, tally.verifying,
        tally.failed,
    )  # fmt: skip


def test_the_database_counts_whoever_writes() -> None:
    dataset, other, empty = DatasetFactory(), DatasetFactory(), DatasetFactory()
    DataFileFactory(dataset=other, size_bytes=7)
    seen = []
    file = DataFileFactory(dataset=dataset, state="uploading", **NOT_YET)
    seen.append(plain(tally_of(dataset)))
    DataFile.objects.filter(pk=file.pk).update(state="verifying", size_bytes=9)
    seen.append(plain(tally_of(dataset)))
    DataFile.objects.filter(pk=file.pk).update(state="ready", sha256="a" * 64, ready_at="2026-11-01T00:00Z")
    DataFile.objects.bulk_create(
        DataFileFactory.build(dataset=dataset, created_by=dataset.created_by, size_bytes=100) for _ in range(3)
    )
    seen.append(plain(tally_of(dataset)))
    DataFile.objects.filter(pk=file.pk).update(state="failed")
    DataFile.objects.filter(dataset=dataset, state="ready").delete()
    seen.append(plain(tally_of(dataset)))

    assert seen == [
        (0, 0, 0, 0, 0, 1, 0, 0),
        (0, 0, 0, 0, 0, 0, 1, 0),
        (4, 309, 4, 0, 0, 0, 0, 0),
        (0, 0, 0, 0, 0, 0, 0, 1),
    ]
    assert {pk: plain(tally) for pk, tally in tallies_of([dataset, other, empty]).items()} == {
        dataset.pk: seen[-1],
        other.pk: (1, 7, 1, 0, 0, 0, 0, 0),
    }
    assert (tally_of(empty), tally_of(other).changed_at is None) == (NOTHING, False)


def test_what_changes_no_sum_writes_no_row() -> None:
    file = DataFileFactory()
    before = DatasetTally.objects.count()
    DataFile.objects.filter(pk=file.pk).update(content_type="text/plain")
    DataFile.objects.filter(pk=0).update(size_bytes=1)
    assert DatasetTally.objects.count() == before == 1


def test_sums_are_put_together_and_say_the_same(member: User) -> None:
    dataset, other = DatasetFactory(), DatasetFactory()
    for _ in range(3):
        DataFileFactory(dataset=dataset)
    drafts.make_version(dataset, by=member)
    drafts.take_out(DataFile.objects.filter(dataset=dataset).order_by("pk")[0], drafts.lock(dataset.pk))
    DataFileFactory(dataset=other)
    before = tallies_of([dataset, other])
    times = [tallies.add_up() for _ in range(2)]

    assert (times, tallies_of([dataset, other])) == ([2, 0], before)
    assert sorted(DatasetTally.objects.values_list("dataset_id", "is_sum", "files", "gone")) == [
        (dataset.pk, True, 2, 1),
        (other.pk, True, 1, 0),
    ]
