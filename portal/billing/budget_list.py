"""Everything the page of budgets shows: where each stands and where it ends, requests to decide, and what was done."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import Q, Sum
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from portal.accounts.models import Organization, Project, User
from portal.audit.models import AuditEvent
from portal.billing.budgets import Standing, place_of, with_standings
from portal.billing.forecast import WEEK, WEEKS, Outlook, outlook
from portal.billing.models import Budget, BudgetAction, BudgetPeriod, DailyCharge, SpendRequest, SpendState
from portal.core.periods import day_of
from portal.core.templatetags.formats import percent as in_percent
from portal.core.templatetags.formats import yen

PAGE = 25
EVENTS_SHOWN = 30
REQUESTS_SHOWN = 20


@dataclass(frozen=True)
class Row:
    """A budget with its standing. Percent of the limit, spent and held; over 100 where more was approved."""

    budget: Budget
    standing: Standing
    outlook: Outlook
    first_day: date
    last_day: date
    percent: Decimal
    tone: str  # of the bar: "" warn err
    is_stopped: bool
    may_change: bool
    steps: list[tuple[int, BudgetAction, bool]]  # percent of the limit, what happens there, whether it was reached

    @property
    def place(self) -> str:
        return self.budget.project.name if self.budget.project else _("Whole organization")


@dataclass(frozen=True)
class Event:
    at: datetime
    person: str  # "" for the portal itself
    place: str
    sentence: str


@dataclass(frozen=True)
class Listing:
    rows: list[Row]
    after: int  # the page's last budget: the next page begins behind it; 0 when there is none
    requests: list[SpendRequest]
    events: list[Event]


def listing(
    organization: Organization, *, projects: Collection[Project] | None, manages: Collection[int | None], after: int = 0
) -> Listing:
    """`projects`: those the reader may see, None is all and the organization's own budgets too. `manages`: ids of the
    projects whose money they manage, None among them stands for the whole organization. Six queries."""
    now = timezone.now()
    rows, more = _rows(organization, projects, manages, after, now)
    return Listing(
        rows=rows,
        after=rows[-1].budget.pk if more else 0,
        requests=_requests(organization, manages, now),
        events=_events(organization, projects),
    )


def _rows(
    organization: Organization,
    projects: Collection[Project] | None,
    manages: Collection[int | None],
    after: int,
    now: datetime,
) -> tuple[list[Row], bool]:
    budgets = Budget.objects.not_over(now).filter(organization=organization, pk__gt=after).order_by("pk")
    if projects is not None:
        budgets = budgets.filter(project__in=projects)
    stand = with_standings(budgets.select_related("project")[: PAGE + 1], at=now)
    spent = _spent_lately(organization, {budget.project_id for budget, _standing in stand}, now)
    rows = [
        _row(budget, standing, spent[budget.project_id], None in manages or budget.project_id in manages, now)
        for budget, standing in stand[:PAGE]
    ]
    return rows, len(stand) > PAGE


def _spent_lately(
    organization: Organization, projects: Collection[int | None], now: datetime
) -> dict[int | None, dict[date, int]]:
    """Yen by day of the last four full weeks, by project; None: of all together."""
    today = day_of(now)
    charges = DailyCharge.objects.filter(
        organization=organization, day__range=(today - timedelta(days=WEEK * WEEKS), today - timedelta(days=1))
    )
    if None not in projects:
        charges = charges.filter(project__in=projects)
    spent: dict[int | None, dict[date, int]] = defaultdict(lambda: defaultdict(int))
    for project, day, amount in charges.values_list("project", "day").annotate(sum=Sum("amount")).order_by():
        spent[project][day] += amount
        spent[None][day] += amount
    return spent


def _row(budget: Budget, standing: Standing, by_day: dict[date, int], may_change: bool, now: datetime) -> Row:
    first, last = budget.days(now)
    percent = Decimal(standing.used) * 100 / budget.limit if budget.limit else Decimal(100)
    end = outlook(by_day, today=day_of(now), first_day=first, last_day=last, posted=standing.posted, limit=budget.limit)
    is_stopped = standing.is_stopped(budget)
    return Row(
        budget=budget,
        standing=standing,
        outlook=end,
        first_day=first,
        last_day=last,
        percent=percent,
        tone="err" if is_stopped or percent >= 100 else "warn" if percent >= 80 or end.runs_out_on else "",
        is_stopped=is_stopped,
        may_change=may_change,
        steps=[(at, action, percent >= at) for at, action in budget.actions.items()],
    )


def _requests(organization: Organization, manages: Collection[int | None], now: datetime) -> list[SpendRequest]:
    """Those that the reader may decide, the oldest first."""
    asked = SpendRequest.objects.filter(organization=organization, state=SpendState.ASKED, expires_at__gt=now)
    if None not in manages:
        asked = asked.filter(project__in=[pk for pk in manages if pk is not None])
    return list(asked.select_related("project", "asked_by").order_by("pk")[:REQUESTS_SHOWN])


def _events(organization: Organization, projects: Collection[Project] | None) -> list[Event]:
    """Newest first, of the places that the reader may see."""
    places = {place_of(organization, None): _("Whole organization")} if projects is None else {}
    known = Project.objects.filter(organization=organization) if projects is None else projects
    places |= {place_of(organization, project): project.name for project in known}
    acts = Q(act__startswith="budget.") | Q(act__startswith="spend.")
    events = AuditEvent.objects.filter(acts, chain=organization.code, subject__in=list(places))
    found = list(events.order_by("-at", "-sequence")[:EVENTS_SHOWN])
    ids = {event.pk: int(who) for event in found if (who := event.actor.removeprefix("user:")).isdigit()}
    people = User.objects.in_bulk(set(ids.values()))
    return [
        Event(
            at=event.at,
            person=str(people.get(ids.get(event.pk, 0), "")),
            place=places[event.subject],
            sentence=_sentence(event.act, event.detail),
        )
        for event in found
    ]


def _sentence(act: str, detail: dict[str, Any]) -> str:
    if act == "budget.set":
        return _set(detail)
    period = str(BudgetPeriod(detail["period"]).label) if "period" in detail else ""
    words = {
        "budget.reached": _("%(period)s: %(percent)s of the budget reached (%(used)s of %(limit)s) – %(action)s"),
        "spend.asked": _("Approval of %(amount)s asked for “%(job)s”: %(reason)s"),
        "spend.approved": _("%(amount)s approved for “%(job)s”"),
        "spend.declined": _("%(amount)s declined for “%(job)s”: %(answer)s"),
        "spend.expired": _("Request of %(amount)s for “%(job)s” expired"),
    }[act]
    told = {name: yen(value) if name in ("amount", "used", "limit") else value for name, value in detail.items()}
    if act == "budget.reached":
        action = BudgetAction(detail["action"]).label
        told |= {"percent": in_percent(detail["percent"]), "period": detail["name"] or period, "action": action}
    return words % told


def _set(detail: dict[str, Any]) -> str:
    """Of before there were periods the event has two amounts only."""
    before, after = detail["before"], detail["after"]
    label: str | Promise = BudgetPeriod(detail.get("period", BudgetPeriod.MONTH)).label
    words = {
        (False, True): gettext_lazy("%(period)s: budget set to %(after)s"),
        (True, True): gettext_lazy("%(period)s: budget changed, %(before)s → %(after)s"),
        (True, False): gettext_lazy("%(period)s: budget of %(before)s taken away"),
    }[before is not None, after is not None]
    amounts = [value["limit"] if isinstance(value, dict) else value for value in (before, after)]
    return str(words) % {
        "before": yen(amounts[0]), "after": yen(amounts[1]), "period": detail.get("name") or label,
    }  # fmt: skip
