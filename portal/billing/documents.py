"""An invoice as people read it: one template for the page and for the PDF, whose bytes are made once and kept."""

from __future__ import annotations

import ctypes
import hashlib
import logging
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db.models import Sum
from django.template.loader import render_to_string
from django.utils import translation

from portal.billing.models import Invoice, InvoiceDocument, InvoiceLine, InvoiceTax, LineKind
from portal.core.periods import BillingMonth
from portal.core.templatetags.formats import gpu_time, is_japanese

LANGUAGES = ("ja", "en")
LINES_SHOWN = 300  # more are added up by offering; a table of 50,000 rows would be a PDF of 1,500 pages
REDUCED_PERCENT = 8
MADE_AT_ONCE = 200
PANGO = "libpangoft2-1.0.so.0"  # brings the rest of Pango, as WeasyPrint needs it
FONT = "NotoSansCJK-Regular.ttc"  # of Debian's fonts-noto-cjk


class NotAvailable(Exception):
    """This server has no Pango or no Japanese font: no PDF is made here."""


@dataclass(frozen=True)
class Line:
    kind: LineKind
    service: str
    what: str
    project: str
    of_month: date | None
    gpu_seconds: int
    percent: Decimal
    amount: int

    @property
    def quantity(self) -> str:
        """GPU time; nothing of what has none."""
        if not self.gpu_seconds:
            return ""
        return f"{'-' if self.gpu_seconds < 0 else ''}{gpu_time(abs(self.gpu_seconds))}"

    @property
    def is_reduced(self) -> bool:
        return bool(self.percent == REDUCED_PERCENT)


@dataclass(frozen=True)
class Paper:
    """All that stands on the document."""

    invoice: Invoice
    month: BillingMonth
    lines: list[Line]
    taxes: list[InvoiceTax]
    line_count: int

    @property
    def is_summed_up(self) -> bool:
        return self.line_count > len(self.lines)

    @property
    def deducted(self) -> int:
        return -self.invoice.prepaid

    @property
    def has_reduced_rate(self) -> bool:
        return any(tax.percent == REDUCED_PERCENT for tax in self.taxes)


def paper_of(invoice: Invoice) -> Paper:
    """In the reader's language. Three queries."""
    count = InvoiceLine.objects.filter(invoice=invoice).count()
    return Paper(
        invoice=invoice,
        month=BillingMonth(invoice.month.year, invoice.month.month),
        lines=_lines(invoice) if count <= LINES_SHOWN else _lines_by_offering(invoice),
        taxes=list(InvoiceTax.objects.filter(invoice=invoice).order_by("-percent")),
        line_count=count,
    )


def line_of(row: InvoiceLine) -> Line:
    """A stored line in the reader's language."""
    kind = LineKind(row.kind)
    japanese = is_japanese()
    offering = row.offering_ja if japanese else row.offering_en
    return Line(
        kind=kind,
        service=row.service_ja if japanese else row.service_en,
        what=offering or str((LineKind.STORAGE if kind == LineKind.CORRECTION else kind).label),
        project=row.project_name,
        of_month=row.of_month,
        gpu_seconds=row.gpu_seconds,
        percent=row.percent,
        amount=row.amount,
    )


def stored(invoice: Invoice) -> InvoiceDocument | None:
    """The PDF in the reader's language; None: not made yet."""
    found: InvoiceDocument | None = InvoiceDocument.objects.filter(invoice=invoice, language=_language()).first()
    return found


def document_of(invoice: Invoice) -> InvoiceDocument:
    """The PDF in the reader's language, made now if it was not yet. Whoever stores it first decides its bytes.

    Raises NotAvailable.
    """
    known = stored(invoice)
    if known is None:
        body = _pdf(invoice)
        InvoiceDocument.objects.bulk_create(
            [
                InvoiceDocument(
                    invoice=invoice, language=_language(), body=body, sha256=hashlib.sha256(body).hexdigest()
                )
            ],
            ignore_conflicts=True,
        )
        known = InvoiceDocument.objects.get(invoice=invoice, language=_language())
    return known


def make_missing() -> int:
    """The PDFs that invoices do not have yet, oldest first, in both languages. How many were made; call again after as
    many as are made at once. Raises NotAvailable."""
    made = 0
    for language in LANGUAGES:
        missing = Invoice.objects.without_document(language).order_by("pk")
        with translation.override(language):
            for invoice in missing.select_related("issuer", "member", "corrects")[: MADE_AT_ONCE - made]:
                document_of(invoice)
                made += 1
    return made


@cache
def is_available() -> bool:
    """Whether this server can make PDFs: Pango, and a font with Japanese. Asked by every page of an invoice, so nothing
    of WeasyPrint is imported for the answer."""
    try:
        ctypes.CDLL(PANGO)
    except OSError:
        return False
    return _has_font()


def _pdf(invoice: Invoice) -> bytes:
    weasyprint = _weasyprint()
    html = render_to_string("billing/invoices/pdf.html", {"paper": paper_of(invoice), "language": _language()})
    style = weasyprint.CSS(string=(Path(settings.BASE_DIR) / "static" / "css" / "invoice.css").read_text())
    page = weasyprint.HTML(string=html, url_fetcher=_fetch_nothing)
    pdf: bytes = page.write_pdf(stylesheets=[style])
    return pdf


def _weasyprint() -> Any:
    """Imported when the first PDF is made: it takes seconds and 20 MiB, which a process that makes none is spared."""
    if not is_available():
        raise NotAvailable(f"{PANGO}, {FONT}")
    import weasyprint

    logging.getLogger("weasyprint.progress").setLevel(logging.WARNING)  # it tells each step of each PDF
    return weasyprint


@cache
def _has_font() -> bool:
    places = (Path("/usr/share/fonts"), Path("/usr/local/share/fonts"), Path.home() / ".local/share/fonts")
    return any(any(place.rglob(FONT)) for place in places)


def _fetch_nothing(url: str, *args: object, **kwargs: object) -> Any:
    raise ValueError(f"An invoice is made of what stands in it, not of {url[:100]}")


def _language() -> str:
    return "ja" if is_japanese() else "en"


def _lines(invoice: Invoice) -> list[Line]:
    return [line_of(row) for row in InvoiceLine.objects.filter(invoice=invoice).order_by("position")]


def _lines_by_offering(invoice: Invoice) -> list[Line]:
    """Without projects. Those are in the CSV."""
    columns = ("kind", "of_month", "service_ja", "service_en", "offering_ja", "offering_en", "percent")
    lines = InvoiceLine.objects.filter(invoice=invoice).values(*columns).order_by("kind", *columns[1:])
    order = list(LineKind)
    rows = lines.annotate(gpu_seconds=Sum("gpu_seconds"), amount=Sum("amount"))
    summed = [replace(line_of(InvoiceLine(**row)), project="") for row in rows]
    return sorted(summed, key=lambda line: (order.index(line.kind), line.service, line.what))
