"""Which jobs read a dataset. Jobs live above this app, so they are asked by SQL, as money asks them for their names."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from django.core.exceptions import ValidationError
from django.db import connection
from django.utils.translation import gettext as _
from django.utils.translation import pgettext

from portal.datasets.models import Dataset

UNENDED = ("draft", "submitted", "placing", "queued", "starting", "running", "finishing")
SHOWN = 20

_READERS = """
SELECT DISTINCT job.code, job.name, job.organization_id = %(organization)s
FROM jobs_job job
JOIN jobs_jobinput input ON input.job_id = job.id
JOIN datasets_datafile file ON file.id = input.data_file_id
WHERE file.dataset_id = %(dataset)s AND job.state = ANY(%(unended)s) ORDER BY job.code LIMIT %(limit)s
"""
_HOLD = """
SELECT 1 FROM datasets_dataset
WHERE id = ANY(%s) OR id IN (SELECT dataset_id FROM datasets_datafile WHERE id = ANY(%s)) FOR KEY SHARE
"""


@dataclass(frozen=True)
class Reader:
    """A job that has not ended. Of another organization it is known that it reads, not what it is: no code, no name."""

    code: str
    name: str

    def __str__(self) -> str:
        return f"{self.name} ({self.code})" if self.code else ""


class StillRead(ValidationError):
    """Jobs that have not ended read it. `readers` are those; the message names them."""

    def __init__(self, readers: list[Reader]) -> None:
        named = [str(reader) for reader in readers if reader.code]
        if len(named) < len(readers):
            named.append(_("a job of another organization"))
        super().__init__(
            _("Jobs that have not ended read this dataset: %(jobs)s. Wait for their end, or stop them first.")
            % {"jobs": pgettext("between items of a list", ", ").join(named)}
        )
        self.readers = readers


def readers_of(dataset: Dataset) -> list[Reader]:
    """At most 20, by code. Complete for whoever has locked the dataset's row: jobs take it too (`hold`)."""
    with connection.cursor() as cursor:
        cursor.execute(
            _READERS,
            {
                "dataset": dataset.pk,
                "organization": dataset.organization_id,
                "unended": list(UNENDED),
                "limit": SHOWN,
            },
        )
        return [Reader(code, name) if ours else Reader("", "") for code, name, ours in cursor.fetchall()]


def hold(file_ids: Collection[int], dataset_ids: Collection[int] = ()) -> None:
    """Until the transaction ends nobody deletes these datasets and those of these files. Look at their state after
    this, not before: one that is deleted at this moment is waited for. Readers do not wait for each other."""
    with connection.cursor() as cursor:
        cursor.execute(_HOLD, [list(dataset_ids), list(file_ids)])
