"""What jobs have left in the store, metered by the day: artifacts, and logs of jobs that have ended, by their rows.

Both stay, so a day's peak is what lay there at its end. What no row knows the size of is not metered: logs of attempts
before the last one, and what is on its way between a machine and the store.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta

from django.db import connection

from portal.core.periods import day_of, interval_of_day
from portal.datasets.metering import primary_site
from portal.usage.models import StorageKind
from portal.usage.storage import LATE, Peak, record_days

_PEAKS = """
SELECT organization_id, project_id, sum(bytes) FROM (
    SELECT job.organization_id, job.project_id, artifact.size_bytes AS bytes
    FROM jobs_artifact artifact JOIN jobs_job job ON job.id = artifact.job_id WHERE artifact.created_at < %(end)s
    UNION ALL
    SELECT organization_id, project_id, log_bytes FROM jobs_job WHERE log_key <> '' AND ended_at < %(end)s
) kept GROUP BY organization_id, project_id
"""


def record_storage(now: datetime) -> list[date]:
    """Usage records of every day that is over and has none. The first ever is of the day before this one."""
    yesterday = day_of(now - LATE) - timedelta(days=1)
    return record_days(StorageKind.RESULTS, now=now, first=yesterday, peaks_of=_peaks_of)


def _peaks_of(day: date) -> Iterator[Peak]:
    with connection.cursor() as cursor:
        cursor.execute(_PEAKS, {"end": interval_of_day(day).end})
        for organization_id, project_id, peak_bytes in cursor.fetchall():
            yield Peak(organization_id, project_id, primary_site(), int(peak_bytes))
