"""The timetable: what happens next, and the sweep for what no message told.

The rows are the to-do list. Every message may be lost, late or doubled: each task takes an id, looks at the rows, and
does what is due, if anything. `sweep` finds all of it again every two seconds, every four when nothing is under way.
"""

from __future__ import annotations

import contextlib
import time
from datetime import timedelta
from typing import Any

import structlog
from celery import shared_task
from django.core.cache import cache
from django.db.models import Count, Q
from django.db.models.functions import Now
from django.utils import timezone
from redis.exceptions import RedisError

from portal.catalog.models import ProviderAccount
from portal.catalog.provider_accounts import note_failure, note_success, unless_paused
from portal.celery import nudge, publish, publish_after
from portal.jobs import handoff, kept_results, metering, orphans, reconciliation, statements, tracking
from portal.jobs.models import RIPE, Attempt
from portal.jobs.states import AttemptState, WaitingReason
from portal.jobs.turns import Pauses, Turns
from portal.providers.errors import ProviderError, Unavailable

log = structlog.get_logger(__name__)

# Together at most five threads of a process for one provider account: one that hangs leaves the others room.
_handing_off, _tracking, _following, _collecting = Turns(2), Turns(1), Turns(1), Turns(1)
_not_taking = Pauses()
_told_to_track: dict[int, float] = {}
SWEEP_AGAIN_S = 2
TRACK_EVERY_S = 1  # a job that starts or ends is seen within a second of the next message, or of the sweep
TRACK_PAUSE_MAX_S = 15


@shared_task(name="jobs.sweep")  # type: ignore[untyped-decorator]
def sweep(halfway: int = 0) -> None:
    """Every account with unfinished attempts gets its messages again; one query, and nothing more when all is done.

    While there is work it comes once more `halfway` to the next beat.
    """
    found = due_by_account()
    if found and not halfway:
        publish_after(SWEEP_AGAIN_S, sweep, 1)
    for due in found:
        account_id = due["account_id"]
        if due["to_hand_off"]:
            publish(hand_off, account_id)
        if due["at_provider"]:
            publish(track, account_id)
        if due["to_collect"]:
            publish(collect, account_id)


@shared_task(name="jobs.hand_off")  # type: ignore[untyped-decorator]
def hand_off(account_id: int) -> None:
    """Attempts intended, or unknown and due for a look -> accepted, ended, or waiting for another time."""
    _handing_off.run(account_id, lambda: _hand_off(account_id))


@shared_task(name="jobs.track")  # type: ignore[untyped-decorator]
def track(account_id: int) -> None:
    """Attempts accepted, running, stopping -> what the provider says; running time up to now becomes money.

    One listing names all jobs, so a burst of accepted ones needs no listing each: at most one in TRACK_EVERY_S, and a
    long one is followed by four times as long a pause, whichever process made it.
    """
    if _may_track(account_id):
        began = time.monotonic()
        _tracking.run(account_id, lambda: _track(account_id))
        _pause_tracking(account_id, 4 * (time.monotonic() - began))


@shared_task(name="jobs.follow_logs")  # type: ignore[untyped-decorator]
def follow_logs(account_id: int) -> None:
    """Running attempts -> their newest lines."""
    _following.run(account_id, lambda: _follow_logs(account_id))


@shared_task(name="jobs.collect")  # type: ignore[untyped-decorator]
def collect(account_id: int) -> None:
    """Attempts ended -> log and results in storage, the job in its final state, the hold released."""
    _collecting.run(account_id, lambda: _collect(account_id))


@shared_task(name="jobs.find_orphans")  # type: ignore[untyped-decorator]
def find_orphans(account_id: int | None = None, hours: int = orphans.LOOK_BACK_HOURS) -> None:
    """Jobs of the last hours at providers that no row accounts for. Without an id: a message for each account that was
    in use since then."""
    since = timedelta(hours=hours)
    if account_id is None:
        lately = Q(last_ok_at__gte=Now() - since) | Q(failing_since__isnull=False)
        for pk in ProviderAccount.objects.filter(lately, active=True).values_list("pk", flat=True):
            publish(find_orphans, pk, hours)
    elif (account := unless_paused(account_id)) is not None:
        try:
            found = orphans.find(account, look_back=since)
        except ProviderError as trouble:
            note_failure(account_id, trouble.summary, wait_s=_asked_to_wait(trouble))
            return
        if found.to_adopt:
            publish(hand_off, account_id)


def _may_track(account_id: int) -> bool:
    try:
        return cache.add(f"jobs:tracked:{account_id}", 1, TRACK_EVERY_S)
    except RedisError:
        return True  # the cache is away: rather too often than never


def _pause_tracking(account_id: int, seconds: float) -> None:
    if seconds > TRACK_EVERY_S:
        with contextlib.suppress(RedisError):
            cache.set(f"jobs:tracked:{account_id}", 1, min(seconds, TRACK_PAUSE_MAX_S))


@shared_task(name="jobs.meter_storage")  # type: ignore[untyped-decorator]
def meter_storage() -> None:
    """Usage records of the days that are over; one query and no more when all have theirs."""
    kept_results.record_storage(timezone.now())


@shared_task(name="jobs.check_statements")  # type: ignore[untyped-decorator]
def check_statements() -> None:
    """Yesterday's statements of all accounts -> differences that a person decides. Again changes nothing."""
    for checked in statements.check_all(statements.yesterday()):
        if checked.trouble or checked.differing:
            log.warning("statement", **checked.as_dict())


def due_by_account() -> list[dict[str, Any]]:
    counts = {
        "to_hand_off": Q(state__in=[AttemptState.INTENDED, AttemptState.SENDING, AttemptState.UNKNOWN], remote_id="")
        & RIPE,
        "at_provider": ~Q(state=AttemptState.ENDED) & ~Q(remote_id=""),
        "to_collect": Q(state=AttemptState.ENDED) & RIPE,
    }
    rows = Attempt.objects.unfinished().values("account_id").order_by("account_id")
    return [dict(row) for row in rows.annotate(**{name: Count("pk", filter=which) for name, which in counts.items()})]


def _hand_off(account_id: int) -> None:
    account = unless_paused(account_id)
    if account is None:
        handoff.tell_waiting(account_id, WaitingReason.UNREACHABLE)
        handoff.leave(account_id)
        return
    if _not_taking.is_paused(account_id):
        return
    done = handoff.hand_off_due(account)
    if done.trouble is not None:
        _not_taking.failed(account_id, _asked_to_wait(done.trouble))
    if done.trouble is not None and done.trouble.code != "429":  # who asks to slow down is well, and may be tracked
        note_failure(account_id, done.trouble.summary)
    elif done.accepted:
        note_success(account_id)
        _not_taking.worked(account_id)
    if done.accepted:
        _track_soon(account_id)


def _track_soon(account_id: int) -> None:
    """One message for all that were accepted within a second: a listing tells of them together."""
    now = time.monotonic()
    if now - _told_to_track.get(account_id, float("-inf")) >= TRACK_EVERY_S:
        _told_to_track[account_id] = now
        publish_after(TRACK_EVERY_S, track, account_id)


def _track(account_id: int) -> None:
    if unless_paused(account_id) is None:
        return
    try:
        tracked = tracking.track(account_id)
    except ProviderError as trouble:
        note_failure(account_id, trouble.summary, wait_s=_asked_to_wait(trouble))
        log.warning("provider cannot be asked", account=account_id, reason=trouble.summary)
        return
    if tracked.asked:
        note_success(account_id)
    if tracked.makes_room:
        publish(hand_off, account_id)
    if tracked.ended:
        publish(collect, account_id)
    if tracked.running:
        publish(follow_logs, account_id)
    for attempt_id in metering.due(account_id) if tracked.asked else ():
        metering.meter(attempt_id)


def _follow_logs(account_id: int) -> None:
    try:
        tracking.follow_logs(account_id)
    except ProviderError as trouble:  # the next turn comes by itself
        log.warning("log not followed", account=account_id, reason=trouble.summary)


def _collect(account_id: int) -> None:
    if unless_paused(account_id) is not None:
        reconciliation.collect_due(account_id)


def _asked_to_wait(trouble: ProviderError) -> float | None:
    return trouble.retry_after_s if isinstance(trouble, Unavailable) else None


__all__ = ["collect", "due_by_account", "find_orphans", "follow_logs", "hand_off", "nudge", "sweep", "track"]
