"""Running time becomes facts: whole GPU-seconds, once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, NamedTuple

from django.db import connection, transaction
from django.db.models import QuerySet

from portal.accounts.models import Organization, Project, User
from portal.catalog.models import Offering, Price
from portal.core.periods import Interval, day_of, interval_of_day
from portal.usage.models import UsageRecord


@dataclass(frozen=True, slots=True)
class AttemptFacts:
    """What a record of an attempt needs to know besides its time. Primary keys."""

    organization_id: int
    project_id: int
    user_id: int
    provider_id: int
    offering_id: int
    price_id: int
    job_code: str
    gpus: int
    is_tracked: bool = False  # our own tracker meters it still: nobody else may


class Recorded(NamedTuple):
    """A stored record as those above need it who charge and sum many of them. Made by the ten thousand, and a tuple is
    made sooner than a frozen dataclass."""

    id: int
    facts: AttemptFacts
    attempt_code: str
    started_at: datetime
    ended_at: datetime
    day: date
    seconds: int  # negative: takes back the record it corrects
    source_id: str = ""
    revision: int = 1
    corrects_id: int | None = None

    @property
    def gpu_seconds(self) -> int:
        return self.seconds * self.facts.gpus

    @classmethod
    def of(cls, record: UsageRecord) -> Recorded:
        facts = AttemptFacts(
            organization_id=record.organization_id,
            project_id=record.project_id,
            user_id=record.user_id,
            provider_id=record.provider_id,
            offering_id=record.offering_id,
            price_id=record.price_id,
            job_code=record.job_code,
            gpus=record.gpus,
        )
        return cls(
            id=record.pk,
            facts=facts,
            attempt_code=record.attempt_code,
            started_at=record.started_at,
            ended_at=record.ended_at,
            day=record.day,
            seconds=record.seconds,
            source_id=record.source_id,
            revision=record.revision,
            corrects_id=record.corrects_id,
        )


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
    add_to_days([Recorded.of(one) for one in wanted])
    return wanted


def _days_of(interval: Interval) -> list[Interval]:
    pieces = []
    start = interval.start
    while start < interval.end:
        end = min(interval.end, interval_of_day(day_of(start)).end)
        pieces.append(Interval(start, end))
        start = end
    return pieces


def alone_with_reports() -> None:
    """Whoever takes in a report is alone until the transaction ends: attempts in it have no lock of their own."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended('usage', 0))")


def _alone(attempt_code: str) -> None:
    """Two reports about one attempt wait for each other until the transaction ends: neither misses the other's."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_advisory_xact_lock_shared(hashtextextended('usage', 0)),"
            " pg_advisory_xact_lock(hashtextextended(%s, 0))",
            [f"usage:{attempt_code}"],
        )


def _overlapping(attempt_code: str, interval: Interval) -> QuerySet[UsageRecord]:
    return UsageRecord.objects.filter(
        attempt_code=attempt_code, started_at__lt=interval.end, ended_at__gt=interval.start
    ).order_by("started_at")


def add_to_days(records: Iterable[Recorded]) -> None:
    """The database adds, so that writers at the same moment lose nothing. In one order, so that none blocks another."""
    sums: dict[tuple[int, date, int, int, int], list[Any]] = {}
    for record in records:
        of = record.facts
        key = (of.organization_id, record.day, of.project_id, of.provider_id, of.offering_id)
        known = sums.setdefault(key, [0, record.ended_at])
        known[0] += record.gpu_seconds
        known[1] = max(known[1], record.ended_at)
    rows = [(*key, *sums[key]) for key in sorted(sums)]
    with connection.cursor() as cursor:
        # More is taken back than comes in only where a row is there already.
        for sql, part in ((_ADD, [r for r in rows if r[5] >= 0]), (_TAKE, [r for r in rows if r[5] < 0])):
            if part:
                cursor.execute(sql, [list(column) for column in zip(*part, strict=True)])


_DAYS = """
    unnest(%s::bigint[], %s::date[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::timestamptz[])
        AS told (organization_id, day, project_id, provider_id, offering_id, gpu_seconds, metered_until)
"""
_ADD = f"""
    INSERT INTO usage_dailyusage AS known
        (organization_id, day, project_id, provider_id, offering_id, gpu_seconds, metered_until)
    SELECT * FROM {_DAYS}
    ON CONFLICT (organization_id, day, project_id, provider_id, offering_id) DO UPDATE SET
        gpu_seconds = known.gpu_seconds + EXCLUDED.gpu_seconds,
        metered_until = greatest(known.metered_until, EXCLUDED.metered_until)
"""  # noqa: S608 - constants of this file
_TAKE = f"""
    UPDATE usage_dailyusage known SET gpu_seconds = known.gpu_seconds + told.gpu_seconds
    FROM {_DAYS}
    WHERE (known.organization_id, known.day, known.project_id, known.provider_id, known.offering_id)
        = (told.organization_id, told.day, told.project_id, told.provider_id, told.offering_id)
"""  # noqa: S608 - constants of this file
