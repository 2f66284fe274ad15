"""A provider's report becomes records, charges and the sums of jobs, a few thousand lines in one transaction.

Our own tracker is the meter of record: a report adds what no tracker has told of attempts that are over, and corrects
what a report told before.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import islice

from django.db import connection, transaction

from portal.billing.rating import Rated, rate_all
from portal.jobs.models import Attempt
from portal.usage import intake
from portal.usage.intake import Intake, ReportLine
from portal.usage.models import UsageReport
from portal.usage.recording import AttemptFacts

LINES_AT_ONCE = 5000


def take_in(report: UsageReport, lines: Iterable[ReportLine]) -> Intake:
    """Store and charge what is new in them; what became of all. Again, also after it was cut off, changes nothing."""
    whole = Intake()
    remaining = iter(lines)
    while some := list(islice(remaining, LINES_AT_ONCE)):
        with transaction.atomic():
            part = intake.take_in(report, some, facts_of=facts_of)
            _add_to_jobs(rate_all(part.records))
        whole.add(part)
    return whole


def facts_of(attempt_codes: Collection[str]) -> Mapping[str, AttemptFacts]:
    """Of the attempts that a provider has had."""
    attempts = Attempt.objects.filter(code__in=attempt_codes).exclude(remote_id="")
    columns = (
        "job__organization", "job__project", "job__submitted_by", "offering__provider", "offering", "price",
        "job__code", "job__gpus",
    )  # fmt: skip
    return {
        row["code"]: AttemptFacts(
            organization_id=row["job__organization"],
            project_id=row["job__project"],
            user_id=row["job__submitted_by"],
            provider_id=row["offering__provider"],
            offering_id=row["offering"],
            price_id=row["price"],
            job_code=row["job__code"],
            gpus=row["job__gpus"],
            is_tracked=row["collected_at"] is None,
        )
        for row in attempts.values("code", "collected_at", *columns)
    }


def _add_to_jobs(rated: Sequence[Rated]) -> None:
    sums: dict[str, list[int]] = {}
    for one in rated:
        job = sums.setdefault(one.record.facts.job_code, [0, 0])
        job[0] += one.record.gpu_seconds
        job[1] += one.amount
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE jobs_job SET gpu_seconds = jobs_job.gpu_seconds + more.gpu_seconds, cost = cost + more.amount,"
            " version = version + 1"
            " FROM unnest(%s::text[], %s::bigint[], %s::bigint[]) AS more (code, gpu_seconds, amount)"
            " WHERE jobs_job.code = more.code",
            [list(sums), [job[0] for job in sums.values()], [job[1] for job in sums.values()]],
        )
