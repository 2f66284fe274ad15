"""The catalog's room of the staff desk: what no provider publishes is entered here, with its source and date."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from django.contrib import messages
from django.db.models import Prefetch
from django.forms import Form
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from portal.accounts.desk import at_desk
from portal.accounts.forms import posted
from portal.accounts.models import User
from portal.catalog import editing, sources
from portal.catalog.desk_forms import NewOfferingForm, OfferingForm, PriceForm
from portal.catalog.models import Offering, Price
from portal.catalog.pricing import prices_at

PRICES_SHOWN = 50
page = require_http_methods(["GET", "HEAD", "POST"])


@require_safe
@at_desk
def offerings(request: HttpRequest) -> HttpResponse:
    """All of them, ended ones last."""
    valid = Prefetch("prices", prices_at(timezone.now()).order_by("valid_from"), to_attr="valid_prices")
    rows = Offering.objects.select_related("provider").prefetch_related(valid)
    rows = rows.order_by("-active", "provider__position", "pk")
    return render(request, "desk/offerings.html", {"rows": [_row(offering) for offering in rows]})


@page
@at_desk
def new_offering(request: HttpRequest) -> HttpResponse:
    form = NewOfferingForm(posted(request))
    if request.method == "POST" and form.is_valid():
        slug, provider = form.cleaned_data["slug"], form.cleaned_data["provider"]
        facts, by = form.facts(), _staff(request)
        made = _done(form, lambda: editing.add_offering(slug=slug, provider=provider, facts=facts, by=by))
        if made:
            messages.success(request, _("%(name)s is in the catalog. Enter its price next.") % {"name": made.name})
            return redirect("desk:offering", made.slug)
    return _page(request, "desk/offering_new.html", {"form": form}, form)


@page
@at_desk
def offering(request: HttpRequest, slug: str) -> HttpResponse:
    row = _offering(slug)
    form = OfferingForm(posted(request), offering=row)
    if request.method == "POST" and form.is_valid():
        seen, facts = form.cleaned_data["seen"], form.facts()
        changed = _done(form, lambda: editing.edit_offering(row, facts=facts, seen=seen, by=_staff(request)))
        if changed is not None:
            messages.success(request, _("The offering was saved.") if changed else _("Nothing was different."))
            return redirect("desk:offering", row.slug)
        _seen_now(form, editing.version_of(row))
    return _page(request, "desk/offering.html", {**_told(row), "form": form}, form)


@page
@at_desk
def new_price(request: HttpRequest, slug: str) -> HttpResponse:
    row = _offering(slug)
    form = PriceForm(posted(request), offering=row)
    if request.method == "POST" and form.is_valid():
        seen, price = form.cleaned_data["seen"], form.price()
        if _done(form, lambda: editing.set_price(row, price=price, seen=seen, by=_staff(request))):
            messages.success(request, _("The price was entered. What was valid until then ends where it begins."))
            return redirect("desk:offering", row.slug)
        _seen_now(form, editing.version_of_prices(row))
    return _page(request, "desk/price_new.html", {**_told(row), "form": form}, form)


@require_POST
@at_desk
def confirm(request: HttpRequest, slug: str) -> HttpResponse:
    row = _offering(slug)
    editing.confirm_offering(row, by=_staff(request))
    messages.success(request, _("%(name)s is confirmed as of today.") % {"name": row.name})
    return redirect("desk:offering", row.slug)


@require_POST
@at_desk
def confirm_price(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    price = get_object_or_404(Price.objects.select_related("offering"), pk=pk, offering__slug=slug)
    editing.confirm_price(price, by=_staff(request))
    messages.success(request, _("The price is confirmed as of today."))
    return redirect("desk:offering", slug)


@page
@at_desk
def end(request: HttpRequest, slug: str) -> HttpResponse:
    row = _offering(slug)
    if request.method == "POST":
        editing.end_offering(row, by=_staff(request))
        messages.success(request, _("%(name)s is no longer in the catalog.") % {"name": row.name})
        return redirect("desk:offerings")
    return render(request, "desk/offering_end.html", {"offering": row})


@require_POST
@at_desk
def bring_back(request: HttpRequest, slug: str) -> HttpResponse:
    row = _offering(slug)
    editing.bring_back(row, by=_staff(request))
    messages.success(request, _("%(name)s is in the catalog again.") % {"name": row.name})
    return redirect("desk:offering", row.slug)


def _row(offering: Offering) -> dict[str, Any]:
    prices: list[Price] = offering.valid_prices  # type: ignore[attr-defined]
    return {
        "offering": offering,
        "prices": prices,
        "is_confirmed": offering.confirmed and all(price.confirmed for price in prices),
        "source": sources.words(offering.source),
    }


def _told(offering: Offering) -> dict[str, Any]:
    now = timezone.now()
    prices = [
        {
            "price": price,
            "source": sources.words(price.source),
            "is_planned": now < price.valid_from,
            "is_valid": price.valid_from <= now and (price.valid_to is None or now < price.valid_to),
        }
        for price in offering.prices.order_by("-valid_from", "-pk")[:PRICES_SHOWN]
    ]
    return {"offering": offering, "prices": prices, "source": sources.words(offering.source)}


def _offering(slug: str) -> Offering:
    return get_object_or_404(Offering.objects.select_related("provider", "site"), slug=slug)


def _staff(request: HttpRequest) -> User:
    return cast(User, request.user)


def _done(form: Form, act: Callable[[], Any]) -> Any:
    """What the act returns; None: it was refused, and the form says why."""
    try:
        return act()
    except editing.Refused as refusal:
        form.add_error(refusal.field or None, cast(str, refusal.message))
        return None


def _seen_now(form: Form, version: str) -> None:
    """The answer shows what is there now: sent again, the form has seen it."""
    form.data = {**form.data.dict(), "seen": version}  # type: ignore[attr-defined]


def _page(request: HttpRequest, template: str, context: dict[str, Any], form: Form) -> HttpResponse:
    return render(request, template, context, status=422 if form.is_bound and form.errors else 200)
