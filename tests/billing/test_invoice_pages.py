import csv
import io
import re
from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
import time_machine
from django.test import Client

from portal.accounts.models import Organization, Project, User
from portal.accounts.roles import Role
from portal.billing import documents
from portal.billing.models import BillingProfile, InvoiceDocument
from portal.billing.payments import record
from tests.factories import InvoiceFactory, MembershipFactory, OrganizationFactory, ProviderFactory
from tests.factories.billing import jst

SignIn = Callable[..., Client]


@pytest.fixture(autouse=True)
def clock() -> Any:
    with time_machine.travel(jst(2026, 12, 24, 12)):
        yield


def text_of(response: Any) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode()))


def numbers(response: Any) -> list[str]:
    assert response.status_code == 200
    return [row.number for row, _state in response.context["rows"]]


@pytest.fixture
def three(organization: Organization) -> None:
    """Of October, November and, by another issuer, November."""
    for number, month, day, total, slug in (
        ("SAKURA-000001", 10, date(2026, 11, 3), 1000, "sakura"),
        ("SAKURA-000002", 11, date(2026, 12, 3), 2000, "sakura"),
        ("KDDI-000001", 11, date(2026, 12, 4), 3000, "kddi"),
    ):
        InvoiceFactory(
            organization=organization,
            member=ProviderFactory(slug=slug),
            number=number,
            month=date(2026, month, 1),
            issued_on=day,
            total=total,
            due=total,
        )


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("", ["KDDI-000001", "SAKURA-000002", "SAKURA-000001"]),
        ("since=2026-11-03&until=2026-12-03", ["SAKURA-000002", "SAKURA-000001"]),
        ("since=2026-12-04", ["KDDI-000001"]),
        ("least=1,001", ["KDDI-000001", "SAKURA-000002"]),
        ("least=２０００&most=2000円", ["SAKURA-000002"]),
        ("issuer=kddi", ["KDDI-000001"]),
        ("number=-000001", ["KDDI-000001", "SAKURA-000001"]),
        ("number=ｓａｋｕｒａ&until=2026-11-30", ["SAKURA-000001"]),
        ("issuer=sakura&least=1500", ["SAKURA-000002"]),
        ("most=999", []),
        ("since=nonsense&least=x&issuer=nobody", ["KDDI-000001", "SAKURA-000002", "SAKURA-000001"]),
    ],
)
def test_invoices_are_found_by_day_amount_issuer_and_number_together(
    three: None, billing: User, client_of: SignIn, search: str, found: list[str]
) -> None:
    response = client_of(billing).get(f"/usage/invoices/?{search}")
    assert numbers(response) == found
    assert set(response.context["form"].errors) == ({"since", "least", "issuer"} if "nonsense" in search else set())


def test_pages_follow_each_other_with_the_search_kept(
    organization: Organization, billing: User, client_of: SignIn
) -> None:
    for n in range(60):
        InvoiceFactory(
            organization=organization, number=f"S-{n:03d}", sequence=n + 1, month=date(1980 + n // 12, n % 12 + 1, 1)
        )
    client = client_of(billing)
    first = client.get("/usage/invoices/?least=1")
    second = client.get(f"/usage/invoices/{first.context['older_url']}")
    assert numbers(first) + numbers(second) == [f"S-{n:03d}" for n in reversed(range(60))]
    assert (first.context["newer_url"], second.context["older_url"]) == ("", "")
    assert "least=1" in first.context["older_url"]
    assert numbers(client.get(f"/usage/invoices/{second.context['newer_url']}")) == numbers(first)
    for wrong in ("before=x", "after=99999999999999999999", "before=-1"):
        assert client.get(f"/usage/invoices/?{wrong}").status_code == 404


def test_an_invoice_says_how_far_it_is_paid(organization: Organization, viewer: User, client_of: SignIn) -> None:
    invoice = InvoiceFactory(organization=organization)
    client = client_of(viewer)
    assert "未入金 ご請求額 ¥1,100 入金額 ¥0 未入金額 ¥1,100" in text_of(
        client.get(f"/usage/invoices/{invoice.number}/")
    )
    record(invoice, amount=100, received_on=date(2026, 12, 23), by="operator")
    page = text_of(client.get(f"/usage/invoices/{invoice.number}/"))
    assert "一部入金 ご請求額 ¥1,100 入金額 ¥100 未入金額 ¥1,000" in page
    assert "2026年12月23日の振り込み ¥100" in page


def test_another_tenants_invoice_does_not_exist(
    organization: Organization, project: Project, billing: User, client_of: SignIn
) -> None:
    theirs, ours = InvoiceFactory(organization=OrganizationFactory()), InvoiceFactory(organization=organization)
    of_project = MembershipFactory(organization=organization, project=project, role=Role.MEMBER).user
    for page in ("", "pdf/", "csv/"):
        assert client_of(billing).get(f"/usage/invoices/{theirs.number}/{page}").status_code == 404
        assert client_of(of_project).get(f"/usage/invoices/{ours.number}/{page}").status_code == 404
    assert numbers(client_of(billing).get("/usage/invoices/")) == [ours.number]


@pytest.mark.skipif(not documents.is_available(), reason="Pango or the Japanese font is missing")
def test_the_pdf_is_the_stored_one(organization: Organization, billing: User, client_of: SignIn) -> None:
    invoice = InvoiceFactory(organization=organization)
    for language in ("ja", "en"):
        response = client_of(billing, language).get(f"/usage/invoices/{invoice.number}/pdf/")
        stored = InvoiceDocument.objects.get(invoice=invoice, language=language)
        assert (response["Content-Type"], response.content) == ("application/pdf", bytes(stored.body))
        assert response["Content-Disposition"] == f'attachment; filename="{invoice.number}-{language}.pdf"'


@pytest.mark.parametrize("missing", ["PANGO", "FONT"])
def test_a_server_that_makes_no_pdf_says_so_and_still_gives_those_that_are_there(
    organization: Organization, billing: User, client_of: SignIn, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setattr(documents, missing, "no-such-file")
    documents.is_available.cache_clear()
    documents._has_font.cache_clear()
    try:
        invoice, client = InvoiceFactory(organization=organization), client_of(billing)
        sentence = "このサーバーでは請求書のPDFを利用できません。"
        assert sentence in text_of(client.get(f"/usage/invoices/{invoice.number}/"))
        assert sentence in text_of(client.get(f"/usage/invoices/{invoice.number}/pdf/", follow=True))
        InvoiceDocument.objects.create(invoice=invoice, language="ja", body=b"%PDF-there", sha256="0" * 64)
        assert client.get(f"/usage/invoices/{invoice.number}/pdf/").content == b"%PDF-there"
        assert sentence not in text_of(client.get(f"/usage/invoices/{invoice.number}/"))
    finally:
        monkeypatch.undo()
        documents.is_available.cache_clear()
        documents._has_font.cache_clear()


def test_the_csv_has_the_lines_and_their_sum_is_the_total(
    organization: Organization, billing: User, client_of: SignIn
) -> None:
    invoice = InvoiceFactory(organization=organization, lines=3)
    response = client_of(billing).get(f"/usage/invoices/{invoice.number}/csv/")
    body = b"".join(response.streaming_content).decode("utf-8-sig")  # type: ignore[attr-defined]
    header, *rows = csv.reader(io.StringIO(body))
    assert header[-1] == "金額（円、税込）"
    usual = [invoice.number, "利用", "さくらインターネット", "高火力 DOK H100"]
    assert rows[0] == [*usual, "project 1", "2026-11", "3600", "10.0", "1098"]
    assert sum(int(row[-1]) for row in rows) == invoice.total


def test_the_address_is_set_by_whoever_may_and_read_back(
    organization: Organization, billing: User, member: User, client_of: SignIn
) -> None:
    sent = {
        "name": "株式会社ミライ",
        "department": "経理部",
        "postal_code": "〒１００－０００１",
        "address": "東京都千代田区",
        "purchase_order": "PO-1",
        "payment_term_days": "60",
    }
    client = client_of(billing)
    assert client.post("/usage/invoices/address/", sent).status_code == 302
    profile = BillingProfile.objects.get(organization=organization)
    assert (profile.name, profile.postal_code, profile.payment_term_days) == ("株式会社ミライ", "100-0001", 60)
    assert 'value="100-0001"' in client.get("/usage/invoices/address/").content.decode()
    for wrong in ({"postal_code": "123"}, {"payment_term_days": "61"}, {"payment_term_days": ""}):
        assert client.post("/usage/invoices/address/", sent | wrong).status_code == 422
    assert client_of(member).post("/usage/invoices/address/", sent).status_code == 403
    profile.refresh_from_db()
    assert profile.payment_term_days == 60
