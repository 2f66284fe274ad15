"""Downloads of FOCUS datasets, sent while they are read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_safe

from portal.accounts.access import require
from portal.accounts.context import current_of
from portal.accounts.models import Organization
from portal.accounts.roles import Permission
from portal.billing.focus import DATASETS, Dataset, cell
from portal.core.csv import csv_response
from portal.core.parquet import parquet_bytes
from portal.core.periods import BillingMonth, billing_month


@require_safe
@login_required
def focus(request: HttpRequest) -> HttpResponseBase:
    """?dataset=cost-and-usage&format=parquet&month=2026-11, of the whole organization."""
    if current_of(request).organization is None:
        return redirect("home:start")
    organization = cast(Organization, current_of(request).organization)
    require(request.user, Permission.VIEW_MONEY, organization)
    dataset = DATASETS.get(request.GET.get("dataset", "cost-and-usage"))
    if dataset is None:
        raise Http404
    try:
        month = BillingMonth.parse(request.GET.get("month", ""))
    except ValueError:
        month = billing_month(timezone.now())
    filename = f"focus-{dataset.name}-{month}"
    rows = dataset.rows(organization, month)
    if request.GET.get("format") == "parquet":
        pieces = parquet_bytes(dataset.columns, rows)
        response = StreamingHttpResponse(pieces, content_type="application/vnd.apache.parquet")
        response["Content-Disposition"] = f'attachment; filename="{filename}.parquet"'
        return response
    header = [column.name for column in dataset.columns]
    return csv_response(f"{filename}.csv", header, _cells(dataset, rows))


def _cells(dataset: Dataset, rows: Iterator[list[Any]]) -> Iterator[list[Any]]:
    kinds = [column.kind for column in dataset.columns]
    for row in rows:
        yield [cell(value, kind) for value, kind in zip(row, kinds, strict=True)]
