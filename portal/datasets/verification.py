"""Do the sums of storage say what the files say? Read only; repairs nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass

from django.db import connection, transaction

from portal.datasets.quota import PLAIN_MAX_BYTES


@dataclass(frozen=True)
class Problem:
    """`found` stands where `expected` should."""

    check: str
    subject: str  # a project's code
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
        cursor.execute(sql, {"plain_max": PLAIN_MAX_BYTES})
        for subject, expected, found in cursor.fetchall():
            yield Problem(check, subject, expected, found)


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
    "no project keeps more than its limit": """
        SELECT p.code, 'at most ' || a.limit_bytes, a.used_bytes::text FROM datasets_storageallowance a
        JOIN accounts_project p ON p.id = a.project_id WHERE a.used_bytes > a.limit_bytes ORDER BY p.code
    """,
}
