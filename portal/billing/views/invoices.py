"""Invoices of the organization: found, read, fetched, and to whom they are addressed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import pgettext
from django.views.decorators.http import require_http_methods, require_safe

from portal.accounts.access import access_of, require
from portal.accounts.context import current_of
from portal.accounts.models import User
from portal.accounts.roles import Permission
from portal.billing import documents, profiles
from portal.billing.forms import InvoiceAddressForm, InvoiceSearchForm
from portal.billing.models import Invoice, InvoiceLine, Payment, PaymentState
from portal.core.csv import csv_response
from portal.core.limits import limited
from portal.core.periods import day_of

PAGE = 50
LOOKS = {  # tone and icon of a badge
    PaymentState.NOTHING_DUE: ("", "ok"),
    PaymentState.ISSUED: ("run-static", "clock"),
    PaymentState.PARTLY_PAID: ("warn", "clock"),
    PaymentState.PAID: ("ok", "ok"),
    PaymentState.OVERDUE: ("err", "warn"),
}


@require_safe
@login_required
def invoice_list(request: HttpRequest) -> HttpResponse:
    organization = current_of(request).organization
    if organization is None:
        return redirect("home:start")
    require(request.user, Permission.VIEW_MONEY, organization)
    form = InvoiceSearchForm(request.GET, auto_id="search_%s")
    form.is_valid()
    found = Invoice.objects.visible_to(cast(User, request.user)).filter(form.conditions, organization=organization)
    rows, newer_url, older_url = _page(request, found.select_related("issuer", "member").with_payments())
    context = {
        "rows": [(row, _state(row)) for row in rows],
        "form": form,
        "searched": any(request.GET.get(name) for name in form.fields),
        "newer_url": newer_url,
        "older_url": older_url,
        "may_set_address": access_of(request.user).may_in(organization, Permission.MANAGE_MONEY),
    }
    return render(request, "billing/invoices/list.html", context)


@require_safe
@login_required
def invoice(request: HttpRequest, number: str) -> HttpResponse:
    found = _find(request, number)
    payments = list(Payment.objects.filter(invoice=found).order_by("received_on", "pk"))
    context = {
        "invoice": found,
        "paper": documents.paper_of(found),
        "state": _state(found),
        "payments": payments,
        "open": found.due - sum(payment.amount for payment in payments),
        "credit_notes": list(Invoice.objects.filter(corrects=found).order_by("pk")),
        "can_make_pdf": documents.is_available() or documents.stored(found) is not None,
    }
    return render(request, "billing/invoices/invoice.html", context)


@require_safe
@login_required
@limited("download")
def pdf(request: HttpRequest, number: str) -> HttpResponse:
    """The same bytes each time: made at the first call, if no task was quicker."""
    found = _find(request, number)
    try:
        document = documents.document_of(found)
    except documents.NotAvailable:
        messages.error(request, _("PDF files of invoices are not available on this server."))
        return redirect("usage:invoice", number=found.number)
    response = HttpResponse(bytes(document.body), content_type="application/pdf")
    response["Content-Disposition"] = f'attachment; filename="{found.number}-{document.language}.pdf"'
    return response


@require_safe
@login_required
@limited("download")
def csv(request: HttpRequest, number: str) -> HttpResponseBase:
    """Its lines, read in pieces while they are sent: their sum is the invoice's total."""
    found = _find(request, number)
    header = [
        pgettext("of an invoice", "Number"),
        _("Kind"),
        _("Provider"),
        _("Service"),
        _("Project"),
        _("Month of use"),
        _("GPU-seconds"),
        _("Tax rate (%)"),
        _("Amount (yen, tax included)"),
    ]
    return csv_response(f"{found.number}.csv", header, _rows(found))


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def address(request: HttpRequest) -> HttpResponse:
    organization = current_of(request).organization
    if organization is None:
        return redirect("home:start")
    require(request.user, Permission.MANAGE_MONEY, organization)
    profile = profiles.profile_of(organization)
    initial = {name: getattr(profile, name) for name in profiles.FIELDS}
    form = InvoiceAddressForm(request.POST if request.method == "POST" else None, initial=initial)
    if request.method == "POST" and form.is_valid():
        profiles.set_profile(organization, form.cleaned_data, by=cast(User, request.user))
        messages.success(request, _("Saved. The next invoices are addressed so; those issued before stay as they are."))
        return redirect("usage:invoices")
    context = {"form": form, "organization": organization}
    return render(request, "billing/invoices/address.html", context, status=422 if form.is_bound else 200)


def _find(request: HttpRequest, number: str) -> Invoice:
    """404 for what is not theirs to see."""
    known = Invoice.objects.visible_to(cast(User, request.user)).with_payments()
    known = known.select_related("issuer", "member", "corrects", "organization")
    found: Invoice | None = known.filter(number=number).first() if number.isprintable() else None
    if found is None:
        raise Http404
    return found


def _state(invoice: Invoice) -> tuple[Any, str, str]:
    """(words, tone, icon)"""
    state = invoice.state(day_of(timezone.now()))
    return (state.label, *LOOKS[state])


def _page(request: HttpRequest, rows: Any) -> tuple[list[Invoice], str, str]:
    """Newest first by keyset: the rows of this page and the addresses of its neighbours, "" where there are none."""
    try:
        before, after = (int(request.GET.get(name, "0")) for name in ("before", "after"))
    except ValueError:
        raise Http404 from None
    if not (0 <= before < 2**63 and 0 <= after < 2**63):
        raise Http404
    if after:
        found = list(rows.filter(pk__gt=after).order_by("pk")[: PAGE + 1])
        newer, older = len(found) > PAGE, True
        found = found[:PAGE][::-1]
    else:
        found = list((rows.filter(pk__lt=before) if before else rows).order_by("-pk")[: PAGE + 1])
        newer, older = bool(before), len(found) > PAGE
        found = found[:PAGE]
    if not found:
        return [], "", ""
    kept = {name: value for name, value in request.GET.items() if name not in ("before", "after") and value}
    return (
        found,
        "?" + urlencode({**kept, "after": found[0].pk}) if newer else "",
        "?" + urlencode({**kept, "before": found[-1].pk}) if older else "",
    )


def _rows(found: Invoice) -> Iterator[tuple[Any, ...]]:
    usual = found.month
    with transaction.atomic():
        for row in InvoiceLine.objects.filter(invoice=found).order_by("position").iterator(chunk_size=2000):
            line = documents.line_of(row)
            month = f"{line.of_month or usual:%Y-%m}"
            yield (
                found.number,
                line.kind.label,
                line.service,
                line.what,
                line.project,
                month,
                line.gpu_seconds,
                line.percent,
                line.amount,
            )
