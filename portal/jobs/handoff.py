"""Give an attempt to its provider, once.

Take (a short transaction: lease by the database's clock, epoch + 1), call (none open), settle (short, and only if the
epoch is still ours: otherwise the answer is dropped, somebody else is already looking). What may have been sent is
looked up at the provider by our own key before anything is sent again. RELIABILITY.md section 1 has the protocol.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

import structlog
from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Exists, F, OuterRef
from django.db.models.functions import Now
from django.utils import timezone

from portal.accounts.access import access_of
from portal.accounts.roles import Permission
from portal.billing import holds
from portal.billing.budgets import stops_of
from portal.billing.models import Budget
from portal.catalog.models import ProviderAccount
from portal.catalog.provider_accounts import adapter_of
from portal.celery import stopping
from portal.core.failpoints import failpoint
from portal.core.plain_text import one_line
from portal.datasets.storage import NotInStorage, StorageError, StorageUnavailable
from portal.jobs import line, next_try, orphans, staging
from portal.jobs.keys import key_of, worker_name
from portal.jobs.models import Attempt, IllegalTransition, Job, JobEvent
from portal.jobs.states import AttemptState, FailureClass, JobState, WaitingReason
from portal.providers.base import Adapter, DataPush, RemoteJob
from portal.providers.errors import Misconfigured, OutcomeUnknown, ProviderError, Rejected, Unavailable

log = structlog.get_logger(__name__)

LEASE_S = 45  # more than three times the longest call of an adapter
ASK_AGAIN_S = 1.0  # after the claim; the request leaves soon after it, or only if the attempt is still ours
LOOKS = 3  # times a job is looked for in vain, after the listing lag, before its key is sent again
LOOK_EVERY_S = 5
CLAIMED_FOR = timedelta(hours=24)  # how long a job that a machine has asked for may be missing from its provider's list
BACKOFF_MAX_S = 60
MISCONFIGURED_WAIT_S = 60
LEFT_AT_ONCE = 50
LEAVE_AGAIN_S = 15
BEGAN = timezone.now()  # this process
BY = "portal:handoff"


@dataclass
class Round:
    """What came of one drain. `trouble`: the provider could not be used, so the rest of its attempts was left alone."""

    account: ProviderAccount
    accepted: int = 0
    trouble: ProviderError | None = None


def hand_off_due(account: ProviderAccount) -> Round:
    """Hand over every attempt of this account whose time has come, one after another, until none is left, or until
    this worker is to stop."""
    done = Round(account)
    while done.trouble is None and not stopping.is_set() and (taken := take(account)) is not None:
        hand_over(taken, done)
    if done.trouble is not None:
        tell_waiting(account.pk, _waiting_for(done.trouble))
    return done


@dataclass
class Taken:
    attempt: Attempt
    job: Job
    was: AttemptState
    sent_ago: timedelta | None  # by the database's clock
    since: float  # by this process's own clock: it was claimed after that
    may_be_stopped: bool = True  # some budget of the organization stops jobs at a threshold; most have none


# One statement, so one short transaction; the clock is the database's. tasks.due_by_account counts the same rows.
# Materialized: as a plain subquery it may be run again for each row it is joined with, and then claims more than one.
_CLAIM = """
WITH due AS MATERIALIZED (
    SELECT id AS due_id, state AS was, statement_timestamp() - sent_at AS sent_ago
    FROM jobs_attempt
    WHERE account_id = %s AND collected_at IS NULL AND state IN ('intended', 'sending', 'unknown') AND remote_id = ''
      AND (lease_until IS NULL OR lease_until < statement_timestamp())
      AND (not_before IS NULL OR not_before <= statement_timestamp())
      AND (state <> 'intended' OR %s)
    ORDER BY id LIMIT 1
    FOR UPDATE SKIP LOCKED
)
UPDATE jobs_attempt SET
    state = CASE due.was WHEN 'intended' THEN 'sending' ELSE 'unknown' END,
    sent_at = CASE due.was WHEN 'intended' THEN statement_timestamp() ELSE sent_at END,
    epoch = epoch + 1,
    lease_owner = %s,
    lease_until = statement_timestamp() + make_interval(secs => %s)
FROM due
WHERE id = due.due_id
RETURNING jobs_attempt.*, due.was, due.sent_ago
"""


def take(account: ProviderAccount) -> Taken | None:
    """Claim one attempt that nobody holds. One that may have been sent becomes openly `unknown`.

    Where the account runs no more at once, only those are claimed that may be there already.
    """
    since = time.monotonic()
    if account.concurrent_limit is None:
        claimed = _claim(account, may_send=True)
    else:
        with transaction.atomic(durable=True):
            may_send = line.has_room(account)
            claimed = _claim(account, may_send=may_send)
            if not may_send:
                tell_waiting(account.pk, WaitingReason.UNREACHABLE if account.failing_since else WaitingReason.QUOTA)
    if not claimed:
        return None
    attempt, row = claimed[0], cast(Any, claimed[0])  # with two columns more
    failpoint("handoff.after_claim")
    jobs = Job.objects.select_related("organization", "project", "submitted_by", "offering")
    stops = Budget.objects.that_may_stop().filter(organization=OuterRef("organization"))
    job = jobs.annotate(may_be_stopped=Exists(stops)).get(pk=attempt.job_id)
    attempt.job = job
    if attempt.offering_id == job.offering_id:
        attempt.offering = job.offering
    was = AttemptState(row.was)
    if was == AttemptState.SENDING:
        with transaction.atomic(durable=True):
            job.touch(waiting_reason="")
            _note(job, "handoff", "worker_lost", {})
    return Taken(attempt, job, was, row.sent_ago, since, cast(Any, job).may_be_stopped)


def _claim(account: ProviderAccount, *, may_send: bool) -> list[Attempt]:
    return list(Attempt.objects.raw(_CLAIM, [account.pk, may_send, worker_name(), LEASE_S]))


def hand_over(taken: Taken, done: Round) -> None:
    """Bring one taken attempt as far as it goes now. Raises nothing a provider or the store can cause."""
    structlog.contextvars.bind_contextvars(job=taken.job.code, attempt=taken.attempt.code)
    try:
        adapter = adapter_of(done.account)
        if taken.was == AttemptState.INTENDED and taken.attempt.created_at > BEGAN:
            _send(taken, adapter, done)
        elif taken.was == AttemptState.INTENDED:
            _send_unless_there(taken, adapter, done)
        else:
            _look(taken, adapter, done)
    except Misconfigured as wrong:  # of adapter_of itself: nothing was asked yet
        if taken.was == AttemptState.INTENDED:
            _not_received(taken, wrong, done, certainly=taken.attempt.created_at > BEGAN)
        else:
            _look_again(taken, wrong, done)
    finally:
        structlog.contextvars.unbind_contextvars("job", "attempt")


# --- send ------------------------------------------------------------------------------------------------------------


def _send_unless_there(taken: Taken, adapter: Adapter, done: Round) -> None:
    """It was written down before this process began: the database may have been restored since from a backup that is
    older than the job's hand-over. One call more for what waited while the workers were away."""
    try:
        found = _found(taken, adapter)
    except ProviderError as trouble:
        _not_received(taken, trouble, done, certainly=False)
        return
    if found:
        _adopt(taken, found, adapter, done)
    else:
        _send(taken, adapter, done)


def _send(taken: Taken, adapter: Adapter, done: Round) -> None:
    attempt, job = taken.attempt, taken.job
    if job.stop_requested_at is not None:
        return _end_unsent(taken, JobState.CANCELLED, "stopped_before_sending")
    if not access_of(job.submitted_by).may_in(job.project, Permission.SUBMIT) or not job.project.is_open:
        return _end_unsent(taken, JobState.FAILED, "no_longer_allowed", failure=FailureClass.ACCESS_REFUSED)
    if taken.may_be_stopped and job.project in stops_of([job.organization_id]):
        return _end_unsent(taken, JobState.EXPIRED, "budget_stopped", failure=FailureClass.OVER_BUDGET)
    try:
        spec = staging.prepare(attempt, adapter, key=key_of(attempt))
    except StorageUnavailable as down:
        return _wait(taken, WaitingReason.DATA_TRANSFER, str(down))
    except (staging.CannotPrepare, StorageError) as wrong:
        log.error("attempt cannot be prepared", reason=str(wrong))
        return _end_unsent(taken, JobState.FAILED, "cannot_prepare", failure=FailureClass.PORTAL)
    if spec.registry is not None:
        _say_with_login(job, spec.registry.hostname)
    if staging.is_pushed(adapter) and not _push(taken, adapter, done):
        return None
    failpoint("handoff.before_send")
    if not _still_ours(taken):
        return None
    try:
        remote = adapter.submit(spec)
        failpoint("handoff.after_send")
        if not remote.remote_id:
            raise OutcomeUnknown("accepted without an id")
    except Rejected as no:
        failure = FailureClass(no.failure) if no.failure in FailureClass.values else FailureClass.PORTAL
        _end_unsent(taken, JobState.FAILED, "rejected", failure=failure, detail=no.summary)
    except (Unavailable, Misconfigured) as not_now:
        _not_received(taken, not_now, done)
    except Exception as lost:
        # Also what no adapter may raise: whatever happened in there, the request may have gone out.
        if not isinstance(lost, OutcomeUnknown):
            log.exception("adapter failed outside its contract")
        _answer_lost(taken, one_line(getattr(lost, "summary", "") or type(lost).__name__))
    else:
        _accepted(taken, remote, "accepted", done)


def _still_ours(taken: Taken) -> bool:
    """Asked again by whoever needed long to come here: stopped, swapped out or starved past its lease, it would send
    what another worker has sent meanwhile. Usually it is a matter of milliseconds, and costs no statement."""
    if time.monotonic() - taken.since < ASK_AGAIN_S:
        return True
    return _settle(taken, AttemptState.SENDING, lease_until=Now() + timedelta(seconds=LEASE_S), sent_at=Now())


class NoLongerOurs(Exception):
    """The lease ran out, and another worker has taken the attempt."""


class StopWanted(Exception):
    """Somebody wishes the job to end while its data is still on the way."""


def _push(taken: Taken, adapter: DataPush, done: Round) -> bool:
    """Bring the job's data to the provider, which may take hours. True: all is there, and the job may be sent now.

    The lease is renewed on the way. Whoever has lost it stops; the next one goes on where this one came to.
    """
    renewed_at = time.monotonic()

    def renew(**changes: Any) -> None:
        nonlocal renewed_at
        lease = Now() + timedelta(seconds=LEASE_S)
        if not _settle(taken, AttemptState.SENDING, lease_until=lease, **changes):
            raise NoLongerOurs
        renewed_at = time.monotonic()
        taken.job.refresh_from_db(fields=["stop_requested_at"])
        if taken.job.stop_requested_at is not None:
            raise StopWanted

    def keep() -> None:
        if time.monotonic() - renewed_at > LEASE_S / 3:
            renew()

    taken.job.touch(waiting_reason=WaitingReason.DATA_TRANSFER)
    try:
        staging.push(taken.attempt, adapter, key=key_of(taken.attempt), keep=keep)
        renew(sent_at=Now())  # what may be lost is looked for by when it was sent
    except NoLongerOurs:
        return False
    except StopWanted:
        _end_unsent(taken, JobState.CANCELLED, "stopped_before_sending")
        return False
    except NotInStorage:
        _end_unsent(taken, JobState.FAILED, "input_missing", failure=FailureClass.DATA_MISSING)
        return False
    except StorageError as trouble:
        _wait(taken, WaitingReason.DATA_TRANSFER, str(trouble))
        return False
    except (Unavailable, Misconfigured) as not_now:
        _not_received(taken, not_now, done)
        return False
    return True


def _accepted(taken: Taken, remote: RemoteJob, reason: str, done: Round) -> None:
    try:
        with transaction.atomic(durable=True):
            if not _settle(
                taken,
                AttemptState.ACCEPTED,
                remote_id=remote.remote_id[:100],
                remote_state="queued",
                accepted_at=Now(),
                seen_at=Now(),
                not_before=None,
                tries=0,
                looks=0,
                last_error="",
            ):
                return
            taken.job.move_to(
                JobState.QUEUED, reason=reason, by=BY, waiting_reason="", detail={"remote_id": remote.remote_id[:100]}
            )
            failpoint("handoff.before_commit")
    except IntegrityError:
        # The provider gave one id to two of our jobs: never merge them. Or another copy has claimed the attempt
        # meanwhile: that one runs. Either way the right one is looked for by its key.
        log.error("provider gave an id that cannot be this job's", remote_id=remote.remote_id[:100])
        _answer_lost(taken, "the provider's answer carried another job's id")
        return
    except IllegalTransition:
        # The job is over: nobody pays for this, so it ends there. If the provider cannot be asked now, the sweep does.
        log.error("handed over, and its job was over", remote_id=remote.remote_id[:100])
        _settle(taken, AttemptState.ENDED)
        orphans.cancel(done.account, adapter_of(done.account), taken.attempt, remote)
        return
    done.accepted += 1


def _end_unsent(
    taken: Taken, state: JobState, reason: str, *, failure: FailureClass | None = None, detail: str = ""
) -> None:
    """The provider certainly does not have it and will not get it: the job ends here, its hold is released. One for
    which there was no free GPU goes on to the next of its places."""
    place = next_try.other_place(taken.job) if failure == FailureClass.NO_CAPACITY else None
    with transaction.atomic(durable=True):
        if not _settle(taken, AttemptState.ENDED, last_error=one_line(detail)):
            return
        if place is not None:
            next_try.go_elsewhere(taken.attempt, place, because=FailureClass.NO_CAPACITY, detail=detail, by=BY)
            return
        if failure == FailureClass.NO_CAPACITY and taken.job.alternatives:
            _note(taken.job, "handoff", "nowhere_else", {})
        holds.release(taken.job.code, by=BY)  # before the audit chain, as at submit: one order of locks
        taken.job.move_to(
            state,
            reason=reason,
            by=BY,
            detail={"provider": one_line(detail)} if detail else {},
            failure=failure or "",
            failure_detail=one_line(detail, 500),
        )


def _not_received(taken: Taken, trouble: ProviderError, done: Round, *, certainly: bool = True) -> None:
    done.trouble = trouble
    if certainly and _left_for_elsewhere(taken, trouble.summary):
        return
    asked_s = trouble.retry_after_s if isinstance(trouble, Unavailable) else None
    wait_s = float(MISCONFIGURED_WAIT_S) if isinstance(trouble, Misconfigured) else asked_s
    _wait(taken, _waiting_for(trouble), trouble.summary, wait_s)


def _left_for_elsewhere(taken: Taken, why: str) -> bool:
    """A minute after it was to be sent, the job goes on to the next of its places. False: there is none, it waits."""
    job, attempt = taken.job, taken.attempt
    if timezone.now() - attempt.created_at < next_try.ELSEWHERE_AFTER or job.stop_requested_at is not None:
        return False
    if (place := next_try.other_place(job, not_by=attempt.account_id)) is None:
        return False
    with transaction.atomic(durable=True):
        if _settle(taken, AttemptState.ENDED, last_error=one_line(why)):
            next_try.go_elsewhere(attempt, place, because=WaitingReason.UNREACHABLE, detail=why, by=BY)
    return True


def leave(account_id: int) -> int:
    """Nobody calls this provider for a while: what waits for it and may go elsewhere does. How many went.

    What was written down before this process began may be there all the same (see _send_unless_there): it waits.
    """
    waiting = Attempt.objects.unfinished().ripe().filter(account=account_id, state=AttemptState.INTENDED)
    old_enough = waiting.filter(created_at__gt=BEGAN, created_at__lt=timezone.now() - next_try.ELSEWHERE_AFTER)
    rows = old_enough.exclude(job__alternatives=[]).select_related("job__organization", "job__project", "offering")
    gone = 0
    for attempt in rows.order_by("id")[:LEFT_AT_ONCE]:
        # Nobody is asked, so no lease is taken: whoever claims it meanwhile counts its epoch up.
        taken = Taken(attempt, attempt.job, AttemptState.INTENDED, None, time.monotonic())
        if _left_for_elsewhere(taken, ""):
            gone += 1
        else:
            _settle(taken, AttemptState.INTENDED, not_before=Now() + timedelta(seconds=LEAVE_AGAIN_S))
    return gone


def _waiting_for(trouble: ProviderError) -> WaitingReason:
    return WaitingReason.QUOTA if trouble.code == "429" else WaitingReason.UNREACHABLE


def _wait(taken: Taken, reason: WaitingReason, summary: str, wait_s: float | None = None) -> None:
    """Back to be sent: the request certainly had no effect."""
    attempt = taken.attempt
    backoff = max(min(2 ** min(attempt.tries, 10), BACKOFF_MAX_S), min(wait_s or 0, 1800))
    with transaction.atomic(durable=True):
        if not _settle(
            taken,
            AttemptState.INTENDED,
            tries=min(attempt.tries + 1, 1000),
            looks=0,
            not_before=Now() + timedelta(seconds=backoff),
            last_error=one_line(summary),
        ):
            return
        if taken.job.waiting_reason != reason:
            taken.job.touch(waiting_reason=reason)
            _note(taken.job, "handoff", "waits", {"why": reason.value, "provider": one_line(summary)})


def _answer_lost(taken: Taken, summary: str) -> None:
    with transaction.atomic(durable=True):
        if not _settle(
            taken, AttemptState.UNKNOWN, looks=0, not_before=Now() + timedelta(seconds=1), last_error=one_line(summary)
        ):
            return
        taken.job.touch(waiting_reason="")
        _note(taken.job, "handoff", "answer_lost", {"provider": one_line(summary)})


# --- look ------------------------------------------------------------------------------------------------------------


def _look(taken: Taken, adapter: Adapter, done: Round) -> None:
    """It may have been sent. Adopt what the provider has under our key; send again only when it surely has nothing."""
    try:
        found = _found(taken, adapter)
    except ProviderError as trouble:
        _look_again(taken, trouble, done)
        return
    failpoint("handoff.after_look")
    if found:
        _adopt(taken, found, adapter, done)
    elif (claimed_at := taken.attempt.claimed_at) is not None and timezone.now() - claimed_at < CLAIMED_FOR:
        # A machine has asked for it, so it is there and will be listed.
        _settle(taken, AttemptState.UNKNOWN, looks=0, not_before=Now() + timedelta(seconds=LOOK_EVERY_S))
    elif (wait := _too_early(taken, adapter)) is not None:
        _settle(taken, AttemptState.UNKNOWN, looks=wait.looks, not_before=Now() + timedelta(seconds=wait.seconds))
    elif taken.job.stop_requested_at is not None:
        _end_unsent(taken, JobState.CANCELLED, "stopped_before_sending")
    else:
        _send_again(taken, adapter, done)


def _found(taken: Taken, adapter: Adapter) -> list[RemoteJob]:
    key = key_of(taken.attempt)
    found = [remote for remote in adapter.find(key) if remote.key == key]
    found.sort(key=lambda remote: remote.remote_id != taken.attempt.claimed_remote_id)  # what runs already, first
    return found


def _adopt(taken: Taken, found: list[RemoteJob], adapter: Adapter, done: Round) -> None:
    for extra in found[1:]:  # the one that runs, or the oldest, is ours to keep
        orphans.cancel(done.account, adapter, taken.attempt, extra)
    _accepted(taken, found[0], "adopted", done)


@dataclass(frozen=True)
class Wait:
    seconds: float
    looks: int  # made in vain after the lag


def _too_early(taken: Taken, adapter: Adapter) -> Wait | None:
    """When to look again; None: it was looked for long and often enough, the provider does not have it."""
    since_sent = taken.sent_ago.total_seconds() if taken.sent_ago is not None else 0.0
    lag = max(2 * adapter.listing_lag_s, settings.HANDOFF_LISTING_LAG_MIN_S)
    if since_sent < lag:
        # Not listed yet says nothing. Asked at growing intervals, it is adopted soon after it appears.
        return Wait(min(max(since_sent, 1.0), 30.0, lag - since_sent), looks=0)
    looks = taken.attempt.looks + 1
    return Wait(min(LOOK_EVERY_S, lag), looks) if looks < LOOKS else None


def _send_again(taken: Taken, adapter: Adapter, done: Round) -> None:
    lease = Now() + timedelta(seconds=LEASE_S)
    with transaction.atomic(durable=True):
        if not _settle(taken, AttemptState.SENDING, lease_until=lease, looks=0, sent_at=Now()):
            return
        _note(taken.job, "handoff", "sent_again", {})
    _send(taken, adapter, done)


def _look_again(taken: Taken, trouble: ProviderError, done: Round) -> None:
    """The provider could not be asked: it stays unknown."""
    done.trouble = trouble
    wait_s = MISCONFIGURED_WAIT_S if isinstance(trouble, Misconfigured) else min(2 ** min(taken.attempt.tries, 10), 30)
    _settle(
        taken,
        AttemptState.UNKNOWN,
        tries=min(taken.attempt.tries + 1, 1000),
        not_before=Now() + timedelta(seconds=wait_s),
        last_error=one_line(trouble.summary),
    )


# --- settle ----------------------------------------------------------------------------------------------------------


def _settle(taken: Taken, state: AttemptState, **changes: Any) -> bool:
    """Write what was learnt, if the epoch is still ours. False: another worker has taken over, drop the answer."""
    attempt = taken.attempt
    if not attempt.may_become(state) and attempt.state != state:
        raise ValueError(f"attempt {attempt.code}: {attempt.state} -> {state}")
    changes.setdefault("lease_until", None)
    ours = Attempt.objects.filter(pk=attempt.pk, epoch=attempt.epoch).update(state=state, **changes)
    if not ours:
        log.warning("late answer dropped", attempt=attempt.code, epoch=attempt.epoch)
        return False
    attempt.state = state
    return True


def _note(job: Job, kind: str, reason: str, detail: dict[str, str]) -> None:
    JobEvent.objects.create(job=job, kind=kind, reason=reason, by=BY, detail=detail)


def _say_with_login(job: Job, hostname: str) -> None:
    """Once, and before it is sent: whoever collects the results knows by this that there is a login to delete."""
    if not JobEvent.objects.filter(job=job, reason=staging.WITH_LOGIN).exists():
        _note(job, "handoff", staging.WITH_LOGIN, {"registry": hostname})


def tell_waiting(account_id: int, reason: WaitingReason) -> None:
    """Attempts that were not tried, because one before them failed or has their place: their pages should say why."""
    waiting = Attempt.objects.unfinished().filter(account=account_id, state=AttemptState.INTENDED)
    told = ["", *({WaitingReason.QUOTA, WaitingReason.UNREACHABLE} - {reason})]
    Job.objects.filter(pk__in=waiting.values("job"), waiting_reason__in=told).update(
        waiting_reason=reason, version=F("version") + 1
    )
