"""What staff enter into the catalog: offerings, their facts and prices, each with its source and date, all audited."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from portal.accounts.models import User
from portal.audit.recording import record
from portal.catalog.models import Offering, Price
from portal.catalog.pricing import NewPrice, begin_price, units_like

FACTS = (
    "name_ja", "name_en", "kind", "site", "gpu_model", "gpu_memory_gb", "gpus_min", "gpus_max", "gpus_step",
    "gpus_per_node", "architecture", "architecture_confirmed", "cpu_cores", "memory_gb", "disk_gb", "interconnect",
    "plan", "adapter", "containers", "on_request", "best_of_units", "time_limit_max_s", "note_ja", "note_en",
    "ends_on", "source", "as_of", "confirmed",
)  # fmt: skip


class Refused(Exception):
    """This cannot be entered as it is; `message` says why and what to do, `field` where in the form."""

    def __init__(self, message: str | Promise, field: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.field = field


def add_offering(*, slug: str, provider: Any, facts: Mapping[str, Any], by: User) -> Offering:
    """One of the provider's own: sold, run and named by the same member. Raises Refused."""
    try:
        with transaction.atomic():
            offering = Offering.objects.create(
                slug=slug,
                provider=provider,
                contracting_member=provider,
                service_member=provider,
                host_member=provider,
                **facts,
            )
            _record("offering.added", offering, by, {name: _plain(value) for name, value in facts.items()})
    except IntegrityError:
        raise Refused(_("Another offering has this short name. Choose another one."), "slug") from None
    return offering


def edit_offering(offering: Offering, *, facts: Mapping[str, Any], seen: str, by: User) -> bool:
    """False: nothing is different. `seen` is the version that the person had before them. Raises Refused."""
    with transaction.atomic():
        row = _locked(offering)
        if version_of(row) != seen:
            raise Refused(_("Somebody else changed this offering meanwhile. Save again to keep what you entered."))
        changes = {name: value for name, value in facts.items() if getattr(row, name) != value}
        if not changes:
            return False
        told = {name: [_plain(getattr(row, name)), _plain(value)] for name, value in changes.items()}
        for name, value in changes.items():
            setattr(row, name, value)
        row.save(update_fields=list(changes))
        _record("offering.edited", row, by, told)
    return True


def set_price(offering: Offering, *, price: NewPrice, seen: str, by: User) -> Price:
    """A new dated row; what was valid until then ends where it begins. Raises Refused."""
    with transaction.atomic():
        row = _locked(offering)
        if version_of_prices(row) != seen:
            raise Refused(_("A price was entered meanwhile. Look at the prices below, then send this again."))
        last = row.prices.filter(unit__in=units_like(price.unit)).order_by("-valid_from", "-pk").first()
        if last and price.valid_from <= last.valid_from:
            raise Refused(_("A price that begins then or later is already entered. Choose a later day."), "valid_from")
        made = begin_price(row, price)
        told = {name: _plain(getattr(made, name)) for name in NewPrice.__dataclass_fields__}
        _record("price.entered", row, by, {"price": made.pk, **told})
    return made


def confirm_offering(offering: Offering, *, by: User) -> bool:
    """Its facts were read again today at the source that is named. False: they were confirmed today already."""
    return _confirm(offering, lambda row: row, "offering.confirmed", by)


def confirm_price(price: Price, *, by: User) -> bool:
    """As `confirm_offering`; the price itself is never edited."""
    return _confirm(price.offering, lambda row: Price.objects.get(pk=price.pk), "price.confirmed", by)


def end_offering(offering: Offering, *, by: User) -> bool:
    """Takes it out of the catalog; jobs that were created run to their end. False: it was out already."""
    return _show(offering, active=False, act="offering.ended", by=by)


def bring_back(offering: Offering, *, by: User) -> bool:
    return _show(offering, active=True, act="offering.brought_back", by=by)


def version_of(offering: Offering) -> str:
    """Changes with any of the facts."""
    return _digest([_plain(getattr(offering, name)) for name in FACTS])


def version_of_prices(offering: Offering) -> str:
    """Changes with any row that is added or ended."""
    return _digest(list(offering.prices.order_by("pk").values_list("pk", "valid_to")))


def _confirm(offering: Offering, row_of: Callable[[Offering], Any], act: str, by: User) -> bool:
    today = timezone.localdate()
    with transaction.atomic():
        locked = _locked(offering)
        row = row_of(locked)
        if row.confirmed and row.as_of == today:
            return False
        told = {"confirmed": [row.confirmed, True], "as_of": [_plain(row.as_of), _plain(today)], "source": row.source}
        row.confirmed, row.as_of = True, today
        row.save(update_fields=["confirmed", "as_of"])
        _record(act, locked, by, told | ({"price": row.pk} if isinstance(row, Price) else {}))
    return True


def _show(offering: Offering, *, active: bool, act: str, by: User) -> bool:
    with transaction.atomic():
        row = _locked(offering)
        if row.active == active:
            return False
        row.active = active
        row.save(update_fields=["active"])
        _record(act, row, by, {})
    return True


def _locked(offering: Offering) -> Offering:
    return Offering.objects.select_for_update(of=("self",)).select_related("provider", "site").get(pk=offering.pk)


def _record(act: str, offering: Offering, by: User, detail: Mapping[str, Any]) -> None:
    record(act, f"offering:{offering.slug}", actor=f"user:{by.pk}", detail=detail)


def _plain(value: Any) -> Any:
    if isinstance(value, bool | int | str) or value is None:
        return value
    return value.isoformat() if isinstance(value, datetime) else str(getattr(value, "slug", value))


def _digest(value: object) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()[:16]
