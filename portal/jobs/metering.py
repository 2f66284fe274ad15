"""Running time to usage records and yen, up to a watermark; and the one transaction that ends a job.

Time is the provider's own (started_at, ended_at), cut to whole seconds. The attempt's row is locked throughout, so the
same interval is never told twice; usage and billing refuse a second telling on their own as well. What billing cannot
take from the hold is never charged.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.db.models.functions import Coalesce, Now
from django.utils import timezone

from portal.billing import holds
from portal.billing.rating import rate
from portal.core.plain_text import one_line
from portal.datasets import residency
from portal.datasets.models import Leftover
from portal.datasets.residency import JobObject
from portal.jobs import logs, next_try, staging
from portal.jobs.diagnosis import TAIL_LINES, Diagnosis, Evidence, Line, diagnose
from portal.jobs.models import Artifact, Attempt, Job, JobEvent
from portal.jobs.outcomes import Outcome, outcome_of
from portal.jobs.states import FailureClass
from portal.usage.recording import record

BY = "portal:metering"
SECOND = timedelta(seconds=1)
LEFTOVERS_KEPT = timedelta(days=1)  # a database restored from a backup of today collects the same results again


def due(account_id: int) -> list[int]:
    """Attempts that were seen running long enough after their watermark."""
    since_watermark = F("seen_at") - Coalesce("metered_until", "started_at")
    running = (
        Attempt.objects.at_provider()
        .filter(account=account_id, started_at__isnull=False)
        .annotate(unmetered=since_watermark)
    )
    every = timedelta(seconds=settings.METER_EVERY_S)
    return list(running.filter(unmetered__gte=every).order_by("pk").values_list("pk", flat=True))


def meter(attempt_id: int) -> int:
    """Record and rate what was used since the watermark; seconds metered. Again changes nothing.

    Only up to the moment the provider last spoke of it: a job may have ended while nobody could ask.
    """
    with transaction.atomic():
        attempt = _locked(attempt_id)
        return _meter_until(attempt, attempt.seen_at) if attempt.seen_at else 0


def settle(
    attempt: Attempt,
    *,
    log_key: str = "",
    files: Sequence[Artifact] = (),
    notes: Sequence[JobEvent] = (),
    leftovers: Sequence[str] = (),
    objects: Sequence[JobObject] = (),
    forgotten_at: datetime | None = None,
) -> bool:
    """Everything is collected: last metering, results, place log, final state, hold released, all at once.

    False when this was done before or the lease is no longer ours. The job may be final already: then only the
    attempt is closed. A job that the provider interrupted goes on, where the person wished so.
    """
    with transaction.atomic(durable=True):
        locked = _locked(attempt.pk)
        if locked.collected_at is not None or locked.epoch != attempt.epoch:
            return False
        job = locked.job
        came = [*objects, *map(staging.artifact_object, files)]
        residency.job_objects_arrived(job.code, job.organization.code, came)
        if locked.remote_id and not job.is_final:
            if locked.started_at and locked.ended_at:
                # A job that ran at all is charged at least its first second (and the price's minimum with it).
                _meter_until(locked, max(locked.ended_at, locked.started_at + SECOND))
            leftovers = [*leftovers, *_replaced(job, files)]
            _keep_files(job, files)
            JobEvent.objects.bulk_create(notes)
            outcome = outcome_of(job, locked)
            if not next_try.again(locked, outcome, log_key=log_key, by=BY):
                _end(job, locked, outcome, log_key)
        _give_up(locked, leftovers, forgotten_at)
        Attempt.objects.filter(pk=locked.pk).update(collected_at=Now(), lease_until=None, log_key=log_key)
    return True


def seconds_between(start: datetime, end: datetime) -> int:
    """As they are metered: whole seconds of the clock, so that the times a page shows add up to what is charged."""
    return max(0, int((end.replace(microsecond=0) - start.replace(microsecond=0)).total_seconds()))


def _locked(attempt_id: int) -> Attempt:
    return (
        Attempt.objects.select_for_update(of=("self",))
        .select_related("job__organization", "job__project", "job__submitted_by", "offering", "price")
        .get(pk=attempt_id)
    )


def _meter_until(attempt: Attempt, until: datetime) -> int:
    start = attempt.metered_until or attempt.started_at
    if start is None or attempt.collected_at is not None:
        return 0
    start, end = start.replace(microsecond=0), until.replace(microsecond=0)
    if end <= start:
        return 0
    job = attempt.job
    records = record(
        attempt_code=attempt.code,
        job_code=job.code,
        organization=job.organization,
        project=job.project,
        user=job.submitted_by,
        offering=attempt.offering,
        price=attempt.price,
        gpus=job.gpus,
        started_at=start,
        ended_at=end,
    )
    charged = sum(rate(one).amount for one in records)
    used = sum(one.gpu_seconds for one in records)
    Attempt.objects.filter(pk=attempt.pk).update(metered_until=end)
    attempt.metered_until = end
    Job.objects.filter(pk=job.pk).update(
        gpu_seconds=F("gpu_seconds") + used, cost=F("cost") + charged, version=F("version") + 1
    )
    return int((end - start).total_seconds())


def _replaced(job: Job, files: Sequence[Artifact]) -> list[str]:
    """Keys of what an earlier attempt wrote to the same paths."""
    before = Artifact.objects.filter(job=job, path__in=[file.path for file in files])
    kept = {file.storage_key for file in files}
    return [key for key in before.values_list("storage_key", flat=True) if key not in kept] if files else []


def _give_up(attempt: Attempt, leftovers: Sequence[str], forgotten_at: datetime | None) -> None:
    """What is still to be removed from storage, and to the place log what was removed already."""
    forgotten = staging.prepared_keys(attempt) if forgotten_at else []
    came = residency.arrivals_of(attempt.job.code, [*leftovers, *forgotten])
    if forgotten_at:
        residency.left([came[key] for key in forgotten if key in came], at=forgotten_at)
    due_at = timezone.now() + LEFTOVERS_KEPT
    arrivals = {key: event.pk for key, event in came.items()}
    Leftover.objects.bulk_create(
        Leftover(storage_key=key, due_at=due_at, arrival=arrivals.get(key)) for key in leftovers
    )


def _keep_files(job: Job, files: Sequence[Artifact]) -> None:
    Artifact.objects.bulk_create(
        files,
        update_conflicts=True,
        unique_fields=["job", "path"],
        update_fields=["size_bytes", "sha256", "storage_key", "verified_at"],
    )


def _end(job: Job, attempt: Attempt, outcome: Outcome, log_key: str) -> None:
    # All is metered and charged by now, and nothing of what a log says goes into the sums below.
    found = _diagnosis(attempt, outcome)
    ours = outcome.failure in (None, FailureClass.TIME_LIMIT, FailureClass.OVER_BUDGET) or outcome.reason == "lost"
    holds.release(job.code, by=BY)  # before the audit chain, as at submit: one order of locks
    job.move_to(
        outcome.state,
        reason=outcome.reason,
        by=BY,
        failure=found.failure if found else "",
        diagnosis=found.stored() if found else {},
        detail={"cause": found.cause.value} if found else {},
        failure_detail="" if ours else one_line(attempt.remote_reason, 500),
        # Slurm says 0 for what it took down; the program itself has said nothing.
        exit_code=None if outcome.failure == FailureClass.INTERRUPTED else attempt.exit_code,
        started_at=attempt.started_at,
        ended_at=attempt.ended_at,
        log_key=log_key,
    )


def _diagnosis(attempt: Attempt, outcome: Outcome) -> Diagnosis | None:
    """Why it failed; None: it did not. One bounded read of what was just kept of the log."""
    if outcome.failure is None:
        return None
    log = [Line(line.number, line.text) for line in logs.tail_of(attempt, TAIL_LINES)]
    return diagnose(Evidence(outcome.failure, outcome.reason, attempt.remote_reason, attempt.exit_code, log))
