"""How many bytes of a project lie in the store: the level after each change, and the peak of each day in Japan.

Counted from a file's arrival to its deletion; parts of uploads under way are not, they are kept for a day at most.
quota.py calls `changed` with the allowance's row locked, so that a project's changes follow each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from urllib.parse import urlsplit

from django.conf import settings
from django.db import connection
from django.db.models import Min
from django.utils import timezone

from portal.core.periods import day_of
from portal.datasets.models import StoredBytes
from portal.usage.models import StorageKind
from portal.usage.storage import Peak, record_days


def primary_site() -> str:
    """The store's host: what `site` says in rows of today's one store."""
    return urlsplit(settings.S3_ENDPOINT).hostname or ""


def changed(project_id: int, by_bytes: int, *, site: str) -> None:
    """The caller's transaction has the project's allowance locked."""
    newest = StoredBytes.objects.filter(project=project_id, site=site).order_by("-day").first()
    before = newest.closing_bytes if newest else 0
    _level(project_id, site, newest, before=before, after=max(0, before + by_bytes))


def recounted(project_id: int, stored_bytes: int, *, site: str) -> None:
    """As `changed`, to what the files say now."""
    newest = StoredBytes.objects.filter(project=project_id, site=site).order_by("-day").first()
    before = newest.closing_bytes if newest else 0
    if before != stored_bytes:
        _level(project_id, site, newest, before=before, after=stored_bytes)


def _level(project_id: int, site: str, newest: StoredBytes | None, *, before: int, after: int) -> None:
    today = day_of(timezone.now())
    if newest is not None and newest.day >= today:  # also where another host's clock is already past midnight
        StoredBytes.objects.filter(pk=newest.pk).update(closing_bytes=after, peak_bytes=max(newest.peak_bytes, after))
    else:
        StoredBytes.objects.create(
            project_id=project_id, site=site, day=today, peak_bytes=max(before, after), closing_bytes=after
        )


def record(now: datetime) -> list[date]:
    """Usage records of every day that is over and has none; see usage/storage.py."""
    first = StoredBytes.objects.aggregate(Min("day"))["day__min"]
    return record_days(StorageKind.DATASETS, now=now, first=first, peaks_of=_peaks_of)


# On a day without a change everything stayed as the last change before it had left it.
_PEAKS = """
SELECT DISTINCT ON (s.project_id, s.site) p.organization_id, s.project_id, s.site,
       CASE WHEN s.day = %(day)s THEN s.peak_bytes ELSE s.closing_bytes END
FROM datasets_storedbytes s JOIN accounts_project p ON p.id = s.project_id
WHERE s.day <= %(day)s ORDER BY s.project_id, s.site, s.day DESC
"""


def _peaks_of(day: date) -> Iterator[Peak]:
    with connection.cursor() as cursor:
        cursor.execute(_PEAKS, {"day": day})
        for organization_id, project_id, site, peak_bytes in cursor.fetchall():
            yield Peak(organization_id, project_id, site, peak_bytes)
