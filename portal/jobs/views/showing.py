"""One job: its head, timeline and cost on every tab, and the tabs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import PurePosixPath
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.functional import Promise, SimpleLazyObject
from django.utils.translation import get_language
from django.views.decorators.http import require_safe

from portal.accounts.access import access_of
from portal.accounts.models import User
from portal.accounts.roles import Permission
from portal.billing import holds
from portal.catalog.models import Offering
from portal.core.htmx import not_modified, respond, wants_fragment
from portal.core.limits import limited
from portal.core.periods import JST
from portal.datasets import storage
from portal.datasets.places import storage_place
from portal.jobs import line, logs, waits
from portal.jobs.cures import cures_of
from portal.jobs.diagnosis import Diagnosis, stored_of
from portal.jobs.explaining import explanation_of
from portal.jobs.models import Attempt, Job, JobEvent
from portal.jobs.moving import faster_of
from portal.jobs.past_runs import Expected, expected
from portal.jobs.placement.spelling import read_decision, read_input
from portal.jobs.reasons import STRATEGY_NAMES, Row, rows_of
from portal.jobs.starters import starter
from portal.jobs.states import FailureClass, JobState, WaitingReason
from portal.jobs.views.finding import find_job, may_stop, record_download, user_of
from portal.jobs.views.logs import log_context
from portal.jobs.views.timeline import (
    Cost,
    cost_now,
    provider_answers,
    ran_s,
    silent_since,
    state_shown,
    tick,
    timeline,
    unknown_since,
)
from portal.jobs.wording import FAILURES, LOST, Explanation, event_sentence
from portal.providers.registry import gives_time

LINK_S = 60
NOT_KEPT = ("results_lost", "results_damaged", "log_damaged")  # reasons of events
INPUTS_SHOWN = 100  # jobs of before there were versions read no more


@login_required
@require_safe
def detail(request: HttpRequest, code: str) -> HttpResponse:
    """The page opens with the log; a poll gets the head, the timeline and the cards that still move."""
    job = find_job(request, code)
    if not job.is_final:
        logs.watch(job)
    now = timezone.now()
    version = _version(request, job, now)
    if unchanged := not_modified(request, version):
        return unchanged
    context = {"tab": "logs", "version": version, **_common(request, job, now)}
    if wants_fragment(request):
        context["swapping"] = True
    else:
        context.update(log_context(request, job))
    return respond(request, "jobs/detail.html", "jobs/_live.html", context, etag=version)


@login_required
@require_safe
def events(request: HttpRequest, code: str) -> HttpResponse:
    """Follows the job by itself until its end, as its other tabs do."""
    job, now = find_job(request, code), timezone.now()
    tab_version = _tab_version(job)
    if unchanged := not_modified(request, tab_version):
        return unchanged
    common = _common(request, job, now)
    people = User.objects.in_bulk({_user_id(e.by) for e in common["events"]} - {None})
    rows = [(event, event_sentence(event), people.get(_user_id(event.by))) for event in reversed(common["events"])]
    versions = {"version": _version(request, job, now), "tab_version": tab_version}
    context = {"tab": "events", **versions, **common, "rows": rows}
    return respond(request, "jobs/events.html", "jobs/_events.html", context, etag=tab_version)


@login_required
@require_safe
def config(request: HttpRequest, code: str) -> HttpResponse:
    job, now = find_job(request, code), timezone.now()
    context = {
        "tab": "config",
        "version": _version(request, job, now),
        **_common(request, job, now),
        "attempts": list(job.attempts.select_related("offering").order_by("number")),
        "others": Offering.objects.filter(slug__in=[one["slug"] for one in job.alternatives]).order_by("pk")
        if job.alternatives
        else (),
        "starter": starter(job.template),
    }
    return render(request, "jobs/config.html", context)


@login_required
@require_safe
def artifacts(request: HttpRequest, code: str) -> HttpResponse:
    job, now = find_job(request, code), timezone.now()
    tab_version = _tab_version(job)
    if unchanged := not_modified(request, tab_version):
        return unchanged
    versions = {"version": _version(request, job, now), "tab_version": tab_version}
    may_keep = access_of(user_of(request)).may_in(job.project, Permission.UPLOAD)
    context = {"tab": "artifacts", **versions, **_common(request, job, now), "may_keep": may_keep}
    return respond(request, "jobs/artifacts.html", "jobs/_artifacts.html", context, etag=tab_version)


@login_required
@require_safe
@limited("download")
def artifact(request: HttpRequest, code: str, pk: int) -> HttpResponse:
    """Straight from storage, by a link that works for a minute."""
    job = find_job(request, code)
    found = job.artifacts.filter(pk=pk).first()
    if found is None:
        raise Http404
    name = PurePosixPath(found.path).name
    record_download(request, "artifact.downloaded", job, path=found.path)
    return redirect(storage.presigned_get(found.storage_key, expires_s=LINK_S, download_name=name))


def _common(request: HttpRequest, job: Job, now: datetime) -> dict[str, Any]:
    """What every tab shows around itself. Four queries; what has ended is rendered once (see _still), so that they are
    made only where a template asks."""
    user = user_of(request)
    told: Any = SimpleLazyObject(lambda: list(job.events.order_by("pk")))
    # What the attempt tells is of jobs that still move.
    attempt = (
        None
        if job.is_final
        else job.attempts.select_related("account", "offering", "price").order_by("-number").first()
    )
    place = line.place_of(job)
    found: Any = SimpleLazyObject(lambda: list(job.artifacts.order_by("path")[:1001]))
    inputs: Any = SimpleLazyObject(
        lambda: list(job.inputs.select_related("data_file").order_by("path")[: INPUTS_SHOWN + 1])
    )
    cost: Any = SimpleLazyObject(lambda: cost_now(job, now=now))
    can_copy = access_of(user).may_in(job.project, Permission.SUBMIT)
    diagnosis = stored_of(job.diagnosis, job.failure)
    return {
        "job": job,
        "state": JobState(job.state),
        "shown_state": state_shown(job, attempt),
        "still": _still(job, can_copy, now),
        "steps": SimpleLazyObject(lambda: timeline(job, [e for e in told if e.kind == "state"], now=now)),
        "events": told,
        "not_kept": SimpleLazyObject(lambda: [event_sentence(e) for e in told if e.reason in NOT_KEPT]),
        "moved": SimpleLazyObject(lambda: _moved(told)) if job.alternatives or job.retries else "",
        "attempt": attempt,
        "stored_in": storage_place(),
        "place": place,
        **_waiting(job, attempt, place, now),
        "waiting_reason": WaitingReason(job.waiting_reason).label if job.waiting_reason else "",
        "failure_name": FailureClass(job.failure).label if job.failure else "",
        "explanation": _explanation(job, diagnosis, told) if job.is_final else None,
        "diagnosis": diagnosis,
        "cures": SimpleLazyObject(lambda: cures_of(job, diagnosis, now=now))
        if job.is_final and job.failure and can_copy
        else (),
        "unknown_since": unknown_since(attempt),
        "silent_since": silent_since(job, attempt, now=now),
        "answers": provider_answers(job, attempt, now=now),
        "elapsed_s": ran_s(job, now=now),
        # What price and cost can be reckoned from: a job that ran at all is charged at least the plan's minimum.
        "charged_s": max(job.gpu_seconds // job.gpus, cost.quote.minimum_s) if job.is_final and job.gpu_seconds else 0,
        "ends_at": job.started_at + timedelta(seconds=cost.quote.pays_for_s)
        if job.started_at and job.state == JobState.RUNNING
        else None,
        "ends_soon": job.state == JobState.RUNNING and job.stop_requested_at is None and attempt and attempt.warned_min,
        "cost": cost,
        "expected": None if job.is_final else SimpleLazyObject(lambda: _expected(job, cost)),
        "held": lambda: holds.left_of(job.code),
        "inputs": inputs,
        "inputs_shown": INPUTS_SHOWN,
        "inputs_count": sum(one["files"] for one in job.datasets),
        "artifacts": found,
        "artifacts_size": lambda: sum(a.size_bytes for a in found),
        "why_here": SimpleLazyObject(lambda: _why_here(job)) if job.strategy else (),
        "can_stop": job.can_stop and may_stop(user, job),
        "can_extend": _can_extend(job, attempt, cost) and may_stop(user, job) and can_copy,
        "can_copy": can_copy,
    }


def _waiting(job: Job, attempt: Attempt | None, place: line.Place | None, now: datetime) -> dict[str, Any]:
    """When a job that waits begins, as far as that is known, and where it would be faster."""
    if attempt is None or not job.waiting_reason or job.stop_requested_at is not None:
        return {}
    # In a line its length decides: what was learned without it says nothing.
    start = None if place else waits.expected_of(attempt, now=now)
    context: dict[str, Any] = {
        "start": start,
        "faster": SimpleLazyObject(lambda: faster_of(job, attempt, now=now)),
    }
    if start is not None:
        context["start_half"] = now + timedelta(seconds=start.half_s)
        context["start_most"] = now + timedelta(seconds=start.most_s)
    return context


def _expected(job: Job, cost: Cost) -> Expected:
    return expected(job.project, job.price, template=job.template, gpus=job.gpus, high=cost.forecast, before=job)


@dataclass(frozen=True)
class WhyHere:
    """The decision that gave an attempt its place."""

    number: int
    at: datetime
    version: str
    strategy: Promise
    rows: list[Row]


def _why_here(job: Job) -> list[WhyHere]:
    """The newest first. Two queries."""
    stored = list(job.placements.order_by("-number"))
    keys = {offer["key"] for one in stored for offer in one.input["offers"]}
    found = Offering.objects.filter(pk__in=[int(key) for key in keys]).select_related("provider")
    offerings = {str(offering.pk): offering for offering in found}
    told = []
    for one in stored:
        spec, _offers, at, _policy = read_input(one.input)
        rows = rows_of(read_decision(one.decision), spec, offerings)
        told.append(WhyHere(one.number, at, one.version, STRATEGY_NAMES[spec.strategy], rows))
    return told


def _can_extend(job: Job, attempt: Attempt | None, cost: Cost) -> bool:
    """Whether it is worth a look: the page behind it says what stands in the way."""
    if attempt is None or job.state != JobState.RUNNING or job.stop_requested_at is not None or attempt.asked_more_s:
        return False
    # A higher cap is ours alone to give.
    return cost.quote.is_capped or gives_time(attempt.account.kind, attempt.account.options)


def _explanation(job: Job, diagnosis: Diagnosis | None, events: list[JobEvent]) -> Explanation | None:
    if diagnosis is not None:
        return explanation_of(diagnosis.cause, job.failure)
    if job.failure == FailureClass.INTERRUPTED and any(event.reason == "lost" for event in events):
        return LOST
    return FAILURES.get(job.failure)


def _moved(events: list[JobEvent]) -> str:
    """Why the job is at another place, or begins anew."""
    return next((str(event_sentence(e)) for e in reversed(events) if e.reason in ("elsewhere", "tried_again")), "")


def _still(job: Job, can_copy: bool, now: datetime) -> tuple[object, ...] | None:
    """All that head, tabs and cards of an ended job depend on, for {% memo %}. None: it still moves."""
    if not job.is_final:
        return None
    offering = job.offering
    place = (offering.name, offering.provider.slug, offering.provider.name, offering.site and offering.site.name)
    # Days of other years are written out with their year.
    return (job.code, job.version, job.name, str(job.submitted_by), can_copy, *place, now.astimezone(JST).year)


def _version(request: HttpRequest, job: Job, now: datetime) -> str:
    """Changes with the job, and with the clock while the clock is on the page."""
    rights = int(may_stop(user_of(request), job))
    place = line.place_of(job)
    return f"{job.version}-{tick(job, now=now)}-{place.number if place else 0}-{rights}-{get_language()}"


def _tab_version(job: Job) -> str:
    """Of what shows the job and no clock."""
    return f"{job.version}-{get_language()}"


def _user_id(by: str) -> int | None:
    kind, _, number = by.partition(":")
    return int(number) if kind == "user" and number.isdigit() else None
