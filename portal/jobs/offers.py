"""What jobs can be sent to now, and what of it somebody is choosing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from portal.accounts.models import Organization
from portal.catalog.availability import standings
from portal.catalog.models import CapacityObservation, Offering, OfferingKind, Price, ProviderAccount
from portal.catalog.pricing import METERED, per_gpu_hour, prices_at
from portal.catalog.provider_accounts import accounts_of
from portal.core.caching import Briefly
from portal.core.periods import day_of
from portal.core.templatetags import formats
from portal.jobs.attaching import Places
from portal.jobs.estimates import Quote, quote
from portal.jobs.fields import WholeNumber
from portal.jobs.fitting import longest_s
from portal.jobs.request import COST_CAP_MAX, COST_CAP_MIN, RETRIES_MAX, TIME_LIMIT_MIN_S

COUNTS_SHOWN = 64
OFFERS_KEPT_S = 5
UNITS = {"minutes": 60, "hours": 3600, "days": 86_400}


@dataclass(frozen=True)
class Offer:
    """An offering that jobs can be sent to now, with its price and what was seen of it lately (None: nobody can
    say)."""

    offering: Offering
    price: Price
    seen: CapacityObservation | None
    account: ProviderAccount | None = None  # who runs it for the organization

    @property
    def slug(self) -> str:
        return self.offering.slug

    @property
    def per_gpu_hour(self) -> Decimal:
        return per_gpu_hour(self.price, gpus=self.offering.gpus_min)

    @property
    def counts(self) -> list[int]:
        """The numbers of GPUs to choose from; of a long range every doubling."""
        offering = self.offering
        every = range(offering.gpus_min, offering.gpus_max + 1, offering.gpus_step)
        if len(every) <= COUNTS_SHOWN:
            return list(every)
        picked, count = [], offering.gpus_min
        while count < offering.gpus_max:
            picked.append(count)
            count = max(count * 2, count + offering.gpus_step)
            count -= (count - offering.gpus_min) % offering.gpus_step
        return [*picked, every[-1]]


_offers = Briefly(OFFERS_KEPT_S)


def offers_now(organization: Organization) -> list[Offer]:
    """`offers_at` now, or a few seconds ago: submission reads offering and price again."""
    return _offers.get(organization.pk, lambda: offers_at(timezone.now(), organization=organization))


def forget_offers() -> None:
    """For tests, which change the catalog faster than anybody else."""
    _offers.clear()


def offers_at(at: datetime, *, organization: Organization) -> list[Offer]:
    """What the organization can send jobs to, cheapest GPU first. Four queries, however many there are."""
    offerings = _for_jobs(at).select_related("provider", "site")
    standing = standings(offerings, organization=organization, at=at)
    found = [o for o in offerings if standing[o.pk].account]
    prices = {
        price.offering_id: price
        for price in prices_at(at).filter(offering__in=found, unit__in=METERED).order_by("valid_from", "pk")
    }
    offers = [Offer(o, prices[o.pk], standing[o.pk].seen, standing[o.pk].account) for o in found if o.pk in prices]
    return sorted(offers, key=lambda offer: (offer.per_gpu_hour, offer.offering.provider.position, offer.slug))


def prices_of_offers(at: datetime, *, organization: Organization) -> list[Price]:
    """The same offers as rows of prices, with offering, provider and site: without what was seen of them lately, and
    therefore one query. Cheapest GPU first."""
    runs = accounts_of(organization).filter(provider=OuterRef("offering__provider"), kind=OuterRef("offering__adapter"))
    rows = (
        prices_at(at)
        .filter(Exists(runs.order_by()), offering__in=_for_jobs(at), unit__in=METERED)
        .select_related("offering__provider", "offering__site")
        .order_by("valid_from", "pk")
    )
    newest = {price.offering_id: price for price in rows}.values()
    return sorted(
        newest, key=lambda p: (per_gpu_hour(p, gpus=p.offering.gpus_min), p.offering.provider.position, p.offering.slug)
    )


def _for_jobs(at: datetime) -> QuerySet[Offering]:
    offerings = (
        Offering.objects.filter(Q(ends_on=None) | Q(ends_on__gte=day_of(at)), active=True, on_request=False)
        .filter(unlisted_since=None)
        .filter(kind=OfferingKind.JOB)
        .exclude(adapter="")
    )
    return offerings.exclude(demo_only=True) if settings.PRODUCTION else offerings


@dataclass(frozen=True)
class Plan:
    """An offer, and what is said there of the chosen data ("" where none is chosen, or nobody knows where it is)."""

    offer: Offer
    data: str = ""
    is_near: bool = False  # all of it is at the provider's own storage site, which answers


def plans_for(offers: Sequence[Offer], places: Places | None) -> list[Plan]:
    """In the order of the offers; of those at one price first where the data is."""
    plans = [_plan(offer, places) for offer in offers]
    return sorted(plans, key=lambda plan: (plan.offer.per_gpu_hour, not plan.is_near))


def near_among(plans: Sequence[Plan]) -> str:
    """Slugs of those where the data is. As long as it is the same, so is the order of the plans."""
    return ",".join(plan.offer.slug for plan in plans if plan.is_near)


def _plan(offer: Offer, places: Places | None) -> Plan:
    if places is None or not places.held:
        return Plan(offer)
    # The primary site has all that is ready; a copy that does not answer is as good as none.
    own = [held for held in places.held if held.provider == offer.offering.provider.slug and not held.failing]
    most = max((held.files for held in own), default=0)
    if most >= places.files:
        return Plan(offer, _("Data here"), is_near=True)
    if most:
        return Plan(offer, _("%(n)s of %(all)s files here") % {"n": f"{most:,}", "all": f"{places.files:,}"})
    return Plan(offer, _("Data at %(site)s") % {"site": places.held[0].name})


@dataclass(frozen=True)
class Choice:
    """What the quote needs, read from a form that may be half filled."""

    offer: Offer
    gpus: int
    time_limit_s: int
    cost_cap: int | None
    others: tuple[Offer, ...] = ()  # where it may go as well, cheapest first
    tries: int = 1

    def quote_at(self, offer: Offer, *, cost_cap: int | None = None) -> Quote:
        return quote(
            offer.offering,
            offer.price,
            gpus=self.gpus,
            time_limit_s=self.time_limit_s,
            cost_cap=cost_cap,
            tries=self.tries,
        )

    @property
    def most(self) -> int:
        """Yen, if the job runs to its time limit at the dearest of its places, as often as it may: what a cap is
        suggested by."""
        return max(self.quote_at(offer).most for offer in (self.offer, *self.others))


def choice_of(values: Mapping[str, Any], offers: Sequence[Offer]) -> Choice | None:
    """None as long as no plan or no time that the plan has is chosen; a number of GPUs that it has not becomes its
    smallest."""
    offer, seconds = _place_and_time(values, offers)
    if offer is None or seconds is None or time_sentence(offer.offering, seconds):
        return None
    gpus = _number(values, "gpus")
    if gpus is None or not offer.offering.allows_gpus(gpus):
        gpus = offer.offering.gpus_min
    named = values.get("alternatives") or ()
    others = tuple(o for o in offers if o is not offer and o.slug in named and o.offering.allows_gpus(gpus))
    cap = _number(values, "cost_cap", least=COST_CAP_MIN, most=COST_CAP_MAX)
    tries = (_number(values, "retries", least=0, most=RETRIES_MAX) or 0) + 1
    return Choice(offer, gpus, seconds, cap, others, tries)


def numbers_of(values: Mapping[str, Any]) -> tuple[int | None, int | None, int | None]:
    """Number of GPUs, time limit in seconds, cap in yen; None: not said, or not to be read."""
    amount, unit = _number(values, "time_amount"), UNITS.get(str(values.get("time_unit")))
    seconds = None if amount is None or unit is None else amount * unit
    return _number(values, "gpus"), seconds, _number(values, "cost_cap", least=COST_CAP_MIN, most=COST_CAP_MAX)


def no_choice_because(values: Mapping[str, Any], offers: Sequence[Offer]) -> str:
    """What is wrong where `choice_of` is None although both are chosen; else ""."""
    offer, seconds = _place_and_time(values, offers)
    return "" if offer is None or seconds is None else time_sentence(offer.offering, seconds)


def _place_and_time(values: Mapping[str, Any], offers: Sequence[Offer]) -> tuple[Offer | None, int | None]:
    offer = next((o for o in offers if o.slug == values.get("offering")), None)
    amount, unit = _number(values, "time_amount"), UNITS.get(str(values.get("time_unit")))
    return offer, None if amount is None or unit is None else amount * unit


def time_sentence(offering: Offering, seconds: int) -> str:
    """Why no job there can have that time limit; "" when it can."""
    return "" if TIME_LIMIT_MIN_S <= seconds <= longest_s(offering) else times_sentence(offering)


def times_sentence(offering: Offering) -> str:
    """The time limits that jobs can have there."""
    return _("The time limit on this plan is from %(least)s to %(most)s.") % {
        "least": formats.duration(TIME_LIMIT_MIN_S),
        "most": formats.duration(longest_s(offering)),
    }


def counts_sentence(offering: Offering) -> str:
    """The numbers of GPUs that jobs can have there."""
    names = {
        "plan": offering.name,
        "least": offering.gpus_min,
        "most": offering.gpus_max,
        "step": offering.gpus_step,
    }
    if offering.gpus_min == offering.gpus_max:
        return ngettext("%(plan)s has %(least)s GPU.", "%(plan)s has %(least)s GPUs.", offering.gpus_min) % names
    if offering.gpus_step == 1:
        return _("%(plan)s takes from %(least)s to %(most)s GPUs.") % names
    return _("%(plan)s takes from %(least)s to %(most)s GPUs, in steps of %(step)s.") % names


def least_sentence(price: Price, least: int) -> str:
    """Why no cap can be lower: it must pay for the shortest time limit, or for what is charged at least."""
    return _("The cap on this plan must be at least %(least)s, the cost of %(time)s. Raise it.") % {
        "least": formats.yen(least),
        "time": formats.duration(max(TIME_LIMIT_MIN_S, price.minimum_s)),
    }


def time_values(seconds: int) -> dict[str, Any]:
    unit = next((u for u in ("days", "hours") if seconds % UNITS[u] == 0), "minutes")
    return {"time_amount": max(1, seconds // UNITS[unit]), "time_unit": unit}


def _number(values: Mapping[str, Any], name: str, *, least: int = 1, most: int = 10**9) -> int | None:
    try:
        return WholeNumber(minimum=least, maximum=most, missing="", wrong="", required=False).to_python(
            values.get(name)
        )
    except ValidationError:
        return None
