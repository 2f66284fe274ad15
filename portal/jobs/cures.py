"""What could help a failed job now: copies of it with one thing changed, each with its quote. Only what is possible."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.urls import reverse
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from portal.accounts.models import Organization
from portal.catalog.models import Offering, Price
from portal.core.templatetags import formats
from portal.jobs.diagnosis import Diagnosis
from portal.jobs.estimates import quote
from portal.jobs.failure_rules import CURES, CURES_OF_CLASSES, Cure
from portal.jobs.fitting import longest_s, refusals
from portal.jobs.models import Job
from portal.jobs.offers import prices_of_offers, time_values
from portal.jobs.states import FailureClass

LONGER_BY = 2
LIMIT_WORD, CAP_WORD, CAP_FOLLOWS = "limit_s", "cap", "most"

TITLES: dict[Cure, Promise] = {
    Cure.AGAIN: gettext_lazy("Run it again as it is"),
    Cure.EDIT: gettext_lazy("Correct it in a copy"),
    Cure.MORE_GPU_MEMORY: gettext_lazy("A GPU with more memory"),
    Cure.MORE_MEMORY: gettext_lazy("More main memory"),
    Cure.MORE_DISK: gettext_lazy("A larger disk"),
    Cure.OTHER_GPU: gettext_lazy("Another GPU"),
    Cure.OTHER_ARCHITECTURE: gettext_lazy("Another kind of processor"),
    Cure.OTHER_PROVIDER: gettext_lazy("Another provider"),
    Cure.LONGER: gettext_lazy("A longer time limit"),
    Cure.HIGHER_CAP: gettext_lazy("A higher cost cap"),
}


@dataclass(frozen=True)
class Offered:
    """A cure that can be had now. `what`: the one thing that changes, "" where nothing does. `most`: yen with tax that
    the copy can cost; `url`: the job form, filled with it."""

    cure: Cure
    title: Promise
    what: str
    most: int
    url: str


def cures_of(job: Job, diagnosis: Diagnosis | None, *, now: datetime) -> list[Offered]:
    """The likeliest first. One query, however many there are; none for a class that nothing here cures."""
    if not job.project.is_open:
        return []
    wanted = CURES.get(diagnosis.cause) if diagnosis else CURES_OF_CLASSES.get(FailureClass(job.failure))
    prices = prices_of_offers(now, organization=Organization(pk=job.organization_id))  # no more of it is asked for
    own = next((price for price in prices if price.offering_id == job.offering_id), None)
    found = [_offered(cure, job, own, prices, now) for cure in wanted or (Cure.EDIT,)]
    return [one for one in found if one is not None]


def _offered(cure: Cure, job: Job, own: Price | None, prices: list[Price], now: datetime) -> Offered | None:
    if cure in _BETTER:
        fits = [price for price in prices if _takes(job, price.offering, now) and _is_cure(cure, job, own, price)]
        price = min(fits, key=lambda one: _most(job, [one], job.time_limit_s), default=None)
        return _link(cure, job, price, prices, what=_plan_words(cure, price.offering), anew=True) if price else None
    if own is None or not _takes(job, own.offering, now):
        return None
    if cure == Cure.LONGER:
        limit_s = min(job.time_limit_s * LONGER_BY, longest_s(own.offering))
        if limit_s <= job.time_limit_s:
            return None
        return _link(cure, job, own, prices, what=formats.duration(limit_s), limit_s=limit_s, anew=True)
    if cure == Cure.HIGHER_CAP:
        raised = _link(cure, job, own, prices, anew=True)
        return replace(raised, what=formats.yen(raised.most)) if raised.most > job.cost_cap else None
    return _link(cure, job, own, prices)


def _is_cure(cure: Cure, job: Job, own: Price | None, price: Price) -> bool:
    if price.offering_id == job.offering_id:
        return False
    # Without the plan as it is now nothing can be called better; only that another provider has one.
    if own is None:
        return cure == Cure.OTHER_PROVIDER and price.offering.provider_id != job.offering.provider_id
    if (price.offering.architecture == own.offering.architecture) == (cure == Cure.OTHER_ARCHITECTURE):
        return False
    return price.offering.containers == own.offering.containers and _BETTER[cure](own.offering, price.offering)


def _more(before: int | None, after: int | None) -> bool:
    return before is not None and after is not None and after > before


_BETTER: dict[Cure, Callable[[Offering, Offering], bool]] = {
    Cure.MORE_GPU_MEMORY: lambda own, other: _more(own.gpu_memory_gb, other.gpu_memory_gb),
    Cure.MORE_MEMORY: lambda own, other: _more(own.memory_gb, other.memory_gb),
    Cure.MORE_DISK: lambda own, other: _more(own.disk_gb, other.disk_gb),
    Cure.OTHER_GPU: lambda own, other: other.gpu_model != own.gpu_model,
    Cure.OTHER_ARCHITECTURE: lambda own, other: True,
    Cure.OTHER_PROVIDER: lambda own, other: (
        other.provider_id != own.provider_id and (other.gpu_memory_gb or 0) >= (own.gpu_memory_gb or 0)
    ),
}


def _takes(job: Job, offering: Offering, now: datetime) -> bool:
    return not refusals(job, offering, on=timezone.localdate(now))


def _plan_words(cure: Cure, offering: Offering) -> str:
    amount = {
        Cure.MORE_GPU_MEMORY: offering.gpu_memory_gb,
        Cure.MORE_MEMORY: offering.memory_gb,
        Cure.MORE_DISK: offering.disk_gb,
    }.get(cure)
    name = offering.name
    return _("%(plan)s, %(amount)s GB") % {"plan": name, "amount": f"{amount:,}"} if amount else name


def _link(
    cure: Cure,
    job: Job,
    price: Price,
    prices: list[Price],
    *,
    what: str = "",
    limit_s: int | None = None,
    anew: bool = False,
) -> Offered:
    """`anew`: the cost cap follows plan and time, instead of being the old job's."""
    others = [p for p in prices if p.offering.slug in _named(job) and p.offering.allows_gpus(job.gpus)]
    most = _most(job, [price, *others], limit_s or job.time_limit_s)
    query: dict[str, Any] = {"copy": job.code, "offering": price.offering.slug}
    if limit_s:
        query[LIMIT_WORD] = limit_s
    if anew:
        query[CAP_WORD] = CAP_FOLLOWS
    url = f"{reverse('jobs:new')}?{urlencode(query)}"
    return Offered(cure, TITLES[cure], what, most if anew else min(most, job.cost_cap), url)


def _named(job: Job) -> set[str]:
    return {one["slug"] for one in job.alternatives}


def _most(job: Job, prices: list[Price], limit_s: int) -> int:
    """Yen at the dearest of them, as the form reckons it for a plan and the others that are ticked."""
    return max(quote(p.offering, p, gpus=job.gpus, time_limit_s=limit_s, tries=job.retries + 1).most for p in prices)


def changed(values: dict[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """What the form is filled with for a copy, by the words of a cure's link. With `cap` the cost cap is suggested
    anew: the old one was for the old price and time."""
    limit = str(wanted.get(LIMIT_WORD) or "")
    if limit.isascii() and limit.isdigit() and len(limit) < 9:
        values |= time_values(int(limit))
    if wanted.get(CAP_WORD) == CAP_FOLLOWS:
        del values["cost_cap"]
    return values
