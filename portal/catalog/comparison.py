"""Up to four offers side by side, the best value of a line marked where lower or higher is plainly better."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from portal.catalog import sources
from portal.catalog.models import OfferingKind, PriceUnit
from portal.catalog.offers import Offer, Wish
from portal.core.templatetags.formats import unit_yen, yen

MOST = 4


@dataclass(frozen=True)
class Cell:
    text: str
    note: str = ""
    best: str = ""  # the word beside the best value: "Cheapest"


@dataclass(frozen=True)
class Line:
    label: str
    cells: list[Cell]
    big: bool = False

    @property
    def differs(self) -> bool:
        return len({(cell.text, cell.note) for cell in self.cells}) > 1


@dataclass(frozen=True)
class Group:
    label: str
    lines: list[Line]


def compare(rows: list[Offer], wish: Wish, *, only_differences: bool) -> list[Group]:
    def line(
        label: str,
        cell: Callable[[Offer], Cell],
        *,
        value: Callable[[Offer], Any] = lambda row: None,
        prefer: Callable[[list[Any]], Any] = min,
        word: str = "",
        big: bool = False,
    ) -> Line:
        values = [value(row) for row in rows]
        known = [v for v in values if v is not None]
        best = prefer(known) if len(set(known)) > 1 else None
        cells = []
        for row, own in zip(rows, values, strict=True):
            made = cell(row)
            cells.append(Cell(made.text, made.note, word) if best is not None and own == best else made)
        return Line(label, cells, big)

    tax = _("tax incl.") if wish.with_tax else _("tax excl.")
    groups = [
        Group(
            _("Price (%(tax)s)") % {"tax": tax},
            [
                line(
                    _("One GPU, one hour"),
                    lambda row: Cell(price_words(row), "" if row.is_confirmed else _("To be confirmed")),
                    value=lambda row: row.per_gpu_hour,
                    word=_("Cheapest"),
                ),
                line(
                    total_label(wish),
                    lambda row: Cell(total_words(row, wish), gpus_words(row.gpus)),
                    value=lambda row: row.total if len({r.gpus for r in rows}) == 1 else None,
                    word=_("Cheapest"),
                    big=True,
                ),
                line(_("Charged by"), lambda row: Cell(*charged_by(row))),
            ],
        ),
        Group(
            _("Until you can use it"),
            [
                line(
                    _("Availability"),
                    lambda row: Cell(*availability_words(row)),
                    value=lambda row: row.seen.free_gpus if row.seen and row.state == "available" else None,
                    prefer=max,
                    word=_("Most free"),
                ),
                line(_("How to use"), lambda row: Cell(str(OfferingKind(row.offering.kind).label), row.offering.note)),
            ],
        ),
        Group(
            _("Performance"),
            [
                line(_("GPU model"), lambda row: Cell(row.offering.gpu_model or _("Not stated"))),
                line(
                    _("Memory per GPU"),
                    lambda row: Cell(_quantity(row.offering.gpu_memory_gb, "GB")),
                    value=lambda row: row.offering.gpu_memory_gb,
                    prefer=max,
                    word=_("Largest"),
                ),
                line(_("GPUs"), lambda row: Cell(gpu_range(row))),
                line(_("Between GPUs"), lambda row: Cell(row.offering.interconnect or _("Not stated"))),
                line(_("CPU"), lambda row: Cell(*architecture_words(row))),
                line(_("Main memory"), lambda row: Cell(_quantity(row.offering.memory_gb, "GB"))),
                line(_("Work disk"), lambda row: Cell(_quantity(row.offering.disk_gb, "GB"))),
            ],
        ),
        Group(
            _("Data and source"),
            [
                line(
                    _("Place"),
                    lambda row: (
                        Cell(row.offering.site.prefecture, row.offering.site.name)
                        if row.offering.site
                        else Cell(_("Not stated"))
                    ),
                ),
                line(
                    _("Source"),
                    lambda row: Cell(sources.words(row.read_from.source), row.read_from.as_of.isoformat()),
                ),
            ],
        ),
    ]
    if only_differences:
        groups = [Group(g.label, [line for line in g.lines if line.differs]) for g in groups]
    return [g for g in groups if g.lines]


def total_label(wish: Wish) -> str:
    return ngettext("For %(hours)d hour", "For %(hours)d hours", wish.hours) % {"hours": wish.hours}


def gpus_words(count: int) -> str:
    return ngettext("%(count)d GPU", "%(count)d GPUs", count) % {"count": count}


def gpu_range(row: Offer) -> str:
    low, high = row.offering.gpus_min, row.offering.gpus_max
    return gpus_words(low) if low == high else _("%(low)d to %(high)d GPUs") % {"low": low, "high": high}


def charged_by(row: Offer) -> tuple[str, str]:
    if row.price is None:
        return _("On inquiry"), ""
    note = "" if row.price.confirmed else _("To be confirmed")
    if row.offering.kind == OfferingKind.JOB and row.price.unit != PriceUnit.SECOND:
        # The price has another unit, but the portal counts a job's seconds whatever the price is per.
        return _("by the second, as part of the price per %(unit)s") % {"unit": row.price.get_unit_display()}, note
    if row.offering.best_of_units:
        return _("the cheapest mix of hour, day and month"), note
    if row.price.minimum_s > 1:
        note = _("%(seconds)d seconds at least") % {"seconds": row.price.minimum_s}
    return _("by the %(unit)s") % {"unit": row.price.get_unit_display()}, note


def availability_words(row: Offer) -> tuple[str, str]:
    """What the badge says, and the line under it."""
    seen = row.seen
    match row.state:
        case "available" | "few":
            word = _("Available") if row.state == "available" else _("Few left")
            return word, (_("%(count)d GPUs free") % {"count": seen.free_gpus} if seen and seen.free_gpus else "")
        case "full":
            waiting = seen.queued_jobs if seen else None
            return _("Full"), (
                ngettext("%(count)d job waiting", "%(count)d jobs waiting", waiting) % {"count": waiting}
                if waiting
                else ""
            )
        case "on_request":
            return _("On request"), ""
        case "by_order":
            return _("By order"), ""
    if not row.can_submit:
        return _("Not known"), ""
    if not row.standing.answers:
        return _("Not known"), _("The provider does not answer now; jobs can be queued")
    if row.standing.is_own:
        return _("Not known"), _("Not checked for your organization's own account; jobs can be queued")
    return _("Not known"), _("The provider does not tell; jobs can be queued")


def architecture_words(row: Offer) -> tuple[str, str]:
    note = "" if row.offering.architecture_confirmed else _("To be confirmed")
    if row.offering.architecture == "arm64":
        return _("Arm (arm64)"), note or _("Needs arm64 container images")
    return "x86_64", note


def price_words(row: Offer) -> str:
    return _("On inquiry") if row.per_gpu_hour is None else unit_yen(row.per_gpu_hour)


def total_words(row: Offer, wish: Wish) -> str:
    """Whole yen, as charged; for one GPU and one hour it is the unit price and reads the same."""
    if row.total is None:
        return _("On inquiry")
    return unit_yen(row.total) if row.total == row.per_gpu_hour else yen(row.total)


def _quantity(value: int | None, unit: str) -> str:
    return f"{value:,} {unit}" if value else _("Not stated")
