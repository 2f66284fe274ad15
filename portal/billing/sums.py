"""Sums of charges by month and by person, kept exact: whoever writes charges adds them here, in their transaction."""

from __future__ import annotations

from collections.abc import Collection

from django.db import connection, transaction

from portal.accounts.models import Organization
from portal.billing import ledger

_CHARGED = """
    SELECT c.organization_id, c.project_id, c.provider_id, c.offering_id, date_trunc('month', c.day)::date AS month,
        c.job_code, c.amount, coalesce(r.gpu_seconds, 0) AS gpu_seconds, r.user_id
    FROM billing_charge c LEFT JOIN usage_usagerecord r ON r.id = c.record_id
    WHERE {where}
"""
# In one order, so that no two writers wait for each other.
_ADD = """
WITH charged AS ({charged}),
monthly AS (
    INSERT INTO billing_monthlycharge AS known
        (organization_id, month, project_id, provider_id, offering_id, amount, gpu_seconds)
    SELECT organization_id, month, project_id, provider_id, offering_id, sum(amount), sum(gpu_seconds)
    FROM charged GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5
    ON CONFLICT (organization_id, month, project_id, provider_id, offering_id) DO UPDATE SET
        amount = known.amount + EXCLUDED.amount, gpu_seconds = known.gpu_seconds + EXCLUDED.gpu_seconds
)
INSERT INTO billing_personcharge AS known (organization_id, month, project_id, user_id, amount, gpu_seconds)
SELECT organization_id, month, project_id, user_id, sum(amount), sum(gpu_seconds)
FROM charged WHERE user_id IS NOT NULL GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
ON CONFLICT (organization_id, month, project_id, user_id) DO UPDATE SET
    amount = known.amount + EXCLUDED.amount, gpu_seconds = known.gpu_seconds + EXCLUDED.gpu_seconds
"""


def add(charges: Collection[int]) -> None:
    """Primary keys of charges that this transaction has just written, under the locks of their accounts. One query."""
    _run("c.id = ANY(%s)", list(charges))


@transaction.atomic
def recount(organization: Organization) -> None:
    """Anew from all charges. Charges are written under the account's lock, which this takes: none is missed."""
    ledger.locked(organization)
    with connection.cursor() as cursor:
        for table in ("billing_monthlycharge", "billing_personcharge"):
            cursor.execute(f"DELETE FROM {table} WHERE organization_id = %s", [organization.pk])  # noqa: S608 - above
    _run("c.organization_id = %s", organization.pk)


def _run(where: str, value: int | list[int]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(_ADD.format(charged=_CHARGED.format(where=where)), [value])
