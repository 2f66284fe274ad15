"""More time for a running job: a page that says what each step costs and what stands in the way, and the act."""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from portal.accounts.access import require
from portal.accounts.roles import Permission
from portal.billing import holds
from portal.core.templatetags.formats import instant_short
from portal.jobs.extension import CHOICES_S, CannotExtend, Extension, extend, extension_of
from portal.jobs.models import Attempt, Job
from portal.jobs.states import AttemptState, JobState
from portal.jobs.views.finding import find_job, user_of

USUAL_S = 3600


@dataclass(frozen=True)
class Choice:
    """`fits`: the credit and the budgets have room for it now."""

    more: Extension
    fits: bool


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def more_time(request: HttpRequest, code: str) -> HttpResponse:
    job, user = find_job(request, code), user_of(request)
    require(user, Permission.SUBMIT, job.project)
    if job.submitted_by_id != user.pk:
        require(user, Permission.STOP_ANY, job.project)
    problem: str | Promise = ""
    if request.method == "POST":
        seconds, seen = (_whole(request.POST.get(name, "")) for name in ("seconds", "seen_end_s"))
        try:
            more = extend(job, seconds=seconds, seen_end_s=seen, by=user)
        except CannotExtend as no:
            problem = no.message
        else:
            at = instant_short(more.ends_at)
            messages.success(request, _("The job may run until %(at)s at the latest.") % {"at": at})
            return redirect("jobs:detail", job.code)
    choices, why_not = _choices(job)
    context = {
        "job": job,
        "state": JobState(job.state),
        "choices": choices,
        "problem": problem or why_not,
        "usual_s": USUAL_S if any(c.fits and c.more.seconds == USUAL_S for c in choices) else _first_that_fits(choices),
        "left": holds.room_for(job.project).without_approval,
    }
    return render(request, "jobs/extend.html", context)


def _choices(job: Job) -> tuple[list[Choice], str | Promise]:
    """What may be added, and why there is nothing, if so."""
    rows = Attempt.objects.filter(job=job).exclude(state=AttemptState.ENDED)
    attempt = rows.select_related("account", "price", "offering__provider").first()
    if attempt is None:
        return [], _("Only a job that runs can be given more time.")
    attempt.job = job
    held, room = holds.amounts_of([job.code]).get(job.code, 0), holds.room_for(job.project).without_approval
    choices: list[Choice] = []
    why_not: str | Promise = ""
    for seconds in CHOICES_S:
        try:
            more = extension_of(attempt, seconds=seconds, held=held)
        except CannotExtend as no:
            why_not = no.message
            break
        choices.append(Choice(more, fits=more.yen <= room))
    return choices, "" if choices else why_not


def _first_that_fits(choices: list[Choice]) -> int:
    return next((choice.more.seconds for choice in choices if choice.fits), 0)


def _whole(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
