"""Where a job's objects are and were: page, CSV, JSON, made of the place log alone."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.views.decorators.http import require_safe

from portal.core.limits import limited
from portal.datasets.views.residency import csv_of, json_of, stays_shown
from portal.jobs.views.finding import find_job


@login_required
@require_safe
def page(request: HttpRequest, code: str) -> HttpResponse:
    job = find_job(request, code)
    return render(request, "jobs/residency.html", {"job": job, **stays_shown(request, job.code)})


@login_required
@require_safe
@limited("download")
def as_csv(request: HttpRequest, code: str) -> HttpResponseBase:
    return csv_of(find_job(request, code).code)


@login_required
@require_safe
@limited("download")
def as_json(request: HttpRequest, code: str) -> HttpResponseBase:
    return json_of(find_job(request, code).code)
