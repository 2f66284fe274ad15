"""Stop many jobs, or submit them again: a page that says what will happen to each, and the act."""

from __future__ import annotations

import secrets
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from portal.accounts.context import current_of
from portal.core.error_pages import too_many_requests
from portal.core.limits import wait_for
from portal.jobs.many import MOST, copies_of, count_unsent, stop_many, stoppable, submit_copies
from portal.jobs.models import Job
from portal.jobs.views.filtering import projects_to_see, scopes_of, wanted_of, within
from portal.jobs.views.finding import user_of
from portal.jobs.views.timeline import state_shown, used_now


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def stop(request: HttpRequest) -> HttpResponse:
    user = user_of(request)
    jobs, context = _chosen(request)
    if request.method == "POST":
        done, refused = stop_many(jobs, by=user)
        return render(request, "jobs/chosen_done.html", {**context, "act": "stop", "done": done, "refused": refused})
    now = timezone.now()
    can, refused = stoppable(jobs, by=user)
    used = [used_now(job, now=now) for job in can]
    rows = [(job, state_shown(job), yen) for job, yen in zip(can, used, strict=True)]
    more = {"act": "stop", "rows": rows, "refused": refused, "total": sum(used)}
    return render(request, "jobs/chosen.html", {**context, **more})


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def copy(request: HttpRequest) -> HttpResponse:
    user = user_of(request)
    jobs, context = _chosen(request)
    if request.method == "POST":
        key, seen = request.POST.get("key", "").replace("\0", "")[:64], request.POST.get("prices", "")
        if wait_s := wait_for(request, "submit", count_unsent(jobs, by=user, key=key)):
            return too_many_requests(request, wait_s=wait_s)
        copies, refused = copies_of(jobs, by=user, key=key, seen_prices=seen, with_room=False)
        done, also = submit_copies(copies, by=user, key=key)
        context |= {"act": "copy", "done": done, "refused": [*refused, *also]}
        return render(request, "jobs/chosen_done.html", context)
    key = secrets.token_urlsafe(24)
    copies, refused = copies_of(jobs, by=user, key=key)
    context |= {
        "act": "copy",
        "rows": [(one.job, state_shown(one.job), one.most) for one in copies],
        "refused": refused,
        "total": sum(one.most for one in copies),
        "key": key,
        "prices": ",".join(map(str, sorted({pk for one in copies for pk in one.prices}))),
    }
    return render(request, "jobs/chosen.html", context)


def _chosen(request: HttpRequest) -> tuple[list[Job], dict[str, Any]]:
    """The jobs named, in their order, or with `all` the newest that the filters leave; at most so many at once. What is
    not the person's own to see is left out and counted."""
    user, asked = user_of(request), request.POST if request.method == "POST" else request.GET
    jobs = Job.objects.visible_to(user).select_related(
        "project", "organization", "submitted_by", "price", "offering__provider"
    )
    if "all" in asked and request.method != "POST":
        current = current_of(request)
        projects = projects_to_see(request, user, current)
        wanted = wanted_of(asked, current, projects)
        scopes = scopes_of(user, current, projects, wanted.project)
        found = list(jobs.filter(within(scopes), wanted.matching).order_by("-pk")[: MOST + 1])
        return found[:MOST], {"most": MOST, "are_more": len(found) > MOST, "missing": 0}
    codes = list(dict.fromkeys(code.replace("\0", "")[:24] for code in asked.getlist("job")))
    named = {job.code: job for job in jobs.filter(code__in=codes[:MOST])}
    return [named[code] for code in codes if code in named], {
        "most": MOST,
        "are_more": len(codes) > MOST,
        "missing": len(codes[:MOST]) - len(named),
    }
