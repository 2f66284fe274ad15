from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import IntegrityError, transaction

from portal.accounts.models import Project
from portal.core.periods import BillingMonth
from portal.usage.models import StorageDay, StorageKind, StorageUsage
from portal.usage.storage import Peak, StorageMonth, record_days, storage_of_month
from tests.factories import ProjectFactory

pytestmark = pytest.mark.django_db
MIDNIGHT = datetime(2026, 11, 24, 15, tzinfo=UTC)  # in Japan, to the 25th
GB = 10**9


def record(project: Project, now: datetime, *, first: date | None, peak: int = GB) -> list[date]:
    def peaks_of(day: date) -> Iterable[Peak]:
        return [
            Peak(project.organization_id, project.pk, "s3.example", peak * day.day),
            Peak(project.organization_id, ProjectFactory(organization=project.organization).pk, "s3.example", 0),
        ]

    return record_days(StorageKind.DATASETS, now=now, first=first, peaks_of=peaks_of)


def test_every_day_that_is_over_is_recorded_once_and_missed_ones_are_caught_up(project: Project) -> None:
    first = date(2026, 11, 23)
    early = record(project, MIDNIGHT + timedelta(minutes=10) - timedelta(microseconds=1), first=first)
    late = [record(project, MIDNIGHT + timedelta(minutes=10), first=first) for _ in range(2)]
    caught_up = record(project, MIDNIGHT + timedelta(days=3), first=first)
    assert (early, late) == ([first], [[date(2026, 11, 24)], []])
    assert caught_up == [date(2026, 11, 25), date(2026, 11, 26)]
    rows = StorageUsage.objects.order_by("day").values_list(
        "project", "kind", "site", "day", "peak_bytes", "byte_hours"
    )
    assert list(rows) == [
        (project.pk, "datasets", "s3.example", date(2026, 11, day), day * GB, Decimal(day * GB * 24))
        for day in (23, 24, 25, 26)
    ]
    row = StorageUsage.objects.get(day=date(2026, 11, 24))
    assert (row.started_at, row.ended_at) == (MIDNIGHT - timedelta(days=1), MIDNIGHT)


def test_nothing_is_recorded_where_nothing_was_ever_kept(project: Project) -> None:
    assert (record(project, MIDNIGHT, first=None), StorageDay.objects.count()) == ([], 0)


def test_a_day_that_two_workers_record_is_one_day(project: Project) -> None:
    record(project, MIDNIGHT, first=date(2026, 11, 23))
    with transaction.atomic(), pytest.raises(IntegrityError), transaction.atomic():
        StorageDay.objects.create(kind="datasets", day=date(2026, 11, 23))
    with pytest.raises(IntegrityError), transaction.atomic():  # the database keeps records as they are
        StorageUsage.objects.all()._raw_delete("default")


def test_a_month_is_complete_up_to_the_day_that_all_kinds_have(project: Project) -> None:
    month, other = BillingMonth(2026, 11), ProjectFactory(organization=project.organization)
    empty = storage_of_month(project.organization, month)
    record(project, MIDNIGHT + timedelta(days=1), first=date(2026, 10, 31))
    one_kind = storage_of_month(project.organization, month)
    record_days(
        StorageKind.RESULTS, now=MIDNIGHT, first=date(2026, 11, 22),
        peaks_of=lambda day: [Peak(project.organization_id, other.pk, "s3.example", GB)],
    )  # fmt: skip
    both = storage_of_month(project.organization, month)
    datasets = Decimal(sum(range(1, 25)) * GB * 24)
    assert (empty, one_kind) == (StorageMonth(Decimal(0), Decimal(0), None), StorageMonth(datasets, Decimal(0), None))
    assert both == StorageMonth(datasets, Decimal(2 * GB * 24), date(2026, 11, 23))
    assert (both.gb_days_of_datasets, both.gb_days_of_results, both.gb_days) == (300, 2, 302)
    assert storage_of_month(project.organization, month, projects=[other.pk]).datasets == 0
    assert storage_of_month(project.organization, BillingMonth(2026, 12)).complete_to is None
