"""The residency report of a dataset: page, CSV, JSON. That of a job is made of the same pieces."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.views.decorators.http import require_safe

from portal.accounts.access import require
from portal.accounts.roles import Permission
from portal.core.csv import csv_response
from portal.core.limits import limited
from portal.datasets import residency
from portal.datasets.models import Dataset
from portal.datasets.views.finding import find_dataset

OBJECTS = 25


@login_required
@require_safe
def page(request: HttpRequest, code: str) -> HttpResponse:
    dataset = _own(request, code)
    context = {
        "dataset": dataset,
        "not_told": residency.last_manifest_not_told(dataset),
        **stays_shown(request, dataset.code),
    }
    return render(request, "datasets/residency.html", context)


@login_required
@require_safe
@limited("download")
def as_csv(request: HttpRequest, code: str) -> HttpResponseBase:
    return csv_of(_own(request, code).code)


@login_required
@require_safe
@limited("download")
def as_json(request: HttpRequest, code: str) -> HttpResponseBase:
    return json_of(_own(request, code).code)


def stays_shown(request: HttpRequest, subject_code: str) -> dict[str, Any]:
    """What templates/datasets/_stays.html needs: some objects of a dataset or a job, each with all its stays."""
    after = request.GET.get("after", "").replace("\0", "")[:20]
    codes = residency.file_codes(subject_code, after=after, limit=OBJECTS + 1)
    return {
        "stays": list(residency.report(subject_code, files=codes[:OBJECTS])),
        "first_url": request.path if after else "",
        "next_url": f"{request.path}?after={codes[OBJECTS - 1]}" if len(codes) > OBJECTS else "",
    }


def csv_of(subject_code: str) -> HttpResponseBase:
    rows = ([*residency.as_texts(stay).values()] for stay in residency.report(subject_code))
    return csv_response(f"residency-{subject_code}.csv", residency.COLUMNS, rows)


def json_of(subject_code: str) -> HttpResponseBase:
    response = StreamingHttpResponse(residency.report_json(subject_code), content_type="application/json")
    response["Content-Disposition"] = f'attachment; filename="residency-{subject_code}.json"'
    return response


def _own(request: HttpRequest, code: str) -> Dataset:
    """The place log names every file that ever was there: not for those the dataset is only shared with."""
    dataset = find_dataset(request, code)
    require(request.user, Permission.VIEW, dataset.project)
    return dataset
