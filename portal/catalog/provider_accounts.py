"""Which account runs an offering for an organization, how to reach it, and how it has been answering."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.db.models import Q
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
    accounts = ProviderAccount.objects.filter(
        Q(organization=organization) | Q(organization=None),
        provider=offering.provider,
        kind=offering.adapter,
        active=True,
    )
    if settings.PRODUCTION:
        accounts = accounts.filter(emulated=False)
    # NULLs come last in ascending order: the organization's own account wins.
    return accounts.order_by("organization").first()


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


def note_success(account_id: int) -> None:
    """At most one write in 30 seconds while all is well: every list page would pay for more."""
    stale = timezone.now() - timedelta(seconds=30)
    ProviderAccount.objects.filter(
        Q(last_ok_at=None) | Q(last_ok_at__lt=stale) | Q(failing_since__isnull=False), pk=account_id
    ).update(last_ok_at=Now(), failing_since=None, last_error="")


def note_failure(account_id: int, summary: str) -> None:
    """`summary` is one line without secrets, as the provider errors carry it."""
    ProviderAccount.objects.filter(pk=account_id).update(
        failing_since=Coalesce("failing_since", Now()), last_error=summary[:300]
    )
