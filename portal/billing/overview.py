"""Everything the usage page shows, as numbers: four queries, whatever the size of the organization."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal
from itertools import accumulate

from django.db import connection
from django.utils import timezone

from portal.accounts.models import Organization, Project
from portal.billing.budgets import Standing, with_standings
from portal.billing.forecast import days_to_come
from portal.billing.models import Budget, BudgetPeriod, CreditKind
from portal.billing.summaries import Cell, JobCost, MonthOfUse, Use, dearest_jobs, month_of_use
from portal.catalog.models import Provider
from portal.core.periods import BillingMonth, billing_month, day_of
from portal.core.templatetags.charts import ChartDay
from portal.core.units import HoursThatAddUp

MONTHS_OFFERED = 24
CHILDREN_SHOWN = 15
BUDGETS_SHOWN = 8
OPEN_AT_MOST = 12  # more rows than this begin folded

BREAKDOWNS: dict[str, tuple[str, str]] = {
    "provider": ("provider", "project"),
    "project": ("project", "provider"),
    "gpu": ("gpu", "provider"),
}


@dataclass(frozen=True)
class Scope:
    """Whose money: an organization, or those of its projects that the reader may see, or one project they chose."""

    organization: Organization
    projects: Collection[int] | None  # None: all
    chosen: Project | None = None
    budgeted: Project | None = None  # whose budget stands at the top; None with all projects: the organization's

    @property
    def whole_organization(self) -> bool:
        return self.projects is None


@dataclass(frozen=True)
class Line:
    """A row of the breakdown. `share` in percent of all; `change` in percent against the same days a month before."""

    key: str
    name: str
    provider: Provider | None
    project_code: str
    gpu_seconds: int
    gpu_hours: Decimal  # as shown: the lines of a table add up to what stands above them
    amount: int
    share: Decimal
    change: Decimal | None
    lines: tuple[Line, ...] = ()
    open: bool = True
    more: int = 0  # lines left out


@dataclass(frozen=True)
class BudgetLine:
    project: Project | None
    limit: int
    standing: Standing | None  # None in a month that is over: a limit binds the running month
    percent: Decimal | None
    tone: str


@dataclass(frozen=True)
class CreditLine:
    kind: CreditKind
    left: int
    amount: int
    expires_at: datetime | None
    soon: bool


@dataclass(frozen=True)
class Purse:
    available: int = 0
    held: int = 0
    credits: list[CreditLine] = field(default_factory=list)


@dataclass(frozen=True)
class Overview:
    scope: Scope
    now: datetime
    month: BillingMonth
    is_current: bool
    today: date
    begun: BillingMonth  # the first month there is a page of
    use: MonthOfUse
    days: list[ChartDay]
    series: list[tuple[str, str]]
    rows: list[tuple[date, bool, list[int], int]]  # the chart as a table
    busiest: date | None
    expected: int | None  # at the month's end
    actual_sums: list[int]
    expected_sums: list[int]
    by: str
    gpu_hours: Decimal  # as shown, the sum of those of the lines
    lines: list[Line]
    change: Decimal | None
    jobs: list[JobCost]
    purse: Purse | None  # None: the reader sees projects only
    budget: BudgetLine | None  # the one that binds what is shown
    budgets: list[BudgetLine]
    more_budgets: int

    is_span = False

    @property
    def previous(self) -> BillingMonth | None:
        return self.month.previous if self.month > self.begun else None

    @property
    def next(self) -> BillingMonth | None:
        return None if self.is_current else self.month.next

    @property
    def until(self) -> date:
        return self.today if self.is_current else self.month.last_day

    @property
    def newest(self) -> datetime | None:
        return max(self.use.metered_until.values(), default=None)

    @property
    def freshness(self) -> list[tuple[Provider, datetime]]:
        return freshness_of(self.use, self.month, now=self.now)

    @property
    def over_by(self) -> int:
        """Yen by which the month is expected to end above the budget."""
        if self.expected is None or self.budget is None:
            return 0
        return max(0, self.expected - self.budget.limit)

    @property
    def drawn(self) -> tuple[object, ...]:
        """All that the chart of the days and its table show: the same values need not be drawn again."""
        days = tuple((d.on, d.forecast, *d.amounts.items()) for d in self.days)
        rows = tuple((on, forecast, *amounts, total) for on, forecast, amounts, total in self.rows)
        shown = (str(self.month), self.today, self.until, self.busiest, self.use.amount, self.expected)
        return (*shown, tuple(self.series), days, rows)

    @property
    def broken_down(self) -> tuple[object, ...]:
        """All that the table of the breakdown shows."""
        chosen = self.scope.chosen.code if self.scope.chosen else ""
        data_up_to = tuple((provider.short_name, at) for provider, at in self.freshness)
        shown = (
            str(self.month),
            self.today,
            self.is_current,
            chosen,
            self.by,
            self.use.amount,
            self.gpu_hours,
            self.change,
        )
        return (*shown, data_up_to, *self.lines)

    @property
    def jobs_shown(self) -> tuple[object, ...]:
        return tuple((job, job.provider.short_name) for job in self.jobs)

    @property
    def added_up(self) -> tuple[object, ...]:
        """All that the chart of the sums shows."""
        limit = self.budget.limit if self.budget and self.is_current else None
        return (str(self.month), self.is_current, len(self.days), limit, *self.actual_sums, "then", *self.expected_sums)

    @property
    def is_empty(self) -> bool:
        return not (self.use.amount or self.use.gpu_seconds)


def overview(
    scope: Scope,
    *,
    month: BillingMonth | None,
    by: str,
    may_see_credit: bool,
    all_open: bool,
    described: Collection[int] | None = None,
) -> Overview:
    """`described`: projects whose jobs the reader may see, not only their cost; None is all."""
    now = timezone.now()
    today, current = day_of(now), billing_month(now)
    month = min(month or current, current)
    is_current = month == current
    until = today if is_current else month.last_day
    use = month_of_use(scope.organization, month, until=until, projects=scope.projects)
    ahead = days_to_come(use.by_day, today=today, last_day=month.last_day) if is_current else {}
    by_day = {**use.by_day, **ahead}
    days = _chart_days(use, ahead, until)
    shown = [p for p in use.providers if any(day.amounts.get(p.slug) for day in days)]
    totals = {day.on: sum(by_day.get(day.on, {}).values()) if day.amounts else 0 for day in days}
    sums = list(accumulate(totals[day.on] for day in days if not day.forecast and day.on <= until))
    expected_sums = list(accumulate((totals[day.on] for day in days if day.forecast), initial=use.amount))[1:]
    hours = HoursThatAddUp.for_parts([cell.gpu_seconds for cell in use.cells])
    gpu_hours = hours.total(use.gpu_seconds)
    budgets = _budgets(scope, is_current=is_current, now=now)
    budgets.sort(key=lambda line: (line.project is not None, -(line.percent or 0)))
    return Overview(
        scope=scope,
        now=now,
        month=month,
        is_current=is_current,
        today=today,
        begun=min(billing_month(scope.organization.created_at), month),
        use=use,
        days=days,
        series=[(p.slug, p.short_name) for p in shown],
        rows=[
            (day.on, day.forecast, [by_day.get(day.on, {}).get(p.slug, 0) for p in shown], totals[day.on])
            for day in days
            if day.forecast or day.on <= until
        ],
        busiest=max((d.on for d in days if not d.forecast), key=totals.__getitem__) if use.amount else None,
        expected=expected_sums[-1] if expected_sums else None,
        actual_sums=sums,
        expected_sums=expected_sums,
        by=by,
        gpu_hours=gpu_hours,
        lines=breakdown(use, *BREAKDOWNS[by], hours=hours, all_open=all_open),
        change=change(use.amount, use.before),
        jobs=dearest_jobs(scope.organization, month, projects=scope.projects, described=described),
        purse=_purse(scope.organization, now) if may_see_credit else None,
        budget=_binding(scope, budgets),
        budgets=budgets[:BUDGETS_SHOWN],
        more_budgets=max(0, len(budgets) - BUDGETS_SHOWN),
    )


def months_offered(organization: Organization, now: datetime, shown: BillingMonth | None) -> list[BillingMonth]:
    """Newest first, back to the month the organization began in, the shown one among them."""
    months = [billing_month(now)]
    begun = billing_month(organization.created_at)
    while months[-1] > begun and len(months) < MONTHS_OFFERED:
        months.append(months[-1].previous)
    return months if shown is None or shown in months else [*months, shown]


def _chart_days(use: MonthOfUse, ahead: dict[date, dict[str, int]], until: date) -> list[ChartDay]:
    """Every day of the month: what was charged, then what is expected, then empty."""
    days = (date.fromordinal(n) for n in range(use.month.first_day.toordinal(), use.month.last_day.toordinal() + 1))
    return [
        ChartDay(on, use.by_day.get(on, {})) if on <= until else ChartDay(on, ahead.get(on, {}), forecast=on in ahead)
        for on in days
    ]


def breakdown(
    use: Use, outer: str, inner: str, *, hours: HoursThatAddUp, all_open: bool, compare: bool = True
) -> list[Line]:
    """`compare`: whether lines tell their change against `before` of the cells."""
    cells = [cell for cell in use.cells if cell.amount or cell.gpu_seconds]
    before = [cell for cell in use.cells if cell.before and not (cell.amount or cell.gpu_seconds)]
    groups = _grouped(cells, _KEYS[outer])
    lines = []
    for (key, members), shown in zip(
        groups.items(), _hours(hours, hours.total(use.gpu_seconds), groups.values()), strict=True
    ):
        # What was used a month ago and no more still counts in the comparison of its group.
        gone = [cell for cell in before if _KEYS[outer](cell) == key]
        parts = _grouped(members, _KEYS[inner])
        children = [
            _line(f"{key}-{k}", inner, m, m, use.amount, part)
            for (k, m), part in zip(parts.items(), _hours(hours, shown, parts.values()), strict=True)
        ]
        children.sort(key=_dearest)
        line = _line(key, outer, members, members + gone, use.amount, shown)
        more = max(0, len(children) - CHILDREN_SHOWN)
        lines.append(replace(line, lines=tuple(children[:CHILDREN_SHOWN]), more=more))
    lines.sort(key=_dearest)
    if not compare:
        lines = [replace(n, change=None, lines=tuple(replace(m, change=None) for m in n.lines)) for n in lines]
    all_open = all_open or sum(len(line.lines) for line in lines) <= OPEN_AT_MOST
    return [replace(line, open=all_open or n == 0) for n, line in enumerate(lines)]


def _hours(hours: HoursThatAddUp, total: Decimal, parts: Iterable[list[Cell]]) -> list[Decimal]:
    return hours.split(total, [sum(cell.gpu_seconds for cell in cells) for cells in parts])


_KEYS: dict[str, Callable[[Cell], str]] = {
    "provider": lambda cell: cell.provider.slug,
    "project": lambda cell: cell.project_code,
    "gpu": lambda cell: cell.gpu_model,
}


def _grouped(cells: list[Cell], key: Callable[[Cell], str]) -> dict[str, list[Cell]]:
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(key(cell), []).append(cell)
    return groups


def _line(key: str, kind: str, cells: list[Cell], compared: list[Cell], whole: int, gpu_hours: Decimal) -> Line:
    amount = sum(cell.amount for cell in cells)
    first = cells[0]
    return Line(
        key=key,
        name=first.project_name if kind == "project" else first.gpu_model if kind == "gpu" else first.provider.name,
        provider=first.provider if kind == "provider" else None,
        project_code=first.project_code if kind == "project" else "",
        gpu_seconds=sum(cell.gpu_seconds for cell in cells),
        gpu_hours=gpu_hours,
        amount=amount,
        share=Decimal(amount) * 100 / whole if whole else Decimal(0),
        change=change(amount, sum(cell.before for cell in compared)),
    )


def _dearest(line: Line) -> tuple[int, str]:
    return -line.amount, line.name


def change(amount: int, before: int) -> Decimal | None:
    return (Decimal(amount - before) * 100 / before).quantize(Decimal("0.1")) if before else None


def _budgets(scope: Scope, *, is_current: bool, now: datetime) -> list[BudgetLine]:
    """Those of each month, one query. In a month that is over nothing stands any more."""
    budgets = Budget.objects.filter(organization=scope.organization, period=BudgetPeriod.MONTH)
    if scope.projects is not None:
        budgets = budgets.filter(project__in=scope.projects)
    budgets = budgets.select_related("project")
    if not is_current:
        return [_budget_line(budget.project, budget.limit, None) for budget in budgets]
    return [
        _budget_line(budget.project, budget.limit, standing) for budget, standing in with_standings(budgets, at=now)
    ]


def _budget_line(project: Project | None, limit: int, standing: Standing | None) -> BudgetLine:
    percent = None
    if standing and limit:
        percent = Decimal(standing.posted + standing.held) * 100 / limit
    elif standing:
        percent = Decimal(100)
    tone = "err" if percent and percent >= 100 else "warn" if percent and percent >= 80 else ""
    return BudgetLine(project, limit, standing, percent, tone)


def _binding(scope: Scope, budgets: list[BudgetLine]) -> BudgetLine | None:
    if scope.budgeted or scope.whole_organization:
        return next((line for line in budgets if line.project == scope.budgeted), None)
    return None


def _purse(organization: Organization, now: datetime) -> Purse:
    """One query for the account and its credits."""
    with connection.cursor() as cursor:
        cursor.execute(_PURSE, [organization.pk])
        rows = cursor.fetchall()
    if not rows:
        return Purse()
    credits = []
    for *_account, kind, amount, used, expired, expires_at in rows:
        if amount and (left := amount - used - expired):
            soon = expires_at is not None and (expires_at - now).days < 14
            credits.append(CreditLine(CreditKind(kind), left, amount, expires_at, soon))
    credit, held = rows[0][:2]
    return Purse(credit - held, held, credits)


_PURSE = """
    SELECT account.credit, account.held, credit.kind, credit.amount, credit.used, credit.expired, credit.expires_at
    FROM billing_billingaccount account LEFT JOIN billing_credit credit USING (organization_id)
    WHERE organization_id = %s ORDER BY credit.expires_at NULLS LAST, credit.id
"""


def freshness_of(use: MonthOfUse, month: BillingMonth, *, now: datetime) -> list[tuple[Provider, datetime]]:
    """Up to when the use at each provider is complete: to the minute, and not beyond the month."""
    latest = min(now, month.interval.end).replace(second=0, microsecond=0)
    metered = [p for p in use.providers if p.slug in use.metered_until]
    return [(p, min(latest, use.complete_until.get(p.slug, latest))) for p in metered]
