from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
import time_machine

from portal.accounts.models import Project, User
from portal.datasets import metering, quota, storage, uploading
from portal.datasets.models import DataFile, StoredBytes
from portal.datasets.removal import delete_dataset, delete_file
from portal.datasets.verification import verify
from portal.usage.models import StorageUsage
from tests.factories import DataFileFactory, DatasetFactory

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("storage_ready")]
NOON = datetime(2026, 11, 24, 3, tzinfo=UTC)
DAY = 86_400


def days() -> list[tuple[date, int, int]]:
    return list(StoredBytes.objects.order_by("day").values_list("day", "peak_bytes", "closing_bytes"))


def kept(project: Project, size_bytes: int) -> DataFile:
    file: DataFile = DataFileFactory(dataset=DatasetFactory(project=project), size_bytes=size_bytes)
    quota.reserve(file)
    return file


def test_the_peak_of_a_day_is_the_most_that_was_kept_on_it(project: Project, member: User) -> None:
    with time_machine.travel(NOON, tick=False) as clock:
        first = kept(project, 700)
        second = kept(project, 300)
        delete_file(first, by=member)
        clock.shift(2 * DAY)
        delete_dataset(second.dataset, by=member, reason="x")
        clock.shift(2 * DAY)
        recorded = metering.record(datetime.now(UTC)), metering.record(datetime.now(UTC))
    assert days() == [(date(2026, 11, 24), 1000, 300), (date(2026, 11, 26), 300, 0)]
    assert recorded == ([date(2026, 11, day) for day in (24, 25, 26, 27)], [])
    rows = StorageUsage.objects.order_by("day").values_list("project", "site", "day", "peak_bytes", "byte_hours")
    assert list(rows) == [
        (project.pk, metering.primary_site(), date(2026, 11, day), peak, Decimal(peak * 24))
        for day, peak in ((24, 1000), (25, 300), (26, 300))
    ]
    assert verify() == []


def test_parts_of_an_upload_are_not_metered_until_they_are_a_file(project: Project, member: User) -> None:
    file = uploading.begin_plain(project, name="w.txt", by=member)
    begun = days()
    storage.put_bytes(file.storage_key, b"words")
    uploading.posted(file)
    assert (begun, [row[1:] for row in days()], verify()) == ([], [(5, 5)], [])


def test_a_host_whose_clock_is_behind_adds_to_the_day_that_has_begun(project: Project) -> None:
    with time_machine.travel(datetime(2026, 11, 24, 15, 0, 1, tzinfo=UTC), tick=False):
        kept(project, 1)
    with time_machine.travel(datetime(2026, 11, 24, 14, 59, 59, tzinfo=UTC), tick=False):
        kept(project, 2)
    assert days() == [(date(2026, 11, 25), 3, 3)]


def test_what_nobody_counted_is_told_and_counted_anew(project: Project) -> None:
    DataFileFactory(dataset=DatasetFactory(project=project), size_bytes=7)
    told = {(problem.check, problem.expected, problem.found) for problem in verify()}
    quota.recount(project.pk)
    assert told == {
        ("a project's allowance is used by its files", "7", "none"),
        ("what is metered is what the files say", "7", "none"),
    }
    assert ([row[1:] for row in days()], verify()) == ([(7, 7)], [])
