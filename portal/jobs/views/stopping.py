"""Stop a job: a page that says what it means, and the act."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from portal.accounts.access import require
from portal.accounts.roles import Permission
from portal.jobs.cancellation import ask_stop
from portal.jobs.states import JobState
from portal.jobs.views.finding import find_job, user_of
from portal.jobs.views.timeline import cost_now


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def stop(request: HttpRequest, code: str) -> HttpResponse:
    job, user = find_job(request, code), user_of(request)
    require(user, Permission.SUBMIT if job.submitted_by_id == user.pk else Permission.STOP_ANY, job.project)
    if request.method != "POST":
        attempt = job.attempts.order_by("-number").first()
        cost = cost_now(job, now=timezone.now())
        context = {"job": job, "state": JobState(job.state), "attempt": attempt, "cost": cost}
        return render(request, "jobs/stop.html", context)
    if not ask_stop(job, by=user):
        messages.info(request, _("Nothing was stopped: the job had already ended or was already being stopped."))
    elif job.is_final:
        messages.success(request, _("The job was stopped before it was sent. Nothing is charged."))
    # Else the job's page says so itself, for as long as it is true.
    return redirect("jobs:detail", job.code)
