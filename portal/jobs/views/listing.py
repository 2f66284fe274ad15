"""The list of jobs: filters in the URL, pages by id, live while something on the page still moves."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.auth.decorators import login_required
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import get_language
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from portal.accounts.context import Current, current_of
from portal.accounts.models import User
from portal.catalog.models import Provider
from portal.core.csv import csv_response
from portal.core.htmx import respond
from portal.core.templatetags.formats import duration, yen
from portal.jobs import saved_views
from portal.jobs.models import Job, Sweep
from portal.jobs.starters import STARTERS
from portal.jobs.views.filtering import (
    EVERY_PROJECT,
    GROUPS,
    Scope,
    Wanted,
    projects_to_see,
    scopes_of,
    wanted_of,
    within,
)
from portal.jobs.views.finding import user_of
from portal.jobs.views.timeline import Shown, ran_s, state_shown, tick, used_now

PAGE = 25


@dataclass(frozen=True)
class Row:
    job: Job
    names_project: bool  # where several are in the list
    now: datetime

    @property
    def is_active(self) -> bool:
        return not self.job.is_final

    @property
    def shown_state(self) -> Shown:
        return state_shown(self.job)

    @property
    def html(self) -> SafeString:
        """Run time and cost go with the clock; they are told as the job's own page tells them."""
        ran, used = ran_s(self.job, now=self.now), used_now(self.job, now=self.now)
        return format_html(
            '{}<td class="num">{}</td><td class="num">{}</td></tr>', self._standing, duration(ran), yen(used)
        )

    @property
    def _standing(self) -> SafeString:
        """Rendered once per process for all that can be seen in it: what has changed is never shown as it was."""
        job = self.job
        person, offering = job.submitted_by, job.offering
        key = (
            get_language(), self.names_project, job.code, job.name, job.project.name, job.state, job.failure,
            job.waiting_reason, job.stop_requested_at, job.submitted_at, job.gpus,
            person.email, person.family_name, person.given_name, offering.provider_id, offering.name,
            offering.provider.slug, offering.provider.short_name,
            timezone.localdate().year,  # other years are written out
        )  # fmt: skip
        html = _rendered.get(key)
        if html is None:
            context = {"row": self, "job": job, "names_project": self.names_project}
            html = render_to_string("jobs/_row.html", context)
            if len(_rendered) >= ROWS_KEPT:
                _rendered.clear()
            _rendered[key] = html
        return html


ROWS_KEPT = 500  # about two megabytes
_rendered: dict[tuple[Any, ...], SafeString] = {}


# What a row shows, and nothing more: a job has fifty columns, some of them large.
SHOWN = (
    "code", "name", "state", "failure", "waiting_reason", "stop_requested_at", "submitted_at", "started_at",
    "ended_at", "gpus", "cost", "version", "time_limit_s", "cost_cap",
    "price__amount", "price__unit", "price__per_gpu", "price__tax_included", "price__tax_percent", "price__minimum_s",
    "project__name", "project__code",
    "submitted_by__family_name", "submitted_by__given_name", "submitted_by__email",
    "offering__name_ja", "offering__name_en",
    "offering__provider__slug", "offering__provider__short_ja", "offering__provider__short_en",
)  # fmt: skip


@login_required
@require_safe
def job_list(request: HttpRequest) -> HttpResponse:
    user, current = user_of(request), current_of(request)
    if current.organization is None:
        return respond(request, "jobs/list.html", "jobs/_list.html", {"nowhere": True})
    projects = projects_to_see(request, user, current)
    wanted = wanted_of(request.GET, current, projects)
    page, newer, older = _page(user, scopes_of(user, current, projects, wanted.project), wanted, request)
    now = timezone.now()
    rows = [Row(job, names_project=len(projects) > 1, now=now) for job in page]
    live = any(row.is_active for row in rows)
    filtered = wanted.is_narrow or bool(newer)
    context: dict[str, Any] = {
        "rows": rows,
        "live": live,
        "wanted": wanted,
        "groups": [(slug, label) for slug, (label, _states) in GROUPS.items()],
        "projects": projects,
        "providers": list(Provider.objects.order_by("position", "pk")),
        "people": _people(current),
        "newer_url": _url(request, after=page[0].pk) if newer else "",
        "older_url": _url(request, before=page[-1].pk) if older else "",
        "here": request.get_full_path(),
        "views": saved_views.views_of(user, current.organization),
        "shown_as": wanted.query,
        "kept": wanted.values,
        "csv_url": f"{reverse('jobs:csv')}?{wanted.query}",
        "filtered": filtered,
        "has_sweeps": not rows
        and not filtered
        and Sweep.objects.visible_to(user).filter(project__in=projects).exists(),
        "elsewhere": len(projects) > 1 and wanted.project != EVERY_PROJECT,
        "starters": [(starter, None) for starter in STARTERS],
        "version": _version(page, now),
    }
    return respond(request, "jobs/list.html", "jobs/_list.html", context, etag=context["version"] if live else None)


@login_required
@require_safe
def as_csv(request: HttpRequest) -> HttpResponseBase:
    """All that the filters leave, the newest first, sent while it is read: one statement, however many there are."""
    user, current = user_of(request), current_of(request)
    projects = projects_to_see(request, user, current)
    wanted = wanted_of(request.GET, current, projects)
    jobs = (
        Job.objects.visible_to(user)
        .filter(within(scopes_of(user, current, projects, wanted.project)), wanted.matching)
        .select_related("project", "submitted_by", "offering__provider", "price")
        .only(*SHOWN, "gpu_seconds", "exit_code", "earlier_cost")
        .order_by("-pk")
    )
    header = [
        _("Code"), _("Job"), _("Project"), _("State"), _("Reason"), _("Provider"), _("Plan"), _("GPUs"), _("Person"),
        _("Created"), _("Started"), _("Ended"), _("Run time (s)"), _("GPU time (s)"), _("Cost (yen, tax incl.)"),
    ]  # fmt: skip
    return csv_response("jobs.csv", header, _cells(jobs, timezone.now()))


def _cells(jobs: QuerySet[Job], now: datetime) -> Iterator[Sequence[Any]]:
    for job in jobs.iterator(chunk_size=2000):
        reason = job.get_failure_display() or ("" if job.is_final else job.get_waiting_reason_display())
        ran = ran_s(job, now=now)
        yield [
            job.code, job.name, job.project.name, str(state_shown(job).label), reason,
            job.offering.provider.short_name, job.offering.name, job.gpus, str(job.submitted_by),
            _instant(job.submitted_at), _instant(job.started_at), _instant(job.ended_at), ran,
            max(job.gpu_seconds, 0 if job.is_final else (ran or 0) * job.gpus), used_now(job, now=now),
        ]  # fmt: skip


def _instant(at: datetime | None) -> str:
    """In Japan, with its zone."""
    return timezone.localtime(at).isoformat(timespec="seconds") if at else ""


def _page(user: User, scopes: list[Scope], wanted: Wanted, request: HttpRequest) -> tuple[list[Job], bool, bool]:
    """The jobs of this page, newest first, and whether there are newer and older ones."""
    after, before = _id(request.GET.get("after")), _id(request.GET.get("before"))
    matching, sign = wanted.matching, "-"
    if after is not None:
        matching, sign = matching & Q(pk__gt=after), ""
    elif before is not None:
        matching &= Q(pk__lt=before)
    parts = [_newest(scope, matching, sign) for scope in scopes]
    ids: Any = parts[0]
    if len(parts) > 1:
        ids = [row["pk"] for row in ids.union(*parts[1:], all=True).order_by(f"{sign}pk")[: PAGE + 1]]
    # The page is found by one index alone; only its rows are joined.
    jobs = (
        Job.objects.visible_to(user)
        .filter(pk__in=ids)
        .select_related("project", "submitted_by", "offering__provider", "price")
    )
    found = list(jobs.only(*SHOWN).order_by(f"{sign}pk"))
    more, shown = len(found) > PAGE, sorted(found[:PAGE], key=lambda job: -job.pk)
    if not shown:
        return [], False, False
    return (shown, more, True) if after is not None else (shown, before is not None, more)


def _newest(scope: Scope, matching: Q, sign: str) -> Any:
    """Keys of one page. A range and an order by both columns ask for the index (place, -id) and no other: with a plain
    equality PostgreSQL may walk the primary key instead, past every row of all the others."""
    place, pk = scope
    rows = Job.objects.filter(matching, **{f"{place}__gte": pk, f"{place}__lte": pk})
    return rows.order_by(f"{place}_id" if sign else f"-{place}_id", f"{sign}pk").values("pk")[: PAGE + 1]


def _people(current: Current) -> list[User]:
    members = User.objects.filter(memberships__organization=current.organization).order_by("family_name", "pk")
    return list({person.pk: person for person in members[:200]}.values())


def _version(page: Sequence[Job], now: datetime) -> str:
    seen = ",".join(f"{job.pk}:{job.version}:{tick(job, now=now) if job.started_at else 0}" for job in page)
    return hashlib.sha256(f"{get_language()} {seen}".encode()).hexdigest()[:16]


def _id(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 19 else None


def _url(request: HttpRequest, **place: int) -> str:
    query = request.GET.copy()
    for name in ("after", "before"):
        query.pop(name, None)
    for name, pk in place.items():
        query[name] = str(pk)
    return f"?{query.urlencode()}"
