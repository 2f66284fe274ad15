"""Running time becomes facts: whole GPU-seconds, once."""

from __future__ import annotations

from datetime import datetime

from django.db import connection, transaction
from django.db.models import QuerySet

from portal.accounts.models import Organization, Project, User
from portal.catalog.models import Offering, Price
from portal.core.periods import Interval, day_of, interval_of_day
from portal.usage.models import UsageRecord


class OtherNumbers(Exception):
    """Part of this time of this attempt is recorded already, with another start, end or number of GPUs."""


@transaction.atomic
def record(
    *,
    attempt_code: str,
    job_code: str,
    organization: Organization,
    project: Project,
    user: User,
    offering: Offering,
    price: Price,
    gpus: int,
    started_at: datetime,
    ended_at: datetime,
) -> list[UsageRecord]:
    """Store what the attempt used in [started_at, ended_at), cut at midnight in Japan, and add it to the daily sums.

    Instants are taken down to the whole second, so that intervals that touch still do and no second is lost or counted
    twice. Less than a second gives []. The same interval again changes nothing and gives the records that are there.
    Raises OtherNumbers; nothing is stored then.
    """
    whole = Interval(started_at.replace(microsecond=0), ended_at.replace(microsecond=0))
    if gpus < 1:
        raise ValueError("An attempt uses at least one GPU.")
    wanted = [
        UsageRecord(
            organization=organization,
            project=project,
            user=user,
            provider_id=offering.provider_id,
            offering=offering,
            price=price,
            job_code=job_code,
            attempt_code=attempt_code,
            gpus=gpus,
            seconds=piece.seconds,
            gpu_seconds=piece.seconds * gpus,
            started_at=piece.start,
            ended_at=piece.end,
            day=day_of(piece.start),
        )
        for piece in _days_of(whole)
    ]
    if not wanted:
        return []
    _alone(attempt_code)
    if known := list(_overlapping(attempt_code, whole)):
        if [r.shape for r in known] != [r.shape for r in wanted]:
            raise OtherNumbers(f"{attempt_code} {whole.start:%Y-%m-%dT%H:%M:%SZ}")
        return known
    UsageRecord.objects.bulk_create(wanted)
    _add_to_days(wanted)
    return wanted


def _days_of(interval: Interval) -> list[Interval]:
    pieces = []
    start = interval.start
    while start < interval.end:
        end = min(interval.end, interval_of_day(day_of(start)).end)
        pieces.append(Interval(start, end))
        start = end
    return pieces


def _alone(attempt_code: str) -> None:
    """Two reports about one attempt wait for each other until the transaction ends: neither misses the other's."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"usage:{attempt_code}"])


def _overlapping(attempt_code: str, interval: Interval) -> QuerySet[UsageRecord]:
    return UsageRecord.objects.filter(
        attempt_code=attempt_code, started_at__lt=interval.end, ended_at__gt=interval.start
    ).order_by("started_at")


def _add_to_days(records: list[UsageRecord]) -> None:
    """The database adds, so that writers at the same moment lose nothing. In order of days, so none blocks another."""
    with connection.cursor() as cursor:
        cursor.executemany(
            """
            INSERT INTO usage_dailyusage AS known
                (organization_id, project_id, provider_id, offering_id, day, gpu_seconds, metered_until)
            VALUES (%s, %s, %s, %s, %s, %s, %s)
            ON CONFLICT (organization_id, day, project_id, provider_id, offering_id) DO UPDATE SET
                gpu_seconds = known.gpu_seconds + EXCLUDED.gpu_seconds,
                metered_until = greatest(known.metered_until, EXCLUDED.metered_until)
            """,
            [
                (r.organization_id, r.project_id, r.provider_id, r.offering_id, r.day, r.gpu_seconds, r.ended_at)
                for r in records
            ],
        )
