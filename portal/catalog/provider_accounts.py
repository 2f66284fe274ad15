"""Which account runs an offering for an organization, how to reach it, and how it has been answering."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Case, F, Q, QuerySet, When
from django.db.models.functions import Coalesce, Now
from django.utils import timezone

from portal.accounts.models import Organization
from portal.catalog.models import Offering, ProviderAccount
from portal.providers.base import Account, Adapter
from portal.providers.registry import adapter_for


def account_for(offering: Offering, *, organization: Organization) -> ProviderAccount | None:
    """The organization's own account where it has one, else the shared pool's; None: nobody runs this offering yet."""
    if not offering.adapter:
        return None
    return accounts_of(organization).filter(provider=offering.provider, kind=offering.adapter).first()


def accounts_of(organization: Organization | None) -> QuerySet[ProviderAccount]:
    """All that run jobs for it, its own before the shared pool's; None: the pool's alone."""
    accounts = ProviderAccount.objects.filter(Q(organization=None) | Q(organization=organization), active=True)
    if settings.PRODUCTION:
        accounts = accounts.filter(emulated=False)
    return accounts.order_by("organization")  # NULLs come last


def has_own_account(organization: Organization) -> bool:
    return accounts_of(organization).exclude(organization=None).exists()


def account_of(account: ProviderAccount) -> Account:
    """As the adapters know it, with its secrets."""
    return Account(
        kind=account.kind,
        endpoint=account.endpoint,
        credentials=account.credentials(),
        options={**account.options, "emulated": "true" if account.emulated else "false"},
    )


def adapter_of(account: ProviderAccount) -> Adapter:
    """Connections are kept and shared. Raises Misconfigured where production meets an emulator."""
    return adapter_for(account_of(account))


# --- health ----------------------------------------------------------------------------------------------------------

OPENS_AFTER = 3  # failures one after another until nobody calls any more
PAUSE_FIRST_S = 5
PAUSE_MAX_S = 30  # what waits goes on at most so long after the provider is back
ASKED_PAUSE_MAX_S = 1800


def unless_paused(account_id: int) -> ProviderAccount | None:
    """The account; None while its circuit is open. After the pause the next call is the trial: all is well, or pause
    again."""
    return ProviderAccount.objects.exclude(paused_until__gt=Now()).filter(pk=account_id).first()


def note_success(account_id: int) -> None:
    """At most one write in 30 seconds while all is well: every list page would pay for more.

    An open circuit ends now; when the last one ended stays known: what was due meanwhile was not forgotten.
    """
    stale = timezone.now() - timedelta(seconds=30)
    ProviderAccount.objects.filter(
        Q(last_ok_at=None) | Q(last_ok_at__lt=stale) | Q(failing_since__isnull=False), pk=account_id
    ).update(
        last_ok_at=Now(),
        failing_since=None,
        failures=0,
        paused_until=Case(When(paused_until__gt=Now(), then=Now()), default=F("paused_until")),
        last_error="",
    )


def note_failure(account_id: int, summary: str, *, wait_s: float | None = None) -> None:
    """`summary` is one line without secrets, as the provider errors carry it; `wait_s` is what the provider asked for.

    From the third failure on all processes leave it alone for 5, 10, 20, 30, 30 ... seconds, by the database's clock.
    """
    with transaction.atomic():
        account = ProviderAccount.objects.select_for_update(no_key=True).only("failures").get(pk=account_id)
        failures = min(account.failures + 1, 1000)
        pause = min(PAUSE_FIRST_S * 2 ** min(failures - OPENS_AFTER, 10), PAUSE_MAX_S) if failures >= OPENS_AFTER else 0
        pause = max(pause, min(wait_s or 0, ASKED_PAUSE_MAX_S))
        ProviderAccount.objects.filter(pk=account_id).update(
            failing_since=Coalesce("failing_since", Now()),
            failures=failures,
            paused_until=Now() + timedelta(seconds=pause) if pause else None,
            last_error=summary[:300],
        )
