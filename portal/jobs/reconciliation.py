"""Every step that is due, of every job, in this one process: what the workers do, but without broker and beat.

Each step takes its work by the same leases and epochs, so that it may run beside them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass

from portal.catalog.models import ProviderAccount
from portal.catalog.provider_accounts import note_failure, note_success
from portal.celery import stopping
from portal.jobs import collection, handoff, metering, orphans, tracking
from portal.providers.errors import ProviderError


@dataclass
class Reconciled:
    """One account's round. `trouble`: why the rest of it was left for another time; "" when all is done."""

    account: str
    to_adopt: int = 0
    cancelled: int = 0
    accepted: int = 0
    tracked: int = 0
    collected: int = 0
    trouble: str = ""

    def as_dict(self) -> dict[str, str | int]:
        return asdict(self)


def reconcile(**which: object) -> Iterator[Reconciled]:
    """Of all accounts, or of those that `which` filters. Also asks providers whose circuit is open: somebody has just
    said that it is time."""
    accounts = ProviderAccount.objects.filter(active=True, **which)
    for account in accounts.select_related("provider").order_by("pk"):
        done = Reconciled(f"{account.provider.slug} {account}")
        try:
            _round(account, done)
        except ProviderError as trouble:
            done.trouble = trouble.summary
            note_failure(account.pk, trouble.summary)
        else:
            note_success(account.pk)
        yield done


def _round(account: ProviderAccount, done: Reconciled) -> None:
    found = orphans.find(account)
    done.to_adopt, done.cancelled = found.to_adopt, found.cancelled
    handed = handoff.hand_off_due(account)
    done.accepted = handed.accepted
    done.tracked = tracking.track(account.pk).asked
    for attempt_id in metering.due(account.pk):
        metering.meter(attempt_id)
    done.collected, collected_all = collect_due(account.pk)
    if handed.trouble is not None:
        raise handed.trouble
    if not collected_all:
        done.trouble = "results cannot be collected yet"


def collect_due(account_id: int) -> tuple[int, bool]:
    """How many jobs were brought to their end; False when provider or store cannot be used, and the rest waits."""
    done = 0
    while not stopping.is_set() and (attempt := collection.take_ended(account_id)) is not None:
        results = collection.collect(attempt)
        if results is None:
            return done, False
        done += metering.settle(
            attempt,
            log_key=results.log_key,
            files=results.files,
            notes=results.notes,
            leftovers=results.leftovers,
            objects=results.objects,
            forgotten_at=results.forgotten_at,
        )
    return done, True
