"""What stands on the page, in the PDF and in the database is the same."""

import hashlib
import io
import re
import threading
from datetime import date
from decimal import Decimal
from typing import Any

import pypdf
import pytest
import time_machine
from django.db import connection
from django.template.loader import render_to_string
from django.utils import translation

from portal.accounts.models import Organization
from portal.billing import documents, invoicing
from portal.billing.documents import Paper, document_of, make_missing, paper_of
from portal.billing.models import Invoice, InvoiceDocument, InvoiceLine, InvoiceTax
from portal.billing.tasks import make_documents
from portal.core.periods import BillingMonth
from tests.factories import InvoiceFactory, ProjectFactory
from tests.factories.billing import jst, set_issuer

pytestmark = pytest.mark.skipif(not documents.is_available(), reason="Pango or the Japanese font is missing")


@pytest.fixture(autouse=True)
def clock() -> Any:
    with time_machine.travel(jst(2026, 12, 3, 12), tick=False):
        yield


def html_of(invoice: Invoice) -> str:
    html = render_to_string("billing/invoices/pdf.html", {"paper": paper_of(invoice), "language": "ja"})
    return _joined(re.sub(r"<[^>]+>", " ", html.partition("<body>")[2]))


def pdf_of(invoice: Invoice) -> str:
    reader = pypdf.PdfReader(io.BytesIO(bytes(document_of(invoice).body)))
    return _joined(" ".join(page.extract_text() for page in reader.pages))


def _joined(text: str) -> str:
    """Lines may break anywhere."""
    return re.sub(r"\s+", "", text)


SIX = {
    "ja": [
        "適格請求書", "sakura（デモ）株式会社", "登録番号:T7123456789012", "2026年11月1日〜2026年11月30日",
        "高火力DOKH100", "10%対象¥1,100¥100", "株式会社ミライ言語研究所御中",
    ],
    "en": [
        "Qualifiedinvoice", "sakura（デモ）株式会社", "Registrationnumber:T7123456789012",
        "1November2026to30November2026", "KoukaryokuDOKH100", "Subjectto10%¥1,100¥100", "株式会社ミライ言語研究所",
    ],
}  # fmt: skip


@pytest.mark.parametrize("language", SIX)
def test_the_six_things_the_law_asks_for_stand_on_the_page_and_in_the_pdf(
    organization: Organization, language: str
) -> None:
    """Issuer and number; period of supply; what it was; total of each rate; its tax; for whom."""
    invoice = InvoiceFactory(organization=organization)
    with translation.override(language):
        for text in (html_of(invoice), pdf_of(invoice)):
            assert [item for item in SIX[language] if item not in text] == []


def test_a_reduced_rate_is_marked_and_a_correction_names_its_month(organization: Organization) -> None:
    invoice = InvoiceFactory(organization=organization, total=1100)
    InvoiceTax.objects.create(invoice=invoice, percent=8, gross=0, tax=0)
    shared = {"invoice": invoice, "project_name": "p", "service_ja": "s"}
    InvoiceLine.objects.create(
        position=2, kind="correction", of_month=date(2026, 9, 1), offering_ja="GPU", percent=10, amount=-500, **shared
    )
    InvoiceLine.objects.create(position=3, kind="storage", percent=8, amount=500, **shared)
    for text in (html_of(invoice), pdf_of(invoice)):
        assert "訂正(2026年9月)GPUsp10%-¥500" in text
        assert "ストレージ※sp8%¥500" in text
        assert "※は軽減税率の対象です。" in text


def test_a_credit_note_names_its_invoice_the_refund_and_the_month_of_the_supply(organization: Organization) -> None:
    invoice = InvoiceFactory(organization=organization, number="SAKURA-000001", sequence=1)
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO billing_invoicesequence (member_id, last) VALUES (%s, 1)", [invoice.member_id])
    note = invoicing.credit_note(invoice, amount=550, percent=Decimal(10), reason="障害のお詫び", by="staff:1")
    for text in (html_of(note), pdf_of(note)):
        for item in (
            "適格返還請求書",
            "SAKURA-000002",
            "対象の請求書SAKURA-000001",
            "返還日2026年12月3日",
            "返金(2026年11月)",
        ):
            assert item in text
        assert "返還額合計（税込）-¥550" in text
        assert "10%対象-¥550-¥50" in text
        assert "理由:障害のお詫び" in text


def test_the_pdf_is_made_once_and_never_changes(organization: Organization) -> None:
    invoice = InvoiceFactory(organization=organization)
    first = document_of(invoice)
    assert first.sha256 == hashlib.sha256(bytes(first.body)).hexdigest()
    with time_machine.travel(jst(2027, 1, 1)):
        again = document_of(invoice)
    assert (again.pk, bytes(again.body)) == (first.pk, bytes(first.body))
    with translation.override("en"):
        assert document_of(invoice).language == "en"
    assert InvoiceDocument.objects.count() == 2


def test_it_carries_its_japanese_font(organization: Organization) -> None:
    reader = pypdf.PdfReader(io.BytesIO(bytes(document_of(InvoiceFactory(organization=organization)).body)))
    fonts = [font.get_object() for page in reader.pages for font in page["/Resources"]["/Font"].values()]  # type: ignore[index]
    descriptors = [font["/DescendantFonts"][0].get_object()["/FontDescriptor"].get_object() for font in fonts]
    assert {str(d["/FontName"]).partition("+")[2].removesuffix("-Bold") for d in descriptors} == {"Noto-Sans-CJK-JP"}
    assert all({"/FontFile2", "/FontFile3"} & set(descriptor) for descriptor in descriptors)


def test_missing_pdfs_are_made_in_both_languages_by_the_task(organization: Organization) -> None:
    invoices = [InvoiceFactory(organization=organization, month=date(2026, month, 1)) for month in (10, 11)]
    document_of(invoices[0])
    make_documents()
    made = InvoiceDocument.objects.order_by("invoice", "language").values_list("invoice", "language")
    assert list(made) == [(invoice.pk, language) for invoice in invoices for language in ("en", "ja")]
    assert make_missing() == 0


@pytest.mark.django_db(transaction=True)
def test_of_several_who_make_it_at_once_all_get_the_bytes_of_one() -> None:
    invoice = InvoiceFactory()
    found: list[bytes] = []

    def work() -> None:
        with translation.override("ja"):
            found.append(bytes(document_of(Invoice.objects.get(pk=invoice.pk)).body))
        connection.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(found), len(set(found)), InvoiceDocument.objects.count()) == (4, 1, 1)


def test_many_lines_are_added_up_by_offering_with_the_same_sum(organization: Organization) -> None:
    invoice = InvoiceFactory(organization=organization, lines=301)
    paper: Paper = paper_of(invoice)
    assert [(line.what, line.project, line.gpu_seconds, line.amount) for line in paper.lines] == [
        ("高火力 DOK H100", "", 301 * 3600, 1100)
    ]
    assert (paper.is_summed_up, paper.line_count) == (True, 301)
    assert "明細301行は" in html_of(invoice)


def test_nothing_is_fetched_for_a_pdf() -> None:
    with pytest.raises(ValueError, match="made of what stands in it"):
        documents._fetch_nothing("https://example.jp/logo.png")


def test_names_cannot_carry_markup_into_it(project: Any) -> None:
    set_issuer()
    organization = ProjectFactory(organization__name='<img src="file:///etc/passwd">').organization
    invoice = InvoiceFactory(organization=organization)
    assert '<imgsrc="file:///etc/passwd">御中' in pdf_of(invoice)


def test_the_period_is_the_month(organization: Organization) -> None:
    assert paper_of(InvoiceFactory(organization=organization)).month == BillingMonth(2026, 11)
