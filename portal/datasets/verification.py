"""Do the sums of storage say what the files say? Read only; repairs nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import timedelta

from django.db import connection, transaction
from django.utils import timezone

from portal.datasets import storage
from portal.datasets.cleaning import SILENCE
from portal.datasets.metering import primary_site
from portal.datasets.models import DataFile, FileState
from portal.datasets.quota import PLAIN_MAX_BYTES

LATE = timedelta(minutes=15)  # the sweep comes every five


@dataclass(frozen=True)
class Problem:
    """`found` stands where `expected` should."""

    check: str
    subject: str  # a project's code; a file's; at the store a key
    expected: str
    found: str

    def as_dict(self) -> dict[str, str]:
        return asdict(self)


def verify() -> list[Problem]:
    """Every sum that differs; [] when all hold. All checks see one moment."""
    with transaction.atomic():
        if not connection.savepoint_ids:  # the outermost transaction, so nothing was read in it yet
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        return [problem for check, sql in CHECKS.items() for problem in _run(check, sql)]


def _run(check: str, sql: str) -> Iterator[Problem]:
    with connection.cursor() as cursor:
        cursor.execute(sql, {"plain_max": PLAIN_MAX_BYTES, "site": primary_site()})
        for subject, expected, found in cursor.fetchall():
            yield Problem(check, subject, expected, found)


AT_STORE = "the store keeps no parts of an upload that is given up or that nobody knows"


def verify_at_store() -> list[Problem]:
    """Unfinished uploads that the store has kept for longer than the rule. Raises StorageUnavailable."""
    latest = timezone.now() - SILENCE - LATE
    old = {upload.upload_id: upload for upload in storage.open_uploads() if upload.started_at < latest}
    live = DataFile.objects.filter(state=FileState.UPLOADING, upload_id__in=list(old))
    for upload_id in live.values_list("upload_id", flat=True):
        del old[upload_id]
    return [Problem(AT_STORE, old[key].key, "none", f"since {old[key].started_at}") for key in sorted(old)]


# Each query gives subject, expected, found of what is wrong.
CHECKS = {
    "a project's allowance is used by its files": """
        SELECT p.code, coalesce(kept.bytes, 0)::text, coalesce(a.used_bytes::text, 'none') FROM accounts_project p
        LEFT JOIN datasets_storageallowance a ON a.project_id = p.id
        LEFT JOIN (SELECT d.project_id, sum(CASE WHEN f.state = 'uploading' AND f.part_size_bytes = 0
                                                 THEN %(plain_max)s ELSE f.size_bytes END) AS bytes
                   FROM datasets_datafile f JOIN datasets_dataset d ON d.id = f.dataset_id
                   WHERE f.state IN ('uploading', 'verifying', 'ready') GROUP BY d.project_id) kept
          ON kept.project_id = p.id
        WHERE coalesce(kept.bytes, 0) <> coalesce(a.used_bytes, 0) ORDER BY p.code
    """,
    "what is metered is what the files say": """
        SELECT p.code, coalesce(kept.bytes, 0)::text, coalesce(level.closing_bytes::text, 'none')
        FROM accounts_project p
        LEFT JOIN LATERAL (SELECT closing_bytes FROM datasets_storedbytes s
                           WHERE s.project_id = p.id AND s.site = %(site)s ORDER BY s.day DESC LIMIT 1) level ON true
        LEFT JOIN (SELECT d.project_id, sum(f.size_bytes) AS bytes
                   FROM datasets_datafile f JOIN datasets_dataset d ON d.id = f.dataset_id
                   WHERE f.state IN ('verifying', 'ready') GROUP BY d.project_id) kept ON kept.project_id = p.id
        WHERE coalesce(kept.bytes, 0) <> coalesce(level.closing_bytes, 0) ORDER BY p.code
    """,
    "no upload is kept longer than 24 hours after it fell silent": """
        SELECT code, 'given up', 'silent since ' || active_at FROM datasets_datafile
        WHERE state = 'uploading' AND active_at < now() - interval '24 hours 15 minutes' ORDER BY code
    """,
    "no project keeps more than its limit": """
        SELECT p.code, 'at most ' || a.limit_bytes, a.used_bytes::text FROM datasets_storageallowance a
        JOIN accounts_project p ON p.id = a.project_id WHERE a.used_bytes > a.limit_bytes ORDER BY p.code
    """,
}
