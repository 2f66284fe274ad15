"""Bytes kept become facts: one row for each project, kind and place of a day in Japan that is over, once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal

from django.db import connection, transaction
from django.db.models import Max

from portal.accounts.models import Organization
from portal.core.periods import BillingMonth, day_of, interval_of_day
from portal.usage.models import StorageDay, StorageKind, StorageUsage

# What began before midnight and ends after it has been written by then.
LATE = timedelta(minutes=10)
DAYS_AT_ONCE = 400


@dataclass(frozen=True)
class Peak:
    organization_id: int
    project_id: int
    site: str
    peak_bytes: int


def record_days(
    kind: StorageKind, *, now: datetime, first: date | None, peaks_of: Callable[[date], Iterable[Peak]]
) -> list[date]:
    """Record each day that is over and is not recorded yet, the oldest first, and say which these were.

    `first`: the day to begin with where none is recorded yet; None: there is nothing yet. May run at any time and as
    often as one likes, also twice at the same moment.
    """
    newest = StorageDay.objects.filter(kind=kind).aggregate(Max("day"))["day__max"]
    day = newest + timedelta(days=1) if newest else first
    recorded: list[date] = []
    while day is not None and day < day_of(now - LATE) and len(recorded) < DAYS_AT_ONCE:
        with transaction.atomic():
            _record(kind, day, peaks_of(day))
            StorageDay.objects.bulk_create([StorageDay(kind=kind, day=day)], ignore_conflicts=True)
        recorded.append(day)
        day += timedelta(days=1)
    return recorded


def _record(kind: StorageKind, day: date, peaks: Iterable[Peak]) -> None:
    """A row that is there already stays: another worker records the same day from the same facts."""
    whole = interval_of_day(day)
    StorageUsage.objects.bulk_create(
        (
            StorageUsage(
                organization_id=peak.organization_id,
                project_id=peak.project_id,
                kind=kind,
                site=peak.site,
                day=day,
                started_at=whole.start,
                ended_at=whole.end,
                peak_bytes=peak.peak_bytes,
                byte_hours=peak.peak_bytes * 24,
            )
            for peak in peaks
            if peak.peak_bytes
        ),
        batch_size=1000,
        ignore_conflicts=True,
    )


@dataclass(frozen=True)
class StorageMonth:
    """Byte-hours of a month so far. `complete_to`: the last of its days that is recorded for all; None: not one."""

    datasets: Decimal
    results: Decimal
    complete_to: date | None

    @property
    def gb_days(self) -> Decimal:
        return self._gb_days(self.datasets + self.results)

    @property
    def gb_days_of_datasets(self) -> Decimal:
        return self._gb_days(self.datasets)

    @property
    def gb_days_of_results(self) -> Decimal:
        return self._gb_days(self.results)

    @staticmethod
    def _gb_days(byte_hours: Decimal) -> Decimal:
        return byte_hours / 24 / 1000**3


_MONTH = """
SELECT coalesce(sum(byte_hours) FILTER (WHERE kind = 'datasets'), 0),
       coalesce(sum(byte_hours) FILTER (WHERE kind = 'results'), 0),
       (SELECT max(day) FROM usage_storageday WHERE kind = 'datasets' AND day <= %(last)s),
       (SELECT max(day) FROM usage_storageday WHERE kind = 'results' AND day <= %(last)s)
FROM usage_storageusage
WHERE organization_id = %(organization)s AND day BETWEEN %(first)s AND %(last)s
  AND (%(all)s OR project_id = ANY(%(projects)s))
"""


def storage_of_month(
    organization: Organization, month: BillingMonth, *, projects: Collection[int] | None = None
) -> StorageMonth:
    """One query. `projects`: None is all of them."""
    with connection.cursor() as cursor:
        cursor.execute(
            _MONTH,
            {
                "organization": organization.pk,
                "first": month.first_day,
                "last": month.last_day,
                "all": projects is None,
                "projects": list(projects or ()),
            },
        )
        datasets, results, *recorded = cursor.fetchone()
    complete_to = min(recorded) if None not in recorded else None
    if complete_to is not None and complete_to < month.first_day:
        complete_to = None
    return StorageMonth(datasets, results, complete_to)
