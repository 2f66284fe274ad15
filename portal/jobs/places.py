"""One offering as the place of one job, now: whether it may run there, at what price, by whose account."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.utils import timezone
from django.utils.functional import Promise
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from portal.accounts.models import Project
from portal.accounts.registries import host_of, needs_login
from portal.catalog.models import Offering, Price, ProviderAccount
from portal.catalog.pricing import price_at
from portal.catalog.provider_accounts import account_for
from portal.jobs.fitting import Asked, refusals
from portal.jobs.models import Job
from portal.jobs.placement.rule import Placed
from portal.providers.registry import TAKES_LOGINS


class Refused(Exception):
    """This cannot be submitted as it is; `message` says why and what to do, `field` where in the form."""

    def __init__(self, message: str | Promise, field: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.field = field


@dataclass(frozen=True)
class Place:
    price: Price
    account: ProviderAccount
    placed: Placed | None = None  # by which the portal has chosen it; None: a person has

    @property
    def offering(self) -> Offering:
        return self.price.offering

    def snapshot(self) -> dict[str, object]:
        """The offer as it was believed when the job was given to it, for the job's page and for disputes."""
        offering, price = self.offering, self.price
        return {
            "slug": offering.slug,
            "name_ja": offering.name_ja,
            "name_en": offering.name_en,
            "provider": offering.provider.slug,
            "site": offering.site.slug if offering.site else "",
            "gpu_model": offering.gpu_model,
            "gpu_memory_gb": offering.gpu_memory_gb,
            "architecture": offering.architecture,
            "plan": offering.plan,
            "price": {
                "unit": price.unit,
                "amount": str(price.amount),
                "per_gpu": price.per_gpu,
                "tax_included": price.tax_included,
                "tax_percent": str(price.tax_percent),
                "minimum_s": price.minimum_s,
            },
            "confirmed": offering.confirmed and price.confirmed,
            "emulated": self.account.emulated,
            **({"strategy": self.placed.spec.strategy.value} if self.placed else {}),
        }


def first_place(job: Job) -> Offering:
    """The plan that was chosen, with provider and site; the job may have gone elsewhere since. One query."""
    first = job.attempts.select_related("offering__provider", "offering__site").order_by("number").first()
    return first.offering if first else job.offering


def place_at(project: Project, asked: Asked, wanted: Offering, *, now: datetime) -> Place:
    """All that is asked of a place, read again: the page, or the attempt before, may be a while old. Raises Refused."""
    if not Project.objects.open().filter(pk=project.pk).exists():
        raise Refused(
            _("This project is closed. Choose another project, or ask an administrator to open it again."), "project"
        )
    price = price_at(wanted, now)
    offering = price.offering if price else wanted
    offering.provider, offering.site = wanted.provider, wanted.site  # both are fixed
    for refusal in refusals(asked, offering, on=timezone.localdate(now)):
        raise Refused(refusal.message, refusal.field)
    if price is None or offering.on_request:
        raise Refused(_("This offering is sold on request only. Ask for a quotation."), "offering")
    account = account_for(offering, organization=project.organization)
    if account is None:
        raise Refused(_("This GPU offering does not take jobs here. Choose another one."), "offering")
    if offering.containers and account.kind not in TAKES_LOGINS and needs_login(project.organization, asked.image):
        raise Refused(
            format_lazy(
                _(
                    "Your organization has a login for {registry}, and this plan can fetch public images only. Choose"
                    " another plan. If all images there are public, ask an owner or manager to remove the login."
                ),
                registry=host_of(asked.image),
            ),
            "image",
        )
    return Place(price, account)
