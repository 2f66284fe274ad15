from __future__ import annotations

import hashlib
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse, HttpResponseBase, QueryDict
from django.shortcuts import render
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import get_language, ngettext, pgettext_lazy
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from portal.accounts.context import current_of
from portal.accounts.models import Organization
from portal.accounts.roles import Permission
from portal.catalog import choosing, comparison, sources
from portal.catalog.forms import CatalogFilter, ChoosingForm
from portal.catalog.models import Offering
from portal.catalog.offers import Offer, Wish, listed, offers
from portal.catalog.provider_accounts import has_own_account
from portal.core.caching import keep
from portal.core.csv import csv_response
from portal.core.htmx import respond
from portal.core.templatetags.formats import to_unit_price

KEEP_S = 10  # prices change by the day, what is free is looked at each minute
_START_ORDER = {"available": 0, "few": 1, "unknown": 2, "full": 3, "by_order": 4, "on_request": 5}


@dataclass(frozen=True)
class Shown:
    """What the filter left, and what it was asked."""

    form: CatalogFilter
    wish: Wish
    rows: list[Offer]
    compared: list[Offer]
    has_unknown: bool  # the URL asks to compare what is not in the catalog
    all_count: int
    only_differences: bool


@require_safe
def offer_list(request: HttpRequest) -> HttpResponse:
    """Open to everybody: prices are shown before anybody signs up."""
    can = current_of(request).can if request.user.is_authenticated else {Permission.SUBMIT}
    may_create = Permission.SUBMIT in can
    whose = _with_own_account(request)
    parts = keep(_key(request.GET, may_create, whose), KEEP_S, lambda: _render(request.GET, may_create, whose))
    context = {"with_tax": parts["with_tax"], **{name: SafeString(parts[name]) for name in ("filter", "offers")}}
    return respond(request, "catalog/list.html", "catalog/_ready.html", context)


def _with_own_account(request: HttpRequest) -> Organization | None:
    """The reader's organization, if it has an account of its own at any provider: others see the shared pool's."""
    organization = current_of(request).organization if request.user.is_authenticated else None
    return organization if organization and has_own_account(organization) else None


def _key(query: QueryDict, may_create: bool, whose: Organization | None) -> str:
    """Filter and offers are the same for everybody who asks the same in the same language and may do the same, by the
    same accounts."""
    asked = repr((get_language(), may_create, whose and whose.pk, sorted(query.lists())))
    return f"catalog:{hashlib.sha256(asked.encode(errors='backslashreplace')).hexdigest()}"


def _render(query: QueryDict, may_create: bool, whose: Organization | None) -> dict[str, Any]:
    """Without a request on purpose: nothing of a person can get into what others are shown."""
    shown = _filtered(query, whose)
    query = query.copy()
    query.setlist("cmp", [row.offering.slug for row in shown.compared])  # what was one too many is in no link
    times = [row.seen.observed_at for row in shown.rows if row.seen]
    context = {
        "form": shown.form,
        "wish": shown.wish,
        "rows": [_row(row, query, shown, may_create) for row in shown.rows],
        "all_count": shown.all_count,
        "count_text": ngettext("%(count)d of %(all)d shown", "%(count)d of %(all)d shown", shown.all_count)
        % {"count": len(shown.rows), "all": shown.all_count},
        "observed_at": min(times) if times else None,
        "compared": [_row(row, query, shown, may_create) for row in shown.compared],
        "groups": comparison.compare(shown.compared, shown.wish, only_differences=shown.only_differences)
        if shown.compared
        else [],
        "has_unknown": shown.has_unknown,
        "is_full": len(shown.compared) == comparison.MOST,
        "total_label": comparison.total_label(shown.wish),
        "csv_url": f"{reverse('catalog:csv')}?{query.urlencode()}",
        "compared_csv_url": f"{reverse('catalog:csv')}?{query.urlencode()}&only=cmp",
        "only_differences": shown.only_differences,
        "most": comparison.MOST,
    }
    return {
        "with_tax": shown.wish.with_tax,
        "filter": render_to_string("catalog/_filter.html", context),
        "offers": render_to_string("catalog/_offers.html", context),
    }


@require_safe
def choose(request: HttpRequest) -> HttpResponse:
    """「GPUの選び方」: five questions in the URL, three answers. Open to everybody, as the catalog is."""
    can = current_of(request).can if request.user.is_authenticated else {Permission.SUBMIT}
    found = offers(Wish(), organization=_with_own_account(request))
    providers = {row.offering.provider.slug: row.offering.provider.name for row in found}
    form = ChoosingForm(request.GET if "purpose" in request.GET else None, providers=list(providers.items()))
    context: dict[str, Any] = {"form": form, "models": choosing.models_reckoned(found)}
    if form.is_valid():
        answers = form.answers()
        choice = choosing.choose(found, answers)
        context |= {
            "answers": answers,
            "choice": choice,
            "picks": [_picked(pick, Permission.SUBMIT in can) for pick in choice.picks],
            "memory": _quantity_gb(answers.memory_gb),
            "size": choosing.size_words(answers.millions),
        }
    return render(request, "catalog/choose.html", context, status=422 if form.is_bound and form.errors else 200)


WAYS = {
    choosing.Way.CHEAPEST: pgettext_lazy("choice of GPU", "Cheapest"),
    choosing.Way.FASTEST: pgettext_lazy("choice of GPU", "Fastest"),
    choosing.Way.SAFEST: pgettext_lazy("choice of GPU", "Safest"),
}


def _picked(pick: choosing.Pick, may_create: bool) -> dict[str, Any]:
    """`url`: the job form with that plan, or the plan in the catalog where no job can be created on it."""
    one = pick.candidate
    slug, can_create = one.offer.offering.slug, one.offer.can_submit and may_create
    create = f"{reverse('jobs:new')}?{urlencode({'offering': slug, 'gpus': one.gpus})}"
    return {
        "way": WAYS[pick.way],
        "offering": one.offer.offering,
        "is_confirmed": one.offer.is_confirmed,
        "gpus": comparison.gpus_words(one.gpus),
        "seconds": one.seconds,
        "cost": one.cost,
        "why": pick.why,
        "can_create": can_create,
        "url": create if can_create else f"{reverse('catalog:list')}?{urlencode({'cmp': slug})}#offer-{slug}",
    }


def _quantity_gb(amount: Decimal) -> str:
    return f"{amount:,.1f} GB" if amount < 10 else f"{amount:,.0f} GB"


@require_safe
def offers_csv(request: HttpRequest) -> HttpResponseBase:
    """What the filter left; with only=cmp the plans under comparison."""
    shown = _filtered(request.GET, _with_own_account(request))
    header = [
        _("Provider"), _("Offering"), _("How to use"), _("GPU model"), _("Memory per GPU (GB)"), _("GPUs"),
        _("One GPU, one hour (yen)"), comparison.total_label(shown.wish) + _(" (yen)"), _("Tax"), _("Confirmed"),
        _("Charged by"), _("Availability"), _("CPU"), _("Place"), _("Source"), _("As of"),
    ]  # fmt: skip
    rows = [
        [
            row.offering.provider.name,
            row.offering.name,
            row.offering.get_kind_display(),
            row.offering.gpu_model,
            row.offering.gpu_memory_gb,
            row.gpus,
            _as_shown(row.per_gpu_hour),
            _as_shown(row.total),
            "" if row.price is None else _("tax incl.") if shown.wish.with_tax else _("tax excl."),
            _("Confirmed") if row.is_confirmed else _("To be confirmed"),
            _in_one(comparison.charged_by(row)),
            comparison.availability_words(row)[0],
            _in_one(comparison.architecture_words(row)),
            row.offering.site.prefecture if row.offering.site else "",
            sources.words(row.read_from.source),
            row.read_from.as_of.isoformat(),
        ]
        for row in (shown.compared if request.GET.get("only") == "cmp" else shown.rows)
    ]
    return csv_response("gpu-catalog.csv", header, rows)


def _filtered(query: QueryDict, whose: Organization | None) -> Shown:
    all_offerings = list(listed(timezone.now()))
    models = sorted({o.gpu_model for o in all_offerings if o.gpu_model}, key=_newest_first(all_offerings))
    providers = {o.provider.slug: o.provider.name for o in all_offerings}
    form = CatalogFilter(query, models=models, providers=list(providers.items()), slugs=[o.slug for o in all_offerings])
    want = form.chosen()
    wish = Wish(
        gpus=int(str(want["n"])) if want["n"] else None,
        hours=int(str(want["h"])) if want["h"] else 24,
        with_tax=want["tax"] != "ex",
    )
    fitting = [o for o in all_offerings if _fits(o, want, wish)]
    asked, known = list(dict.fromkeys(query.getlist("cmp"))), {o.slug for o in all_offerings}
    marked = [slug for slug in asked if slug in known][: comparison.MOST]
    to_compare = [o for o in all_offerings if o.slug in marked]
    priced = {row.offering.slug: row for row in offers(wish, fitting, organization=whose)}
    rows = [row for row in priced.values() if not want["now"] or row.state in ("available", "few")]
    others = [o for o in to_compare if o.slug not in priced]
    also = {row.offering.slug: row for row in offers(wish, others, organization=whose)} if others else {}
    if want["jobs"]:
        rows = [row for row in rows if row.can_submit]
    rows.sort(key=_order(str(want["sort"] or "price")))
    return Shown(
        form=form,
        wish=wish,
        rows=rows,
        compared=[(priced | also)[slug] for slug in marked],
        has_unknown=not known.issuperset(asked),
        all_count=len(all_offerings),
        only_differences=bool(want["diff"]),
    )


def _fits(offering: Offering, want: dict[str, object], wish: Wish) -> bool:
    return (
        (not want["gpu"] or offering.gpu_model in want["gpu"])  # type: ignore[operator]
        and (not want["provider"] or offering.provider.slug == want["provider"])
        and (wish.gpus is None or offering.allows_gpus(wish.gpus))
    )


def _newest_first(offerings: list[Offering]):  # type: ignore[no-untyped-def]
    memory = {o.gpu_model: o.gpu_memory_gb or 0 for o in offerings}
    return lambda model: (-memory[model], model)


def _order(sort: str):  # type: ignore[no-untyped-def]
    """No published price comes last; equals keep the catalog's own order."""
    dear = Decimal("Infinity")
    if sort == "start":
        return lambda row: _START_ORDER[row.state]
    if sort == "memory":
        return lambda row: -(row.offering.gpu_memory_gb or 0)
    return lambda row: row.per_gpu_hour if row.per_gpu_hour is not None else dear


def _row(row: Offer, query: QueryDict, shown: Shown, may_create: bool) -> dict[str, object]:
    word, note = comparison.availability_words(row)
    without = query.copy()
    without.setlist("cmp", [slug for slug in query.getlist("cmp") if slug != row.offering.slug])
    tones = {"available": ("ok", "ok"), "few": ("warn", "warn"), "full": ("", "clock"), "unknown": ("", "help")}
    tone, icon = tones.get(row.state, ("run-static", "clock"))
    return {
        "offer": row,
        "offering": row.offering,
        "availability": word,
        "availability_note": note,
        "tone": tone,
        "icon": icon,
        "gpus_words": comparison.gpus_words(row.gpus),
        "gpu_range": comparison.gpu_range(row),
        "charged_by": comparison.charged_by(row),
        "is_compared": row in shown.compared,
        "is_hidden": row not in shown.rows,  # by the filter: no checkbox of the list keeps it under comparison
        "may_compare": row in shown.compared or len(shown.compared) < comparison.MOST,
        "remove_url": f"{reverse('catalog:list')}?{without.urlencode()}",
        "create_url": f"{reverse('jobs:new')}?offering={row.offering.slug}&gpus={row.gpus}"
        if row.can_submit and may_create
        else "",
        "price_text": comparison.price_words(row),
        "total_text": comparison.total_words(row, shown.wish),
        "source": sources.words(row.read_from.source),
    }


def _in_one(words: tuple[str, str]) -> str:
    text, note = words
    return f"{text} ({note})" if note else text


def _as_shown(amount: Decimal | None) -> Decimal | str:
    return to_unit_price(amount) if amount is not None else ""
