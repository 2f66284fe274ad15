"""Sweeps: the list, one with its tasks as a table of results, stopping and trying again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db.models import Count, F, Q, QuerySet, Sum
from django.db.models.fields.json import KeyTransform
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.translation import get_language, ngettext
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_safe

from portal.accounts.access import access_of, require
from portal.accounts.context import current_of
from portal.accounts.roles import Permission
from portal.billing.holds import OverBudget
from portal.core.csv import csv_response
from portal.core.htmx import respond
from portal.core.limits import limited
from portal.jobs.models import Job, Stop, Sweep, SweepTask
from portal.jobs.places import Refused
from portal.jobs.states import FINAL
from portal.jobs.sweep_stops import ask_stop_of, unfinished
from portal.jobs.sweeps import again_of, try_again
from portal.jobs.views.filtering import GROUPS
from portal.jobs.views.finding import user_of
from portal.jobs.views.timeline import Shown, ran_s, state_shown, used_now

PAGE, SWEEPS = 100, 25
RESULTS_SHOWN = 6  # columns; the CSV has all
SHOWN = (
    "number", "parameters", "result", "job__code", "job__state", "job__failure", "job__started_at", "job__ended_at",
    "job__cost", "job__earlier_cost", "job__cost_cap", "job__gpus", "job__time_limit_s", "job__exit_code",
    "job__price__amount", "job__price__unit", "job__price__per_gpu", "job__price__tax_included",
    "job__price__tax_percent", "job__price__minimum_s", "job__offering__kind",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    task: SweepTask
    now: datetime
    names: Sequence[str]
    results: Sequence[str]

    @property
    def job(self) -> Job:
        return self.task.job

    @property
    def shown_state(self) -> Shown:
        return state_shown(self.job)

    @property
    def ran_s(self) -> int | None:
        return ran_s(self.job, now=self.now)

    @property
    def used(self) -> int:
        return used_now(self.job, now=self.now)

    @property
    def values(self) -> list[str]:
        return [str(self.task.parameters.get(name, "")) for name in self.names]

    @property
    def found(self) -> list[Any]:
        return [self.task.result.get(name) for name in self.results]


def find_sweep(request: HttpRequest, code: str) -> Sweep:
    sweeps = Sweep.objects.visible_to(user_of(request)).select_related("project__organization", "submitted_by")
    return get_object_or_404(sweeps, code=code)


@login_required
@require_safe
def sweep_list(request: HttpRequest) -> HttpResponse:
    """Of the projects in the header's choice, newest first, each with how far it is."""
    current, user = current_of(request), user_of(request)
    projects = [p for p in current.projects if access_of(user).may_in(p, Permission.VIEW)]
    if current.organization is not None and not projects:
        require(user, Permission.VIEW, current.project or current.organization)
    places = [p.pk for p in projects if current.project is None or p == current.project]
    before = _number(request.GET.get("before"))
    found = Sweep.objects.visible_to(user).filter(project__in=places).select_related("project", "submitted_by")
    sweeps = list((found.filter(pk__lt=before) if before else found).order_by("-pk")[: SWEEPS + 1])
    shown = sweeps[:SWEEPS]
    ended = {
        row["sweep"]: row
        for row in SweepTask.objects.filter(sweep__in=[s.pk for s in shown], newest=True)
        .values("sweep")
        .annotate(
            ended=Count("pk", filter=Q(job__state__in=FINAL)),
            well=Count("pk", filter=Q(job__state__in=GROUPS["succeeded"][1])),
        )
        .order_by("sweep")
    }
    context = {
        "sweeps": [(s, ended.get(s.pk, {"ended": 0, "well": 0})) for s in shown],
        "older_url": f"?before={shown[-1].pk}" if len(sweeps) > SWEEPS else "",
        "newer_url": "?" if before else "",
    }
    return render(request, "jobs/sweeps.html", context)


@login_required
@require_safe
def detail(request: HttpRequest, code: str) -> HttpResponse:
    sweep = find_sweep(request, code)
    counts = _counts(sweep)
    state = request.GET.get("state", "") if request.GET.get("state") in GROUPS else ""
    version = _version(sweep, counts, request)
    tasks = SweepTask.objects.filter(sweep=sweep, newest=True)
    if state:
        tasks = tasks.filter(job__state__in=GROUPS[state][1])
    results = _result_names(sweep)
    sort, falling = _sort(request, results)
    start = min(_number(request.GET.get("from")), sweep.task_count)
    rows = list(_ordered(tasks, sort, falling).select_related("job__price", "job__offering").only(*SHOWN)[
        start : start + PAGE + 1
    ])  # fmt: skip
    live, now = counts["active"] > 0, timezone.now()
    user = user_of(request)
    context: dict[str, Any] = {
        "sweep": sweep,
        "counts": [(slug, label, counts[slug]) for slug, (label, _states) in GROUPS.items() if counts[slug]],
        "cost": counts["cost"],
        "ended": sweep.task_count - counts["active"],
        "state": state,
        "results": [(name, _url(request, sort=name, falling="" if sort != name or falling else "1"),
                     sort == name and ("down" if falling else "up")) for name in results],
        "number_url": _url(request, sort="", falling=""),
        "rows": [Row(task, now, sweep.names, results) for task in rows[:PAGE]],
        "previous_url": _url(request, **{"from": max(0, start - PAGE)}) if start else "",
        "next_url": _url(request, **{"from": start + PAGE}) if len(rows) > PAGE else "",
        "first": start + 1,
        "live": live,
        "version": version,
        "here": request.get_full_path(),
        "may_stop": live and _may_stop(request, sweep),
        "may_submit": access_of(user).may_in(sweep.project, Permission.SUBMIT),
        "bad": counts["failed"] + counts["cancelled"] + counts["expired"],
    }  # fmt: skip
    return respond(request, "jobs/sweep.html", "jobs/_sweep.html", context, etag=version if live else None)


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def stop(request: HttpRequest, code: str) -> HttpResponse:
    sweep, user = find_sweep(request, code), user_of(request)
    require(user, Permission.SUBMIT if sweep.submitted_by_id == user.pk else Permission.STOP_ANY, sweep.project)
    if request.method == "POST":
        what = request.POST.get("what", "")
        if what in Stop.values:
            ask_stop_of(sweep, Stop(what), by=user)
            messages.success(request, _("The stop is under way; the page shows how far it is."))
            return redirect("jobs:sweep", sweep.code)
    context = {
        "sweep": sweep,
        "waiting": unfinished(sweep, Stop.WAITING).count(),
        "all": unfinished(sweep, Stop.ALL).count(),
        "unchosen": request.method == "POST",
    }
    return render(request, "jobs/sweep_stop.html", context, status=422 if context["unchosen"] else 200)


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
@limited("submit", method="POST")
def again(request: HttpRequest, code: str) -> HttpResponse:
    sweep, user, problem = find_sweep(request, code), user_of(request), ""
    require(user, Permission.SUBMIT, sweep.project)
    if request.method == "POST":
        try:
            count = try_again(sweep, seen_price=_number(request.POST.get("price")), by=user)
        except (OverBudget, Refused) as refused:
            problem = str(refused.message)
        else:
            if count:
                said = ngettext("%(n)s task starts again.", "%(n)s tasks start again.", count) % {"n": f"{count:,}"}
                messages.success(request, said)
            else:
                messages.info(request, _("There was no task left to start again."))
            return redirect("jobs:sweep", sweep.code)
    context = {"sweep": sweep, "again": again_of(sweep), "problem": problem}
    return render(request, "jobs/sweep_again.html", context, status=422 if problem else 200)


@login_required
@require_safe
@limited("download")
def csv(request: HttpRequest, code: str) -> HttpResponseBase:
    """A line for each task: parameters, state, cost and everything that its result.json says."""
    sweep = find_sweep(request, code)
    results = _result_names(sweep, most=100)
    head = [
        _("Task"),
        *sweep.names,
        _("Job"),
        _("State"),
        _("Exit code"),
        _("Run time (s)"),
    ]
    head += [_("Cost (yen, tax incl.)"), *results]
    return csv_response(f"{sweep.code}.csv", head, _csv_rows(sweep, results))


def _csv_rows(sweep: Sweep, results: Sequence[str]) -> Iterator[list[Any]]:
    now = timezone.now()
    tasks = SweepTask.objects.filter(sweep=sweep, newest=True).order_by("number")
    for task in tasks.select_related("job__price", "job__offering").only(*SHOWN).iterator(chunk_size=1_000):
        row = Row(task, now, sweep.names, results)
        yield [
            task.number, *row.values, row.job.code, str(row.shown_state.label), row.job.exit_code, row.ran_s, row.used,
            *row.found,
        ]  # fmt: skip


def _counts(sweep: Sweep) -> dict[str, int]:
    """Newest tasks by group of states, and the yen of all turns."""
    groups = {slug: Count("pk", filter=Q(newest=True, job__state__in=states)) for slug, (_l, states) in GROUPS.items()}
    found = SweepTask.objects.filter(sweep=sweep).aggregate(
        cost=Sum("job__cost"), versions=Sum("job__version"), **groups
    )
    return {name: value or 0 for name, value in found.items()}


def _version(sweep: Sweep, counts: dict[str, int], request: HttpRequest) -> str:
    # Cost goes with the clock while something runs.
    now = int(timezone.now().timestamp()) // 10 if counts["active"] else 0
    seen = f"{get_language()} {counts} {sweep.stop_wanted} {now}"
    return hashlib.sha256(seen.encode()).hexdigest()[:16]


def _result_names(sweep: Sweep, most: int = RESULTS_SHOWN) -> list[str]:
    """Names in results, as the first tasks that have some say them."""
    names: dict[str, None] = {}
    tasks = SweepTask.objects.filter(sweep=sweep, newest=True).exclude(result={}).order_by("number")
    for result in tasks.values_list("result", flat=True)[:50]:
        names |= dict.fromkeys(result)
    return list(names)[:most]


def _sort(request: HttpRequest, results: Sequence[str]) -> tuple[str, bool]:
    wanted = request.GET.get("sort", "")
    return (wanted, request.GET.get("falling") == "1") if wanted in results else ("", False)


def _ordered(tasks: QuerySet[SweepTask], sort: str, falling: bool) -> QuerySet[SweepTask]:
    """By a result, tasks without it last; else by number. A sweep has 10,000 tasks at most, so pages count rows."""
    if not sort:
        return tasks.order_by("number")
    tasks = tasks.annotate(sorted_by=KeyTransform(sort, "result"))
    by = F("sorted_by")
    return tasks.order_by(by.desc(nulls_last=True) if falling else by.asc(nulls_last=True), "number")


def _may_stop(request: HttpRequest, sweep: Sweep) -> bool:
    user = user_of(request)
    needed = Permission.SUBMIT if sweep.submitted_by_id == user.pk else Permission.STOP_ANY
    return access_of(user).may_in(sweep.project, needed)


def _number(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 19 else 0


def _url(request: HttpRequest, **changed: Any) -> str:
    query = request.GET.copy()
    for name, value in ({"from": ""} | changed).items():
        query.pop(name, None)
        if value or (value == 0 and name == "from"):
            query[name] = str(value)
    return f"?{query.urlencode()}"
