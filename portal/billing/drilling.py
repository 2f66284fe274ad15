"""From a month's total down to what was measured: people, jobs, charges with their usage records."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.db.models import QuerySet, Sum

from portal.accounts.models import Organization, User
from portal.billing.models import Charge, PersonCharge
from portal.billing.overview import Scope
from portal.core.periods import BillingMonth

PEOPLE_SHOWN = 500


@dataclass(frozen=True)
class PersonLine:
    """A person's jobs of a month. `name` empty: people whose jobs the reader does not see, together."""

    pk: int | None
    name: str
    people: int
    amount: int
    gpu_seconds: int


@dataclass(frozen=True)
class People:
    lines: list[PersonLine]
    storage: int  # yen that no person's job cost
    more: int  # people beyond those shown
    rest: int  # what they cost
    gpu_seconds: int  # of all of them

    @property
    def amount(self) -> int:
        return sum(line.amount for line in self.lines) + self.rest + self.storage


def people_of(scope: Scope, month: BillingMonth, *, described: Collection[int] | None) -> People:
    """Two queries. `described`: the projects whose jobs the reader may see; None is all."""
    values: dict[str, Any] = {
        "organization": scope.organization.pk,
        "month": month.first_day,
        "projects": list(scope.projects or ()),
        "all_described": described is None,
        "described": list(described or ()),
        "limit": PEOPLE_SHOWN,
    }
    where = "" if scope.projects is None else "AND project_id = ANY(%(projects)s)"
    with connection.cursor() as cursor:
        cursor.execute(_PEOPLE.format(where=where), values)
        rows = cursor.fetchall()
        cursor.execute(_STORAGE.format(where=where), values)
        (storage,) = cursor.fetchone()
    lines = []
    for pk, family_name, given_name, email, people, amount, gpu_seconds, *_of_all in rows:
        name = str(User(family_name=family_name, given_name=given_name, email=email)) if pk else ""
        lines.append(PersonLine(pk, name, people, int(amount), int(gpu_seconds)))
    everybody, whole, whole_gpu_seconds = map(int, rows[0][-3:]) if rows else (0, 0, 0)
    rest = whole - sum(line.amount for line in lines)
    return People(lines, int(storage), everybody - len(lines), rest, whole_gpu_seconds)


_PEOPLE = """
    SELECT person.id, person.family_name, person.given_name, person.email, people, amount, gpu_seconds,
        count(*) OVER () AS everybody, sum(amount) OVER () AS whole, sum(gpu_seconds) OVER () AS whole_gpu_seconds
    FROM (
        SELECT CASE WHEN %(all_described)s OR project_id = ANY(%(described)s) THEN user_id END AS shown,
            count(DISTINCT user_id) AS people, sum(amount) AS amount, sum(gpu_seconds) AS gpu_seconds
        FROM billing_personcharge
        WHERE organization_id = %(organization)s AND month = %(month)s {where}
        GROUP BY 1
    ) AS sums LEFT JOIN accounts_user person ON person.id = shown
    WHERE amount <> 0 OR gpu_seconds <> 0
    ORDER BY amount DESC, person.id LIMIT %(limit)s
"""
_STORAGE = """
    SELECT coalesce(sum(amount), 0) FROM billing_monthlycharge
    WHERE organization_id = %(organization)s AND month = %(month)s AND offering_id IS NULL {where}
"""


def charges_of(job_code: str, scope: Scope, *, after: int = 0, limit: int | None = 100) -> list[Charge]:
    """Of a job, the oldest first, beyond the primary key `after`; `limit` None is all. [] where the reader's scope has
    none of them."""
    charges = Charge.objects.filter(job_code=job_code, organization=scope.organization, pk__gt=after)
    if scope.projects is not None:
        charges = charges.filter(project__in=scope.projects)
    related = ("record", "price", "offering", "project", "contracting_member", "service_member", "host_member")
    return list(charges.select_related(*related).order_by("pk")[:limit])


def sum_of(job_code: str, scope: Scope) -> int:
    """Whole yen of all charges of the job that are in the scope."""
    charges = Charge.objects.filter(job_code=job_code, organization=scope.organization)
    if scope.projects is not None:
        charges = charges.filter(project__in=scope.projects)
    return int(charges.aggregate(sum=Sum("amount", default=0))["sum"])


def people_with_charges(organization: Organization | None) -> QuerySet[PersonCharge, Any]:
    """Keys of the people whose jobs were ever charged to the organization."""
    return PersonCharge.objects.filter(organization=organization).values("user")
