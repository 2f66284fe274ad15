"""What an ended attempt has left behind is taken over: log and results into storage, secrets deleted."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog
from django.db import DatabaseError, connection, transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone

from portal.catalog.provider_accounts import adapter_of
from portal.core.failpoints import failpoint
from portal.core.plain_text import one_line
from portal.datasets.residency import JobObject
from portal.datasets.storage import StorageError
from portal.jobs import staging
from portal.jobs.keys import worker_name
from portal.jobs.models import Artifact, Attempt, JobEvent
from portal.jobs.sweep_results import keep_result
from portal.providers.errors import ProviderError

log = structlog.get_logger(__name__)

# Renewed while the worker lives: 20 GB take minutes, and a worker that was killed is noticed after half a one.
LEASE_S = 30
RENEW_S = 10
COLLECT_FOR = timedelta(hours=6)
DAMAGED_TRIES = 5
DAMAGED_NAMED = 20  # paths that the event names
BY = "portal:collection"


@dataclass
class Results:
    """What one ended attempt left, fetched and in storage, ready for metering.settle."""

    attempt: Attempt
    log_key: str = ""
    files: list[Artifact] = field(default_factory=list)
    notes: list[JobEvent] = field(default_factory=list)  # for the job's page, to be stored
    leftovers: list[str] = field(default_factory=list)  # keys in storage that nobody needs once this is settled
    objects: list[JobObject] = field(default_factory=list)  # for the place log, all but `files`
    forgotten_at: datetime | None = None  # staging.prepared_keys are gone since then; None: they are among `leftovers`


def take_ended(account_id: int) -> Attempt | None:
    """Claim one ended attempt that nobody is collecting."""
    with transaction.atomic(durable=True):
        attempt = (
            Attempt.objects.to_collect()
            .filter(account=account_id)
            .select_related("account", "job__organization")
            .select_for_update(of=("self",), skip_locked=True)
            .order_by("id")
            .first()
        )
        if attempt is None:
            return None
        attempt.epoch += 1
        Attempt.objects.filter(pk=attempt.pk).update(
            epoch=attempt.epoch, lease_owner=worker_name(), lease_until=Now() + timedelta(seconds=LEASE_S)
        )
    return attempt


def collect(attempt: Attempt) -> Results | None:
    """Fetch what a taken attempt left. None: not possible yet, asked again later; given up openly after six hours, and
    what came until then is kept."""
    results, found = Results(attempt), staging.Collected()
    try:
        adapter = adapter_of(attempt.account)
        if attempt.remote_id:
            with _lease_renewed(attempt):
                staging.forget_login(attempt, adapter)
                staging.collect(attempt, adapter, found)
                if (found.damaged or found.log_is_damaged) and not _is_hopeless(attempt, damaged=True):
                    log.warning("results damaged in the store", job=attempt.job.code)
                    _collect_later(attempt, "what was read back from the store is not what was sent there")
                    return None
                keep_result(attempt.job, found.files)
            results.leftovers = staging.on_its_way(attempt, adapter)
        staging.forget(attempt, adapter)
        results.forgotten_at = timezone.now()
    except (ProviderError, StorageError, staging.DamagedResults) as trouble:
        log.warning("results not collected", job=attempt.job.code, reason=str(trouble))
        if not _is_hopeless(attempt, damaged=isinstance(trouble, staging.DamagedResults)):
            _collect_later(attempt, str(trouble))
            return None
        with suppress(ProviderError, StorageError):
            results.leftovers = staging.on_its_way(attempt, adapter_of(attempt.account))
            staging.forget(attempt, adapter_of(attempt.account))
            results.forgotten_at = timezone.now()
        if results.forgotten_at is None:
            results.leftovers += staging.prepared_keys(attempt)
    results.log_key, results.files, results.objects = found.log_key, found.files, found.objects
    results.notes = _notes(attempt, found)
    failpoint("collect.before_settle")
    return results


def _notes(attempt: Attempt, found: staging.Collected) -> list[JobEvent]:
    notes = [] if found.is_whole else [_note(attempt, "results_lost")]
    if found.was_cut:
        notes.append(_note(attempt, "results_cut"))
    if found.skipped:
        notes.append(_note(attempt, "results_skipped"))
    if found.log_is_damaged:
        notes.append(_note(attempt, "log_damaged"))
    if found.damaged:
        notes.append(_note(attempt, "results_damaged", count=len(found.damaged), paths=found.damaged[:DAMAGED_NAMED]))
    return notes


def _note(attempt: Attempt, reason: str, **detail: object) -> JobEvent:
    return JobEvent(job=attempt.job, kind="data", reason=reason, by=BY, detail=detail)


@contextmanager
def _lease_renewed(attempt: Attempt) -> Iterator[None]:
    """Keep the lease while the block lasts, if it is still ours: nobody else then does the same work again."""
    done = threading.Event()

    def renew() -> None:
        try:
            while not done.wait(RENEW_S):
                until = Now() + timedelta(seconds=LEASE_S)
                if not Attempt.objects.filter(pk=attempt.pk, epoch=attempt.epoch).update(lease_until=until):
                    return
        except DatabaseError:  # it is away: then the settling fails too, and somebody begins again
            log.warning("lease not renewed", exc_info=True)
        finally:
            connection.close()

    renewing = threading.Thread(target=renew, name="collect-lease", daemon=True)
    renewing.start()
    try:
        yield
    finally:
        done.set()
        renewing.join()


def _is_hopeless(attempt: Attempt, *, damaged: bool) -> bool:
    if damaged and attempt.collect_tries + 1 >= DAMAGED_TRIES:
        return True
    return timezone.now() - (attempt.ended_at or attempt.created_at) > COLLECT_FOR


def _collect_later(attempt: Attempt, summary: str) -> None:
    wait_s = min(2 ** min(attempt.collect_tries, 10), 120)
    with transaction.atomic(durable=True):
        ours = Attempt.objects.filter(pk=attempt.pk, epoch=attempt.epoch).update(
            collect_tries=F("collect_tries") + 1,
            lease_until=None,
            not_before=Now() + timedelta(seconds=wait_s),
            last_error=one_line(summary),
        )
        if ours and attempt.collect_tries == 2:
            JobEvent.objects.create(job=attempt.job, kind="data", reason="results_late", by=BY)
            attempt.job.touch()
