"""SVG charts drawn on the server: no script, they print, they follow the theme. `{% load charts %}`.

Sizes are SVG attributes and colours are CSS classes, so the output runs under style-src 'self'. Every chart has a
title and a description; put the same numbers as a table in <details> beside it. Ids begin with `prefix`: one per chart.
A series is a (slug, name) pair; slugs with a colour of their own are those of static/css/tokens.css.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any

from django import template
from django.utils.html import escape, format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import pgettext

from portal.core.money import Money
from portal.core.templatetags.formats import day, is_japanese, month, month_of_year, weekday, yen

register = template.Library()

Series = Sequence[tuple[str, Any]]
Amount = Money | Decimal | int
# Drawn over the fill, so that series stay apart in grey print and for every kind of colour vision.
_TEXTURES = {
    "sakura": (' patternTransform="rotate(45)"', '<rect class="t-sakura" width="1.6" height="6" opacity=".55"/>'),
    "highreso": ("", '<circle class="t-highreso" cx="3" cy="3" r="1.25" opacity=".7"/>'),
}
_COLOURED = {"kddi", *_TEXTURES}


@dataclass(frozen=True)
class ChartDay:
    """One bar: yen per series slug. A forecast is drawn pale and named so."""

    on: date
    amounts: Mapping[str, Amount] = field(default_factory=dict)
    forecast: bool = False

    @property
    def total(self) -> Decimal:
        return sum((_number(amount) for amount in self.amounts.values()), Decimal(0))


@register.simple_tag
def stacked_days(
    days: Sequence[ChartDay], series: Series, *, title: Any, desc: Any, today: date | None = None, prefix: str = "days",
    months: bool = False,
) -> SafeString:  # fmt: skip
    """Cost per day, stacked by provider. `today` gets the line between what was and what is expected. `months`: each
    bar is a month, under its first day.

    As wide as its place, a phone's too: across it counts in percent, and letters keep their size. The numbers of the
    axis stand left of it, where portal.css leaves room.
    """
    height, top, bottom = 280, 26, 44
    plot_h = height - top - bottom
    highest = axis_top(max((d.total for d in days), default=Decimal(0)))
    step = 100 / max(len(days), 1)
    bar_w = min(4.8 if months else 2.4, step * 0.68)

    def y(value: Decimal) -> float:
        return top + plot_h - plot_h * float(value) / highest

    crowded: set[int] = (
        set(range(1, len(days), 2)) if months and len(days) > 6 else set()
    )  # a phone has room for six words
    parts = [_patterns(series, prefix), _grid(highest, 0, "100%", y)]
    labelled = set(range(len(days))) if months else _labelled_days(days, today)
    for i, d in enumerate(days):
        x = step * i + (step - bar_w) / 2
        parts.append(_day_bar(d, series, x, bar_w, y, prefix, month(d.on) if months else day(d.on)))
        if i in labelled:
            is_today = d.on == today
            parts.append(
                format_html(
                    '<text{} x="{}%" y="{}" text-anchor="middle">{}</text>'
                    '<text x="{}%" y="{}" text-anchor="middle">{}</text>',
                    SafeString(' class="tday"' if is_today else ' class="wide-only"' if i in crowded else ""),
                    _f(x + bar_w / 2), height - bottom + 17, month_of_year(d.on) if months else _day_label(d.on),
                    _f(x + bar_w / 2), height - bottom + 34,
                    (d.on.year if i == 0 or d.on.month == 1 else "") if months else weekday(d.on),
                )
            )  # fmt: skip
        if d.on == today and i + 1 < len(days):
            near = len(days) - i - 1 <= len(days) // 5  # to the right edge: a phone has no room for the word
            parts.append(
                format_html(
                    '<line class="today" x1="{0}%" x2="{0}%" y1="{1}" y2="{2}"/>'
                    '<text class="tday" x="{0}%" dx="-5" y="{3}" text-anchor="end">{4}</text>'
                    '<text{5} x="{0}%" dx="5" y="{3}">{6}</text>',
                    _f(step * (i + 1)), top - 12, top + plot_h, top - 13, pgettext("chart", "To date"),
                    SafeString(' class="wide-only"') if near else "", pgettext("chart", "Forecast"),
                )
            )  # fmt: skip
    return _svg("", title, desc, prefix, parts, look=" days")


@register.simple_tag
def cumulative(
    actual: Sequence[Amount], forecast: Sequence[Amount] = (), budget: Amount | None = None, *,
    first: date, days: int, title: Any, desc: Any, prefix: str = "sum",
) -> SafeString:  # fmt: skip
    """Cumulative cost from `first` over `days` days beside the budget: one value a day, `forecast` follows `actual`."""
    width, height, left, right, top, bottom = (
        300,
        216,
        46,
        10,
        20,
        24,
    )  # the side column, so that its text is 12 px there
    plot_w, plot_h = width - left - right, height - top - bottom
    past, future = [_number(v) for v in actual], [_number(v) for v in forecast]
    limit = _number(budget) if budget is not None else None
    highest = axis_top(max([*past, *future, limit or Decimal(0)]) * Decimal("1.05"))

    def x(index: int) -> float:
        return left + plot_w * index / max(days - 1, 1)

    def y(value: Decimal) -> float:
        return top + plot_h - plot_h * float(value) / highest

    parts = [_grid(highest, left, width - right, y)]
    for index in sorted({0, *(i for i in (9, 19) if i < days - 3), days - 1}):
        on = date.fromordinal(first.toordinal() + index)
        parts.append(
            format_html('<text x="{}" y="{}" text-anchor="middle">{}</text>', _f(x(index)), height - 6, _day_label(on))
        )
    if limit is not None:
        parts.append(
            format_html(
                '<path class="budget" d="M{} {}H{}"/><text class="tbudget" x="{}" y="{}">{}</text>',
                left, _f(y(limit)), width - right, left + 4, _f(y(limit) - 6),
                pgettext("chart", "Budget %(amount)s") % {"amount": yen(limit)},
            )
        )  # fmt: skip
    points = [(x(i), y(v)) for i, v in enumerate(past)]
    if points:
        ahead = [points[-1], *((x(len(past) + i), y(v)) for i, v in enumerate(future))]
        (end_x, end_y), start = points[-1], points[0]
        # Near the left edge the label goes to the right of its dot.
        leftward = end_x > left + 90
        # And below it where it would lie on the budget line.
        label_y = end_y + 18 if limit is not None and -4 < end_y - y(limit) < 22 else end_y - 8
        parts.append(
            format_html(
                '<path class="ar-key" d="M{} L{} {} L{} {}Z"/><path class="cum" d="M{}"/>{}'
                '<circle class="f-dot" cx="{}" cy="{}" r="4"/>'
                '<text class="tday" x="{}" y="{}" text-anchor="{}">{}</text>',
                _path(points), _f(end_x), _f(y(Decimal(0))), _f(start[0]), _f(y(Decimal(0))), _path(points),
                format_html('<path class="cum fcl" d="M{}"/>', _path(ahead)) if future else "",
                _f(end_x), _f(end_y), _f(end_x - 8 if leftward else end_x + 8), _f(label_y),
                "end" if leftward else "start", yen(past[-1]),
            )
        )  # fmt: skip
        if future:
            words = pgettext("chart", "Forecast %(amount)s") % {"amount": yen(future[-1])}
            ahead_y = ahead[-1][1]
            places = (ahead_y - 9, ahead_y + 18, max(end_y, ahead_y) + 36, min(end_y, ahead_y) - 26)
            free = [
                place
                for place in places
                if abs(place - label_y) > 13
                and (limit is None or not -5 < place - y(limit) < 13)
                and top < place < top + plot_h - 4
            ]  # neither on the label of today nor on the line of the budget
            forecast_y = (free or places)[0]
            parts.append(
                format_html('<text x="{}" y="{}" text-anchor="end">{}</text>', width - right, _f(forecast_y), words)
            )
    return _svg(f' viewBox="0 0 {width} {height}"', title, desc, prefix, parts)


@register.simple_tag
def spark(values: Sequence[float], *, title: Any, lo: float | None = None, hi: float | None = None) -> SafeString:
    """A small line without axes; `lo` and `hi` fix its range, else it fills the height. `title` says the numbers."""
    width, height = 240, 44
    low = min(values, default=0) if lo is None else lo
    span = (max(values, default=1) if hi is None else hi) - low or 1
    last = max(len(values) - 1, 1)
    points = [
        (width * i / last, height - 3 - (height - 6) * min(1.0, max(0.0, float((v - low) / span))))
        for i, v in enumerate(values)
    ]
    if len(points) == 1:
        points.append((float(width), points[0][1]))
    line = format_html(
        '<path class="ar-key" d="M{0} L{1} {2} L0 {2}Z"/>'
        '<path class="ln-key" vector-effect="non-scaling-stroke" d="M{0}"/>',
        _path(points), width, height,
    ) if points else ""  # fmt: skip
    return format_html(
        '<svg class="chart spark" viewBox="0 0 {} {}" preserveAspectRatio="none" role="img" aria-label="{}">{}</svg>',
        width, height, title, line,
    )  # fmt: skip


@register.simple_tag
def bar(
    percent: float | Decimal | None, *, label: Any, forecast: float | Decimal | None = None, tone: str = "",
    thick: bool = False, marks: Iterable[int] = (),
) -> SafeString:  # fmt: skip
    """Progress in percent; over 100 is drawn full. `tone`: "" ok warn err. `label` says it in words."""
    return format_html(
        '<svg class="bar{}" viewBox="0 0 100 8" preserveAspectRatio="none" role="img" aria-label="{}">{}'
        '<rect class="v{}" width="{}" height="8"/>{}</svg>',
        " thick" if thick else "",
        label,
        format_html('<rect class="fcst" width="{}" height="8"/>', _f(_clamped(forecast))) if forecast else "",
        f" {tone}" if tone else "",
        _f(_clamped(percent)),
        format_html_join("", '<line class="mk" x1="{0}" x2="{0}" y1="0" y2="8"/>', ((mark,) for mark in marks)),
    )


@register.simple_tag
def legend(series: Series, prefix: str = "days") -> SafeString:
    """For the chart with the same prefix, whose patterns it borrows."""
    return format_html(
        '<ul class="legend">{}</ul>',
        format_html_join(
            "",
            '<li><svg viewBox="0 0 16 16" aria-hidden="true"><rect width="16" height="16" rx="3" {}/></svg>{}</li>',
            ((_fill(slug, prefix), name) for slug, name in series),
        ),
    )


def axis_top(highest: Decimal | float | int) -> int:
    """The round number at the top of an axis with four steps, each of them round too. 4 at least."""
    power = 1
    while True:
        for base in (4, 8, 12, 16, 20, 24, 32):
            if base * power >= highest:
                return base * power
        power *= 10


def axis_label(value: Decimal | int) -> str:
    """12万, 3.5万 in Japanese; 120K, 1.2M in English; small numbers as they are."""
    value = Decimal(value)
    if is_japanese():
        scales = ((Decimal(10) ** 8, "億"), (Decimal(10) ** 4, "万"))
    else:
        scales = ((Decimal(10) ** 6, "M"), (Decimal(10) ** 4, "K"))
    for size, unit in scales:
        if value >= size:
            shown = value / (1000 if unit == "K" else size)
            return f"{shown.normalize():,f}{unit}"
    return f"{value.normalize():,f}"


def _labelled_days(days: Sequence[ChartDay], today: date | None) -> set[int]:
    """Every fifth day of a month or so, more widely over long spans, and today with room around it."""
    every = max(5, len(days) // 6)
    at = next((i for i, d in enumerate(days) if d.on == today), None)
    if len(days) <= 31 and len({(d.on.year, d.on.month) for d in days}) == 1:
        chosen = {i for i, d in enumerate(days) if d.on.day == 1 or d.on.day % 5 == 0}
    else:
        chosen = {i for i in range(len(days)) if i % every == 0}
    if at is not None:
        chosen = {i for i in chosen if abs(i - at) > 3} | {at}
    return chosen


def _day_bar(d: ChartDay, series: Series, x: float, width: float, y: Any, prefix: str, tip: str) -> SafeString:
    rects, base = [], Decimal(0)
    if d.forecast:
        tip += pgettext("chart", " (forecast)")
    tip += f" {yen(d.total)}"
    for slug, name in series:
        value = _number(d.amounts.get(slug, 0))
        if value <= 0:
            continue
        tip += f" / {name} {yen(value)}"
        upper, lower = y(base + value), y(base)
        # Numbers and _fill are safe as they are; escaping each of a month's hundreds would double the page's cost.
        size = f'x="{x:.2f}%" y="{_f(upper)}" width="{_f(width)}%" height="{_f(max(0.8, lower - upper - 1))}"'
        rects.append(f'<rect {size} rx="1.5" {_fill(slug, prefix)}/>')
        base += value
    return format_html(
        '<g class="day{}"><title>{}</title>{}</g>',
        " fc" if d.forecast else "",
        tip,
        SafeString("".join(rects)),
    )


def _svg(size: str, title: Any, desc: Any, prefix: str, parts: Iterable[SafeString], *, look: str = "") -> SafeString:
    return format_html(
        '<svg class="chart{}"{} role="img" aria-labelledby="{p}-t {p}-desc">'
        '<title id="{p}-t">{}</title><desc id="{p}-desc">{}</desc>{}</svg>',
        look, SafeString(size), title, desc, SafeString("".join(parts)), p=prefix,
    )  # fmt: skip


def _grid(highest: int, left: int, right: int | str, y: Any) -> SafeString:
    lines = []
    for i in range(5):
        value = Decimal(highest * i) / 4
        lines.append(
            ("grid" if i else "axis", left, right, _f(y(value)), left - 8, _f(y(value) + 4), axis_label(value))
        )
    return format_html_join(
        "",
        '<line class="{0}" x1="{1}" x2="{2}" y1="{3}" y2="{3}"/><text x="{4}" y="{5}" text-anchor="end">{6}</text>',
        lines,
    )


def _patterns(series: Series, prefix: str) -> SafeString:
    return format_html(
        "<defs>{}</defs>",
        SafeString(
            "".join(
                f'<pattern id="{escape(prefix)}-{slug}" width="6" height="6" patternUnits="userSpaceOnUse"'
                f"{_TEXTURES[slug][0]}>"
                f'<rect class="f-{slug}" width="6" height="6"/>{_TEXTURES[slug][1]}</pattern>'
                for slug, _ in series
                if slug in _TEXTURES
            )
        ),
    )


def _fill(slug: str, prefix: str) -> SafeString:
    if slug in _TEXTURES:
        return format_html('fill="url(#{}-{})"', prefix, slug)
    return format_html('class="f-{}"', slug if slug in _COLOURED else "other")


def _day_label(on: date) -> str:
    return f"{on.day}日" if is_japanese() else str(on.day)


def _path(points: Iterable[tuple[float, float]]) -> str:
    return " L".join(f"{a:.1f} {b:.1f}" for a, b in points)


def _f(value: float) -> str:
    return f"{value:.1f}"


def _clamped(percent: float | Decimal | None) -> float:
    return min(max(float(percent or 0), 0.0), 100.0)


def _number(value: Amount) -> Decimal:
    return value.amount if isinstance(value, Money) else Decimal(value)
