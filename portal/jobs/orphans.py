"""Jobs of ours at a provider that no row accounts for: looked up where a row waits for them, cancelled where none does.

A request that was late on its way, or a database restored from a backup, leaves such jobs. Ours are those whose key
begins with our prefix and this installation's name; no other is ever touched.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta

import structlog
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from portal.audit import recording as audit
from portal.audit.models import AuditEvent
from portal.catalog.models import ProviderAccount
from portal.catalog.provider_accounts import adapter_of
from portal.jobs.keys import key_prefix
from portal.jobs.models import Attempt, JobEvent
from portal.jobs.states import AttemptState
from portal.providers.base import Adapter, RemoteJob
from portal.providers.errors import ProviderError

log = structlog.get_logger(__name__)

BY = "portal:orphans"
LOOK_BACK_HOURS = 48
LOOK_BACK = timedelta(hours=LOOK_BACK_HOURS)
# A row is written before its job is sent, so a job without one is nobody's at once. The pause is for the operator who
# sees the error in the log: two installations that share a name would each cancel the other's jobs.
GRACE = timedelta(minutes=2)
WAITING = (AttemptState.INTENDED, AttemptState.SENDING, AttemptState.UNKNOWN)
CODES_AT_ONCE = 1000


@dataclass
class Found:
    """`to_adopt`: rows that the next hand-off looks up at the provider, and finds."""

    to_adopt: int = 0
    cancelled: int = 0


def find(account: ProviderAccount, *, look_back: timedelta = LOOK_BACK) -> Found:
    """Ask for all our jobs of the last days. Raises ProviderError; nothing is concluded from that."""
    adapter = adapter_of(account)
    return settle(account, adapter, adapter.list_jobs(key_prefix(), since=timezone.now() - look_back))


def settle(account: ProviderAccount, adapter: Adapter, listed: Iterable[RemoteJob]) -> Found:
    """No query when `listed` is empty: who has a listing for another purpose passes only what it cannot place."""
    found = Found()
    for group in _groups(listed):
        codes = [remote.key.removeprefix(key_prefix()) for remote in group]
        rows = Attempt.objects.filter(code__in=codes, account=account).select_related("job__organization")
        attempts = {attempt.code: attempt for attempt in rows}
        elsewhere = set(Attempt.objects.filter(code__in=codes).exclude(account=account).values_list("code", flat=True))
        for code, remote in zip(codes, group, strict=True):
            if code not in elsewhere:  # two accounts of ours may be one at the provider
                _settle_one(account, adapter, attempts.get(code), remote, found)
    return found


def _settle_one(
    account: ProviderAccount, adapter: Adapter, attempt: Attempt | None, remote: RemoteJob, found: Found
) -> None:
    if attempt is not None and attempt.remote_id == remote.remote_id:
        if is_running_after_its_end(attempt, remote):
            cancel(account, adapter, attempt, remote, reason="ended_again")
            found.cancelled += 1
        return
    if attempt is not None and not attempt.remote_id and attempt.state in WAITING:
        found.to_adopt += _look_soon(attempt)
    elif not remote.state.is_final:
        if attempt is None and remote.created_at and timezone.now() - remote.created_at < GRACE:
            return
        cancel(account, adapter, attempt, remote)
        found.cancelled += 1


def is_running_after_its_end(attempt: Attempt, remote: RemoteJob) -> bool:
    """Its job was settled a while ago, and nobody pays for what runs there: it had vanished, or was begun anew there.

    Just after the end a list may simply be old."""
    return not remote.state.is_final and is_long_over(attempt)


def is_long_over(attempt: Attempt) -> bool:
    return attempt.collected_at is not None and timezone.now() - attempt.collected_at > GRACE


def _look_soon(attempt: Attempt) -> int:
    """As if its answer had been lost: the hand-off looks, and takes it up. Not while somebody is at it."""
    waiting = Attempt.objects.filter(pk=attempt.pk, epoch=attempt.epoch, remote_id="").ripe()
    return waiting.filter(state__in=WAITING).update(state=AttemptState.UNKNOWN, not_before=None, epoch=F("epoch") + 1)


def cancel(
    account: ProviderAccount,
    adapter: Adapter,
    attempt: Attempt | None,
    remote: RemoteJob,
    *,
    reason: str = "extra_cancelled",
) -> None:
    """End a job that is one too many, openly: an incident, because no client should be able to cause it."""
    log.error("job at the provider is one too many", remote_id=remote.remote_id, key=remote.key)
    detail = {"remote_id": remote.remote_id[:100]}
    subject = f"job:{attempt.job.code}" if attempt else f"provider_account:{account.pk}"
    with transaction.atomic():
        told = AuditEvent.objects.filter(act="job.extra_cancelled", subject=subject, detail=detail)
        if not told.exists():
            if attempt is not None:
                JobEvent.objects.create(job=attempt.job, kind="handoff", reason=reason, by=BY, detail=detail)
            chain = attempt.job.organization.code if attempt else ""
            audit.record("job.extra_cancelled", subject, actor=BY, chain=chain, detail=detail)
    if remote.state.is_final:
        return
    try:
        adapter.cancel(remote.remote_id)
    except ProviderError as later:  # the next listing names it again
        log.warning("extra job not cancelled yet", remote_id=remote.remote_id, reason=later.summary)


def _groups(listed: Iterable[RemoteJob]) -> Iterator[list[RemoteJob]]:
    group: list[RemoteJob] = []
    for remote in listed:
        group.append(remote)
        if len(group) == CODES_AT_ONCE:
            yield group
            group = []
    if group:
        yield group
