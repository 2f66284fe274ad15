"""Prices and availability from the providers themselves, where an adapter can tell them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal

import structlog
from django.db import transaction
from django.utils import timezone

from portal.catalog import pricing, sources
from portal.catalog.models import (
    LONGEST_RUN_S,
    AvailabilityState,
    CapacityObservation,
    Offering,
    Price,
    PriceUnit,
    ProviderAccount,
)
from portal.catalog.provider_accounts import adapter_of, note_failure, note_success, unless_paused
from portal.providers.base import Availability, PriceList, RemoteOffering
from portal.providers.errors import ProviderError

log = structlog.get_logger(__name__)

AMOUNT_BELOW, AMOUNT_STEP = Decimal(10**8), Decimal("0.000001")  # Price.amount
KEEP_OBSERVATIONS = 50  # per offering: the newest is shown, the rest serve to look back
UNITS = {"second": (PriceUnit.SECOND, False), "gpu_minute": (PriceUnit.MINUTE, True)}


def sync_prices(account: ProviderAccount) -> int:
    """Turn what the provider publishes now into dated rows; returns how many are new. Silent without the ability."""
    if unless_paused(account.pk) is None:
        return 0
    try:
        adapter = adapter_of(account)
        if not isinstance(adapter, PriceList):
            return 0
        published = adapter.offerings()
    except ProviderError as error:
        note_failure(account.pk, error.summary)
        return 0
    note_success(account.pk)
    plans = _with_one_price(published)
    known = Offering.objects.filter(provider=account.provider, adapter=account.kind)
    if unknown := sorted({offer.plan for offer in published} - set(known.values_list("plan", flat=True))):
        log.warning("plans that no offering sells: staff enter them at the desk", plans=unknown, account=account.pk)
    if published:  # a provider that lists nothing at all is in trouble, and has not ended everything
        named = [offer.plan for offer in published]
        known.filter(plan__in=named).exclude(unlisted_since=None).update(unlisted_since=None)
        gone = known.exclude(plan__in=named).filter(unlisted_since=None)
        if plans_gone := sorted(gone.values_list("plan", flat=True)):
            gone.update(unlisted_since=timezone.now())
            log.warning("the provider lists plans no longer that we sell", plans=plans_gone, account=account.pk)
    new = 0
    for offering in known.filter(plan__in=plans):
        new += _take_over(offering, plans[offering.plan], source=sources.PROVIDER_API, now=timezone.now())
    return new


def _with_one_price(published: Iterable[RemoteOffering]) -> dict[str, RemoteOffering]:
    """By plan, those whose price can be taken over. The others are told, and keep the price that they have here."""
    told: dict[str, set[RemoteOffering]] = {}
    for offer in published:
        told.setdefault(offer.plan, set()).add(offer)
    usable = {}
    for plan, (offer, *others) in told.items():
        if others:
            log.error("a plan is listed in two ways and was left out", plan=plan)
        elif offer.unit_price is None or offer.unit not in UNITS:
            log.warning("a plan has no price that can be read and was left out", plan=plan)
        elif not _fits(offer.unit_price):
            log.error("a published price is out of all bounds and was left out", plan=plan)
        elif not 0 <= offer.minimum_s <= LONGEST_RUN_S:
            log.error("a published minimum is longer than any run, or negative: the plan was left out", plan=plan)
        else:
            usable[plan] = offer
    return usable


def _fits(amount: Decimal) -> bool:
    """What does not fit its column, or is or would become nothing in it, is no price that anybody meant: a plan free
    of charge is entered by staff."""
    return 0 < amount < AMOUNT_BELOW - 1 and amount.quantize(AMOUNT_STEP) > 0


@transaction.atomic
def _take_over(offering: Offering, published: RemoteOffering, *, source: str, now: datetime) -> bool:
    """End the old row and begin a new one where price or minimum differ; mark an equal one as confirmed.

    Today's row is looked for under the offering's lock, so that two syncs at once make one row.
    """
    Offering.objects.select_for_update().get(pk=offering.pk)
    unit, per_gpu = UNITS[published.unit]
    assert published.unit_price is not None
    amount = published.unit_price.quantize(AMOUNT_STEP)  # as it is stored, or it would differ from itself
    today = timezone.localdate(now)
    current = pricing.prices_at(now).filter(offering=offering, unit=unit).order_by("-valid_from").first()
    if current and current.amount == amount and current.minimum_s == published.minimum_s:
        # Says when the same price was last read; the price itself is never edited.
        if current.as_of != today or not current.confirmed:
            Price.objects.filter(pk=current.pk).update(as_of=today, source=source, confirmed=True)
        return False
    price = pricing.NewPrice(unit, amount, per_gpu, published.minimum_s, now, source, as_of=today, confirmed=True)
    pricing.begin_price(offering, price)
    return True


def observe_availability(account: ProviderAccount) -> int:
    """Store what the provider says is free now; returns the number of observations. Silent without the ability."""
    if unless_paused(account.pk) is None:
        return 0
    try:
        adapter = adapter_of(account)
        if not isinstance(adapter, Availability):
            return 0
        seen = {item.plan: item for item in adapter.availability()}
    except ProviderError as error:
        note_failure(account.pk, error.summary)
        return 0
    note_success(account.pk)
    offerings = Offering.objects.filter(provider=account.provider, adapter=account.kind, plan__in=seen)
    rows = [
        CapacityObservation(
            offering=offering,
            state=_state(seen[offering.plan].free_gpus, offering.gpus_min),
            free_gpus=seen[offering.plan].free_gpus,
            queued_jobs=seen[offering.plan].queued_jobs,
            observed_at=seen[offering.plan].observed_at,
            source=account.kind,
        )
        for offering in offerings
    ]
    CapacityObservation.objects.bulk_create(rows)
    for row in rows:
        old = CapacityObservation.objects.filter(offering=row.offering).order_by("-observed_at")[KEEP_OBSERVATIONS:]
        CapacityObservation.objects.filter(pk__in=list(old.values_list("pk", flat=True))).delete()
    return len(rows)


def _state(free_gpus: int | None, smallest: int) -> AvailabilityState:
    if free_gpus is None:
        return AvailabilityState.UNKNOWN
    if free_gpus < smallest:
        return AvailabilityState.FULL
    return AvailabilityState.FEW if free_gpus < 2 * smallest else AvailabilityState.AVAILABLE
