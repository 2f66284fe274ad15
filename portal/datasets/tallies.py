"""What datasets hold, without counting files: the database keeps the sums (models.DatasetTally), this reads them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection
from django.db.models import Max, Sum

from portal.datasets.models import Dataset, DatasetTally

AT_ONCE = 200
_SUMMED = ("files", "size_bytes", "fresh", "replaced", "gone", "uploading", "verifying", "failed")

# One statement, so one moment: rows written meanwhile stay for the next time. Two at once pass each other by.
_ADD_UP = """
    WITH gone AS (
        DELETE FROM datasets_datasettally WHERE id IN (
            SELECT id FROM datasets_datasettally WHERE dataset_id = %s FOR UPDATE SKIP LOCKED
        ) RETURNING *
    )
    INSERT INTO datasets_datasettally
        (dataset_id, is_sum, files, size_bytes, fresh, replaced, gone, uploading, verifying, failed, changed_at)
    SELECT dataset_id, true, sum(files), sum(size_bytes), sum(fresh), sum(replaced), sum(gone), sum(uploading),
        sum(verifying), sum(failed), max(changed_at)
    FROM gone GROUP BY dataset_id
"""


@dataclass(frozen=True)
class Tally:
    """Of a draft. `added`, `replaced` and `removed` are files by which it differs from the newest version."""

    files: int = 0
    size_bytes: int = 0
    added: int = 0
    replaced: int = 0
    removed: int = 0
    uploading: int = 0
    verifying: int = 0
    failed: int = 0
    changed_at: datetime | None = None

    @property
    def differs(self) -> bool:
        return bool(self.added or self.replaced or self.removed)

    @property
    def unfinished(self) -> int:
        return self.uploading + self.verifying


NOTHING = Tally()


def tallies_of(datasets: Iterable[Dataset]) -> dict[int, Tally]:
    """By the dataset's key, in one statement; a dataset that never had a file is not in it."""
    rows = (
        DatasetTally.objects.filter(dataset__in=[dataset.pk for dataset in datasets])
        .values("dataset_id")
        .annotate(*(Sum(name) for name in _SUMMED), Max("changed_at"))
    )
    found: dict[int, Tally] = {}
    row: dict[str, Any]
    for row in rows:  # type: ignore[assignment]
        sums = {name: int(row[f"{name}__sum"]) for name in _SUMMED}
        fresh, replaced = sums.pop("fresh"), sums["replaced"]
        found[row["dataset_id"]] = Tally(
            added=fresh - replaced, removed=sums.pop("gone") - replaced, changed_at=row["changed_at__max"], **sums
        )
    return found


def tally_of(dataset: Dataset) -> Tally:
    return tallies_of([dataset]).get(dataset.pk, NOTHING)


def add_up() -> int:
    """Put together what statements have written since the last time. Safe at any moment; returns how many datasets."""
    written = DatasetTally.objects.filter(is_sum=False).order_by("dataset_id").values_list("dataset_id", flat=True)
    datasets = list(written.distinct()[:AT_ONCE])
    for pk in datasets:
        with connection.cursor() as cursor:
            cursor.execute(_ADD_UP, [pk])
    return len(datasets)
