"""What was used and what it cost in a fiscal year or half of one, from the sums of months: a page of as few rows as a
month's, however many records there are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from django.db import connection
from django.utils import timezone
from django.utils.translation import gettext as _

from portal.billing.overview import BREAKDOWNS, Line, Scope, breakdown, change
from portal.billing.summaries import Cell, Use, provider_columns, provider_of
from portal.catalog.models import Provider
from portal.core.periods import BillingMonth, FiscalSpan, billing_month, fiscal_year, fiscal_year_of_day
from portal.core.templatetags.charts import ChartDay
from portal.core.units import HoursThatAddUp

YEARS_OFFERED = 3


@dataclass(frozen=True)
class SpanPage:
    """The same names as of a month's Overview where templates are shared."""

    scope: Scope
    month: FiscalSpan  # what the address says after `month=`
    is_current: bool
    until: BillingMonth  # the last month with figures: the running one, or the span's last
    use: Use
    days: list[ChartDay]  # one bar a month, under its first day
    series: list[tuple[str, str]]
    rows: list[tuple[date, list[int], int]]  # the chart as a table
    busiest: date | None
    by: str
    gpu_hours: Decimal
    lines: list[Line]
    change: Decimal | None  # against the year before; None while the span runs

    is_span = True
    freshness = ()

    @property
    def is_empty(self) -> bool:
        return not (self.use.amount or self.use.gpu_seconds)


def spans_offered(begun: date, now: date) -> list[FiscalSpan]:
    """Years and their halves, newest first, none that has not begun or was over before the organization began."""
    spans: list[FiscalSpan] = []
    newest = fiscal_year_of_day(now)
    for year in range(newest, max(newest - YEARS_OFFERED, fiscal_year_of_day(begun) - 1), -1):
        spans += [FiscalSpan(year), FiscalSpan(year, 2), FiscalSpan(year, 1)]
    return [s for s in spans if s.months[0].first_day <= now and s.months[-1].last_day >= begun]


def span_page(scope: Scope, span: FiscalSpan, *, by: str) -> SpanPage:
    """Two queries at most, whatever the size of the organization."""
    now = timezone.now()
    current = billing_month(now)
    span = span if span.months[0] <= current else FiscalSpan(fiscal_year(now))
    is_current = span.months[-1] >= current
    use = span_of_use(scope, span)
    shown = [p for p in use.providers if any(day.get(p.slug) for day in use.by_day.values())]
    days = [ChartDay(m.first_day, use.by_day.get(m.first_day, {})) for m in span.months]
    totals = {day.on: sum(use.by_day.get(day.on, {}).values()) for day in days}
    hours = HoursThatAddUp.for_parts([cell.gpu_seconds for cell in use.cells])
    return SpanPage(
        scope=scope,
        month=span,
        is_current=is_current,
        until=min(current, span.months[-1]),
        use=use,
        days=days,
        series=[(p.slug, p.short_name) for p in shown],
        rows=[
            (
                month.first_day,
                [use.by_day.get(month.first_day, {}).get(p.slug, 0) for p in shown],
                totals[month.first_day],
            )
            for month in span.months
            if month <= current
        ],
        busiest=max(totals, key=totals.__getitem__) if use.amount else None,
        by=by,
        gpu_hours=hours.total(use.gpu_seconds),
        lines=breakdown(use, *BREAKDOWNS[by], hours=hours, all_open=False, compare=not is_current),
        change=None if is_current else change(use.amount, use.before),
    )


def span_of_use(scope: Scope, span: FiscalSpan) -> Use:
    """One query. `by_day` has the months' first days. `before`: in the whole span a year before."""
    cells: list[Cell] = []
    by_month: dict[date, dict[str, int]] = {}
    providers: dict[int, Provider] = {}
    with connection.cursor() as cursor:
        cursor.execute(
            _SPAN.format(where="" if scope.projects is None else "AND project_id = ANY(%(projects)s)"),
            _values(scope, span),
        )
        for *of_provider, month, code, name, gpu, amount, before, gpu_seconds in cursor.fetchall():
            provider = provider_of(of_provider, providers)
            if month is not None:
                if month >= span.months[0].first_day:
                    by_month.setdefault(month, {})[provider.slug] = int(amount)
            elif amount or before or gpu_seconds:
                gpu = _("Storage") if gpu is None else gpu
                cells.append(Cell(provider, code, name, gpu, int(amount), int(before), int(gpu_seconds)))
    return Use(cells, by_month)


def monthly_rows(scope: Scope, span: FiscalSpan, *, language: str) -> Iterator[tuple[Any, ...]]:
    """(month, provider, project, project code, offering, GPU, GPU-seconds, yen) for a file: the page's figures."""
    with connection.cursor() as cursor:
        cursor.execute(
            _ROWS.format(
                where="" if scope.projects is None else "AND sums.project_id = ANY(%(projects)s)", language=language
            ),
            _values(scope, span),
        )
        for month, *rest in cursor.fetchall():
            yield (f"{month:%Y-%m}", *rest)


def _values(scope: Scope, span: FiscalSpan) -> dict[str, Any]:
    return {
        "organization": scope.organization.pk,
        "projects": list(scope.projects or ()),
        "first": span.months[0].first_day,
        "last": span.months[-1].first_day,
        "first_before": span.year_before.months[0].first_day,
        "last_before": span.year_before.months[-1].first_day,
    }


_SPAN = f"""
    SELECT {provider_columns()}, month, project.code, project.name, offering.gpu_model, amount, before, gpu_seconds
    FROM (
        SELECT provider_id, month, project_id, offering_id,
            coalesce(sum(amount) FILTER (WHERE month >= %(first)s), 0) AS amount,
            coalesce(sum(amount) FILTER (WHERE month <= %(last_before)s), 0) AS before,
            coalesce(sum(gpu_seconds) FILTER (WHERE month >= %(first)s), 0) AS gpu_seconds
        FROM billing_monthlycharge
        WHERE organization_id = %(organization)s
            AND (month BETWEEN %(first)s AND %(last)s OR month BETWEEN %(first_before)s AND %(last_before)s) {{where}}
        GROUP BY GROUPING SETS ((provider_id, month), (provider_id, project_id, offering_id))
    ) AS sums
    JOIN catalog_provider provider ON provider.id = sums.provider_id
    LEFT JOIN accounts_project project ON project.id = sums.project_id
    LEFT JOIN catalog_offering offering ON offering.id = sums.offering_id
    ORDER BY provider.position, provider.slug, month, project.name, offering.slug
"""  # noqa: S608 - constants of this file
_ROWS = """
    SELECT sums.month, provider.name_{language}, project.name, project.code, offering.name_{language},
        offering.gpu_model, sums.gpu_seconds, sums.amount
    FROM billing_monthlycharge sums
    JOIN catalog_provider provider ON provider.id = sums.provider_id
    JOIN accounts_project project ON project.id = sums.project_id
    LEFT JOIN catalog_offering offering ON offering.id = sums.offering_id
    WHERE sums.organization_id = %(organization)s AND sums.month BETWEEN %(first)s AND %(last)s {where}
    ORDER BY sums.month, provider.position, provider.slug, project.name, offering.slug
"""
