"""The list of jobs: filters in the URL, pages by id, live while something on the page still moves."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.auth.decorators import login_required
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import get_language, pgettext_lazy
from django.views.decorators.http import require_safe

from portal.accounts.access import access_of, require
from portal.accounts.context import Current, current_of
from portal.accounts.models import Project, User
from portal.accounts.roles import Permission
from portal.catalog.models import Provider
from portal.core.htmx import respond
from portal.core.templatetags.formats import duration, yen
from portal.jobs.models import Job
from portal.jobs.starters import STARTERS
from portal.jobs.states import ACTIVE, JobState
from portal.jobs.views.finding import user_of
from portal.jobs.views.timeline import Shown, ran_s, state_shown, tick, used_now

PAGE = 25
Scope = tuple[str, int]  # "organization" or "project", and its key
GROUPS = {
    "active": (pgettext_lazy("jobs", "Not ended"), tuple(sorted(ACTIVE))),
    "succeeded": (JobState.SUCCEEDED.label, (JobState.SUCCEEDED,)),
    "failed": (JobState.FAILED.label, (JobState.FAILED,)),
    "cancelled": (JobState.CANCELLED.label, (JobState.CANCELLED,)),
    "expired": (JobState.EXPIRED.label, (JobState.EXPIRED,)),
}


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
    projects = _projects_to_see(user, current)
    if not projects:
        require(user, Permission.VIEW, current.project or current.organization)
    wanted = _wanted(request, current, projects)
    page, newer, older = _page(user, _scopes(user, current, projects, wanted["project"]), wanted, request)
    now = timezone.now()
    rows = [Row(job, names_project=len(projects) > 1, now=now) for job in page]
    live = any(row.is_active for row in rows)
    filtered = any(wanted[name] for name in ("state", "provider", "person", "q")) or bool(newer)
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
        "filtered": filtered,
        "elsewhere": len(projects) > 1 and wanted["project"] != "all",
        "starters": [(starter, None) for starter in STARTERS],
        "version": _version(page, now),
    }
    return respond(request, "jobs/list.html", "jobs/_list.html", context, etag=context["version"] if live else None)


def _projects_to_see(user: User, current: Current) -> list[Project]:
    access = access_of(user)
    return [p for p in current.projects if access.may_in(p, Permission.VIEW)]


def _wanted(request: HttpRequest, current: Current, projects: Sequence[Project]) -> dict[str, Any]:
    """The filters that make sense; anything else in the URL is ignored."""
    asked = request.GET
    codes = {p.code for p in projects} | {"all"}
    usual = current.project.code if current.project and current.project in projects else "all"
    person = asked.get("person", "")
    return {
        "state": asked.get("state", "") if asked.get("state") in GROUPS else "",
        "provider": asked.get("provider", "").replace("\0", "")[:50],
        "project": asked.get("project") if asked.get("project") in codes else usual,
        "person": int(person) if person.isascii() and person.isdigit() and len(person) < 10 else "",
        "q": " ".join(asked.get("q", "").replace("\0", "").split())[:50],
    }


def _scopes(user: User, current: Current, projects: Sequence[Project], project: str) -> list[Scope]:
    """Where the person may look: an organization, a project, or each of their projects."""
    chosen = next((p for p in projects if p.code == project), None)
    if chosen is not None:
        return [("project", chosen.pk)]
    if current.organization and access_of(user).may_in(current.organization, Permission.VIEW):
        return [("organization", current.organization.pk)]
    return [("project", p.pk) for p in projects]


def _page(
    user: User, scopes: list[Scope], wanted: dict[str, Any], request: HttpRequest
) -> tuple[list[Job], bool, bool]:
    """The jobs of this page, newest first, and whether there are newer and older ones."""
    after, before = _id(request.GET.get("after")), _id(request.GET.get("before"))
    matching, sign = _matching(wanted), "-"
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


def _matching(wanted: dict[str, Any]) -> Q:
    matching = Q()
    if wanted["state"]:
        matching &= Q(state__in=GROUPS[wanted["state"]][1])
    if wanted["provider"]:
        matching &= Q(offering__provider__slug=wanted["provider"])
    if wanted["person"]:
        matching &= Q(submitted_by=wanted["person"])
    if wanted["q"]:
        matching &= Q(name__icontains=wanted["q"]) | Q(code__istartswith=wanted["q"])
    else:  # a thousand tasks of one sweep would hide everything else: they are on its own page
        matching &= Q(task=None)
    return matching


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
