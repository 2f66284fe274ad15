"""Who runs each offering for somebody, and what can be said now to be free there: the same on every page."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from portal.accounts.models import Organization
from portal.catalog.models import CapacityObservation, Offering, ProviderAccount
from portal.catalog.provider_accounts import accounts_of

STALE_AFTER = timedelta(minutes=5)


@dataclass(frozen=True)
class Standing:
    """How an offering stands for somebody. `seen` is what was lately free there; None: nobody can say."""

    account: ProviderAccount | None  # who runs it for them; None: nobody
    seen: CapacityObservation | None

    @property
    def answers(self) -> bool:
        """False: our last call to the provider by this account failed."""
        return self.account is None or self.account.failing_since is None

    @property
    def is_own(self) -> bool:
        return self.account is not None and self.account.organization_id is not None


def standings(offerings: Iterable[Offering], *, organization: Organization | None, at: datetime) -> dict[int, Standing]:
    """By the offering's pk. None: for those of no organization. Two statements, however many offerings there are."""
    chosen = list(offerings)
    ranked = accounts_of(organization).defer("sealed_credentials")
    accounts = {(account.provider_id, account.kind): account for account in reversed(ranked)}  # the first one wins
    lately = CapacityObservation.objects.filter(offering__in=chosen, observed_at__gte=at - STALE_AFTER)
    newest = {seen.offering_id: seen for seen in lately.order_by("offering", "-observed_at").distinct("offering")}
    found = {}
    for offering in chosen:
        account = accounts.get((offering.provider_id, offering.adapter))
        # The machines that are looked at are the shared pool's, and what its provider said a minute ago is no more than
        # history once it does not answer.
        live = account is not None and account.organization_id is None and account.failing_since is None
        found[offering.pk] = Standing(account, newest.get(offering.pk) if live else None)
    return found
