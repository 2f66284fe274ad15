"""What the provider says of its jobs, in one call per account; the wish to stop carried there; logs followed.

News only moves a job forward: queued, running, ended. Late or backward news is dropped, news that changes nothing
writes nothing. "Cannot be reached" and "does not list it" are never failure.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeGuard, cast

import structlog
from django.core.cache import cache
from django.db import DataError, transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from portal.billing.models import Budget
from portal.catalog.provider_accounts import adapter_of
from portal.core.failpoints import failpoint
from portal.core.plain_text import one_line
from portal.jobs import logs, orphans, staging
from portal.jobs.ending import carry_new_limits, see_to_ends
from portal.jobs.keys import key_prefix
from portal.jobs.models import Attempt, Job, JobEvent
from portal.jobs.outcomes import VANISHED
from portal.jobs.states import AttemptState, JobState, WaitingReason
from portal.providers.base import Adapter, RemoteJob, RemoteState
from portal.providers.errors import NotFound, ProviderError

log = structlog.get_logger(__name__)

BY = "portal:tracking"
SEEN_EVERY = timedelta(seconds=15)  # how exact "last news" is
CLOCK_SKEW = timedelta(minutes=20)  # a provider's clock may be so wrong, and its listing still complete
STOP_AGAIN = timedelta(seconds=10)
MISSING_AFTER_S = 60
ASKED_ALONE_MAX = 50  # in a round: a provider that lists nothing is not asked ten thousand times instead
VANISHED_AFTER = timedelta(hours=24)
WATCHED_EVERY_S = 1.8
UNWATCHED_EVERY_S = 30.0
RANK = {RemoteState.QUEUED: 0, RemoteState.RUNNING: 1}


# --- how are they ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tracked:
    """How many jobs there were, how many of them have just ended, how many run; has a place for another become free."""

    asked: int = 0
    ended: int = 0
    running: int = 0
    makes_room: bool = False


def track(account_id: int) -> Tracked:
    """Ask the provider about every job of ours it holds, and carry over wishes to stop and to go on longer.

    Raises ProviderError when it cannot be asked; nothing is concluded from that.
    """
    attempts = list(_at_provider(account_id))
    if not attempts:
        return Tracked()
    adapter = adapter_of(attempts[0].account)
    see_to_ends(attempts)
    _ask_to_stop(attempts, adapter)
    carry_new_limits(attempts, adapter)
    listed = _listing(attempts, adapter)
    # New jobs may be missing from a listing for a while; one that ended as we asked may lack its exit code.
    unclear = [a for a in attempts if not _is_clear(listed.get(a.remote_id))]
    now_asked = set(random.sample(unclear, min(len(unclear), ASKED_ALONE_MAX)))
    seen: list[tuple[Attempt, RemoteJob]] = []
    for attempt in attempts:
        remote = listed.get(attempt.remote_id)
        if not _is_clear(remote):
            if attempt not in now_asked:
                continue
            remote = _asked_alone(attempt, adapter) or remote
        if remote is None:
            _not_listed(attempt, adapter)
        else:
            try:
                apply(attempt, remote)
            except DataError:  # numbers that no column holds: one job's news must not stop the others'
                log.exception("news that cannot be kept", job=attempt.job.code, remote_id=attempt.remote_id)
                continue
            seen.append((attempt, remote))
    _seen([attempt for attempt, _ in seen])
    states = [remote.state for _, remote in seen]
    ended = sum(s.is_final for s in states)
    limited = attempts[0].account.concurrent_limit is not None
    return Tracked(len(attempts), ended, states.count(RemoteState.RUNNING), makes_room=limited and ended > 0)


def _at_provider(account_id: int) -> QuerySet[Attempt]:
    rows = Attempt.objects.at_provider().filter(account=account_id).order_by("id")
    # Asked every two seconds for every job at work: what they run, up to 1 MiB each, is not read again and again.
    unread = ("script", "command", "environment", "sealed_secrets", "offer_snapshot")
    stopping = Budget.objects.that_may_stop().filter(organization=OuterRef("job__organization"))
    rows = rows.select_related("account", "price", "job__organization", "job__project")
    return rows.annotate(may_be_stopped=Exists(stopping)).defer(*(f"job__{name}" for name in unread))


def _listing(attempts: Sequence[Attempt], adapter: Adapter) -> dict[str, RemoteJob]:
    since = min(a.sent_at or a.created_at for a in attempts) - CLOCK_SKEW
    known = {a.remote_id for a in attempts}
    listed = {remote.remote_id: remote for remote in adapter.list_jobs(key_prefix(), since=since)}
    strangers = [job for job in listed.values() if job.remote_id not in known and not job.state.is_final]
    orphans.settle(attempts[0].account, adapter, strangers)
    return listed


def _is_clear(remote: RemoteJob | None) -> TypeGuard[RemoteJob]:
    return remote is not None and not (remote.state.is_final and remote.exit_code is None)


def _asked_alone(attempt: Attempt, adapter: Adapter) -> RemoteJob | None:
    """None: the provider does not know it."""
    try:
        return adapter.get(attempt.remote_id)
    except NotFound:
        return None


def _seen(attempts: Sequence[Attempt]) -> None:
    stale = [a.pk for a in attempts if a.seen_at is None or timezone.now() - a.seen_at > SEEN_EVERY]
    if stale:
        Attempt.objects.filter(pk__in=stale).update(seen_at=Now())


def apply(attempt: Attempt, remote: RemoteJob) -> bool:
    """Move attempt and job to what the provider says, in one transaction. False: no news."""
    if not _is_news(attempt, remote):
        return False
    with transaction.atomic(durable=True):
        rows = Attempt.objects.select_for_update(of=("self",)).select_related("job__organization")
        attempt = rows.get(pk=attempt.pk)
        if (
            attempt.state == AttemptState.ENDED
            or attempt.remote_id != remote.remote_id
            or not _is_news(attempt, remote)
        ):
            return False
        now = timezone.now()
        if attempt.state == AttemptState.UNKNOWN:
            _note(attempt.job, "provider", "listed_again")
        changes: dict[str, object] = {
            "remote_state": remote.state.value,
            "remote_reason": one_line(remote.reason, 200),
            "seen_at": now,
            "started_at": _started_at(attempt, remote, now),
        }
        if remote.state == RemoteState.QUEUED:
            _apply_queued(attempt, remote, changes)
        elif remote.state == RemoteState.RUNNING:
            _apply_running(attempt, changes)
        else:
            _apply_ended(attempt, remote, changes, now)
        failpoint("tracking.before_commit")
    return True


def _is_news(attempt: Attempt, remote: RemoteJob) -> bool:
    if attempt.state == AttemptState.UNKNOWN:
        return True
    before = RemoteState(attempt.remote_state or "queued")
    if RANK.get(remote.state, 2) < RANK.get(before, 2):
        return False
    if remote.state != before:
        return not before.is_final
    first_word = remote.state == RemoteState.RUNNING and attempt.started_at is None
    return first_word or attempt.remote_reason != one_line(remote.reason, 200)


def _started_at(attempt: Attempt, remote: RemoteJob, now: datetime) -> datetime | None:
    """The provider's clock, held within what we know: not before it was sent, not after now. Once known it stays."""
    if attempt.started_at is not None or remote.state == RemoteState.QUEUED:
        return attempt.started_at
    if remote.started_at is None:
        # It says that it runs, not since when. Ended without a start: it never ran, nothing is charged.
        return now if remote.state == RemoteState.RUNNING else None
    return _within(remote.started_at, attempt.sent_at or attempt.created_at, now)


def _within(instant: datetime, earliest: datetime, latest: datetime) -> datetime:
    return max(earliest, min(instant, latest))


def _apply_queued(attempt: Attempt, remote: RemoteJob, changes: dict[str, object]) -> None:
    state = AttemptState.ACCEPTED if attempt.state == AttemptState.UNKNOWN else AttemptState(attempt.state)
    _write(attempt, state, changes)
    if attempt.job.state == JobState.SUBMITTED:
        attempt.job.move_to(JobState.QUEUED, reason="queued", by=BY)
    attempt.job.touch(waiting_reason=_waits_for(remote.reason))


def _apply_running(attempt: Attempt, changes: dict[str, object]) -> None:
    stopping = attempt.state == AttemptState.STOPPING
    _write(attempt, AttemptState.STOPPING if stopping else AttemptState.RUNNING, changes)
    started_at = cast(datetime, changes["started_at"])
    attempt.job.move_to(JobState.RUNNING, reason="running", by=BY, at=started_at, started_at=started_at)


def _apply_ended(attempt: Attempt, remote: RemoteJob, changes: dict[str, object], now: datetime) -> None:
    started_at = changes["started_at"]
    earliest = started_at if isinstance(started_at, datetime) else attempt.sent_at or attempt.created_at
    ended_at = _within(remote.ended_at or now, earliest, now)
    if attempt.started_at is None and isinstance(started_at, datetime):
        # Too short to be seen running: its end tells of its start.
        JobEvent.objects.create(job=attempt.job, at=started_at, kind="provider", reason="running", by=BY)
    _write(
        attempt,
        AttemptState.ENDED,
        {**changes, "ended_at": ended_at, "exit_code": _code(remote.exit_code), "not_before": None},
    )
    attempt.job.move_to(
        JobState.FINISHING,
        reason="ended",
        by=BY,
        started_at=started_at,
        ended_at=ended_at,
        detail={"provider": remote.state.value},
    )


def _code(told: int | None) -> int | None:
    """No program ends with a number of more than 32 bits; what is told so is told wrongly."""
    return told if told is not None and -(2**31) <= told < 2**31 else None


def _write(attempt: Attempt, state: AttemptState, changes: dict[str, object]) -> None:
    if state != attempt.state and not attempt.may_become(state):
        raise ValueError(f"attempt {attempt.code}: {attempt.state} -> {state}")
    Attempt.objects.filter(pk=attempt.pk).update(state=state, **changes)
    attempt.state = state


def _waits_for(word: str) -> str:
    """A provider's word for why a job is queued, as one of our reasons; "" when it gives none."""
    word = word.lower()
    for reason, signs in _SIGNS.items():
        if any(sign in word for sign in signs):
            return reason.value
    return ""


_SIGNS = {
    WaitingReason.QUOTA: ("quota", "limit", "qos", "assoc", "concurren"),
    WaitingReason.MAINTENANCE: ("maint", "reqnodenotavail", "down"),
    WaitingReason.RESERVATION: ("reservation", "begintime"),
    WaitingReason.DEPENDENCY: ("dependency",),
    WaitingReason.IMAGE_PULL: ("image", "pull"),
    WaitingReason.CAPACITY: ("resources", "priority", "waiting", "capacity", "node"),
}


def _not_listed(attempt: Attempt, adapter: Adapter) -> None:
    """The provider answers and does not know it. That may pass; after a day the job is closed openly."""
    missing = timezone.now() - (attempt.seen_at or attempt.accepted_at or attempt.created_at)
    if missing.total_seconds() < max(MISSING_AFTER_S, 2 * adapter.listing_lag_s):
        return
    with transaction.atomic(durable=True):
        rows = Attempt.objects.select_for_update(of=("self",)).select_related("job__organization")
        locked = rows.get(pk=attempt.pk)
        if locked.state == AttemptState.ENDED:
            return
        if missing > VANISHED_AFTER:
            log.error("job has vanished at the provider", job=locked.job.code, remote_id=locked.remote_id)
            lost = RemoteJob(locked.remote_id, "", RemoteState.INTERRUPTED, reason=VANISHED)
            changes: dict[str, object] = {
                "remote_state": lost.state.value,
                "remote_reason": lost.reason,
                "started_at": locked.started_at,
            }
            _apply_ended(locked, lost, changes, locked.seen_at or timezone.now())
        elif locked.state != AttemptState.UNKNOWN:
            _write(locked, AttemptState.UNKNOWN, {})
            locked.job.touch()
            _note(locked.job, "provider", "not_listed")


# --- stop ------------------------------------------------------------------------------------------------------------


def _ask_to_stop(attempts: Sequence[Attempt], adapter: Adapter) -> None:
    """Again and again until the provider says that it has ended. One that refuses does not keep the others waiting."""
    for attempt in attempts:
        asked_lately = attempt.stop_asked_at and timezone.now() - attempt.stop_asked_at < STOP_AGAIN
        if attempt.job.stop_requested_at is None or asked_lately:
            continue
        try:
            adapter.cancel(attempt.remote_id)
        except ProviderError as later:
            log.warning("stop not taken yet", job=attempt.job.code, reason=later.summary)
            continue
        failpoint("tracking.after_cancel")
        with transaction.atomic():
            locked = Attempt.objects.select_for_update(of=("self",)).select_related("job").get(pk=attempt.pk)
            if locked.state == AttemptState.ENDED:
                continue
            if locked.stop_asked_at is None:
                _note(locked.job, "stop", "stop_sent")
                locked.job.touch()
            state = AttemptState.STOPPING if locked.may_become(AttemptState.STOPPING) else AttemptState(locked.state)
            _write(locked, state, {"stop_asked_at": timezone.now()})
        attempt.state, attempt.stop_asked_at = state, timezone.now()


def _note(job: Job, kind: str, reason: str) -> None:
    JobEvent.objects.create(job=job, kind=kind, reason=reason, by=BY)


# --- what do they write ----------------------------------------------------------------------------------------------


def follow_logs(account_id: int) -> int:
    """Pull the logs that are due: every two seconds while somebody watches the page, else every half minute."""
    running = [a for a in _at_provider(account_id) if a.started_at is not None]
    due = _logs_due(running)
    for attempt in due:
        staging.pull_log(attempt, adapter_of(attempt.account))
    return len(due)


def _logs_due(attempts: Sequence[Attempt]) -> list[Attempt]:
    if not attempts:
        return []
    now = timezone.now().timestamp()
    known = cache.get_many([key for a in attempts for key in (logs.watch_key(a.job), f"pulled:{a.code}")])
    due = []
    for attempt in attempts:
        every_s = WATCHED_EVERY_S if logs.watch_key(attempt.job) in known else UNWATCHED_EVERY_S
        if now - known.get(f"pulled:{attempt.code}", 0.0) >= every_s:
            due.append(attempt)
    cache.set_many({f"pulled:{a.code}": now for a in due}, 60)
    return due
