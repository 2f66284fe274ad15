"""Random months are invoiced, and derived again from raw usage by a second program, written apart: whole numbers and
fractions, plain rows, nothing of portal.billing."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date, timedelta
from fractions import Fraction

import pytest
import time_machine
from django.db import connection
from django.template.loader import render_to_string

from portal.accounts.models import Organization, Project, User
from portal.billing import credits, invoicing
from portal.billing.documents import paper_of
from portal.billing.models import CreditKind, Invoice
from portal.catalog.models import Price
from portal.core.periods import BillingMonth
from tests.factories import OrganizationFactory, PriceFactory, ProjectFactory, ProviderFactory
from tests.factories.billing import jst, metered, set_issuer

NOW = jst(2026, 12, 3, 3)


# --- the second program ----------------------------------------------------------------------------------------------


@dataclass
class Expected:
    lines: list[tuple[str, Fraction, int]] = field(default_factory=list)  # (project, percent, yen), discounts under ""
    taxes: dict[Fraction, tuple[int, int]] = field(default_factory=dict)  # percent: (gross, tax)
    total: int = 0
    prepaid: int = 0
    due: int = 0


def derived(organization: Organization) -> Expected:
    """What November must cost, from records, prices and credits as they lie in the database."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT r.job_code, j.name, p.amount, p.tax_percent, r.seconds FROM usage_usagerecord r"
            " JOIN catalog_price p ON p.id = r.price_id JOIN accounts_project j ON j.id = r.project_id"
            " WHERE r.organization_id = %s ORDER BY r.id",
            [organization.pk],
        )
        records = cursor.fetchall()
        cursor.execute(
            "SELECT kind, amount, expires_at, id FROM billing_credit WHERE organization_id = %s", [organization.pk]
        )
        purse = sorted(cursor.fetchall(), key=lambda c: (c[0] == "invoice", c[2] is None, c[2] or NOW, c[3]))
    left = [amount for _kind, amount, _expires, _id in purse]
    so_far: dict[str, Fraction] = defaultdict(Fraction)
    by_line: dict[tuple[str, Fraction], int] = defaultdict(int)
    paid_by: dict[tuple[str, Fraction], int] = defaultdict(int)
    for job, project, price, tax, seconds in records:
        percent, before = Fraction(tax), int(so_far[job])
        so_far[job] += Fraction(price) * seconds
        yen = int(so_far[job]) - before
        by_line[project, percent] += yen
        for place, (kind, *_rest) in enumerate(purse):
            part = min(yen, left[place])
            left[place] -= part
            yen -= part
            paid_by[kind, percent] += part
    result = Expected(sorted((project, percent, yen) for (project, percent), yen in by_line.items()))
    for percent in sorted({percent for _project, percent in by_line}):
        given = sum(paid_by[kind, percent] for kind in ("trial", "grant", "refund", "compensation"))
        gross = sum(yen for (_p, rate), yen in by_line.items() if rate == percent) - given
        result.taxes[percent] = (gross, int(gross * percent / (100 + percent)))
        if given:
            result.lines.append(("", percent, -given))
        result.total += gross
        result.prepaid += paid_by["purchased", percent]
        result.due += paid_by["invoice", percent]
    return result


# --- random months ---------------------------------------------------------------------------------------------------


def random_month(dice: random.Random, prices: list[Price], user: User, number: int) -> Organization:
    organization = OrganizationFactory(name=f"組織{number}")
    for _ in range(dice.randrange(4)):
        days = dice.choice([None, dice.randrange(1, 60)])
        kind = dice.choice([CreditKind.GRANT, CreditKind.PURCHASED, CreditKind.COMPENSATION, CreditKind.REFUND])
        expires_at = NOW + timedelta(days=days) if days else None
        credits.grant(organization, kind=kind, amount=dice.randrange(1, 3000), expires_at=expires_at, by="test")
    credits.grant(organization, kind=CreditKind.INVOICE, amount=10**7, by="test")
    projects: list[Project] = [
        ProjectFactory(organization=organization, name=f"p{n}") for n in range(dice.randrange(1, 4))
    ]
    for job in range(dice.randrange(1, 4)):
        code, price, project = f"J-{number}-{job}", dice.choice(prices), dice.choice(projects)
        for piece in range(dice.randrange(1, 3)):
            start = jst(2026, 11, 1 + 3 * job + piece, dice.randrange(20))
            seconds = dice.randrange(1, 9000)
            metered(project, user, price, job_code=code, started_at=start, seconds=seconds, held=100_000)
    return organization


def six_items_of(invoice: Invoice) -> list[str]:
    issuer = invoice.issuer
    assert issuer.registration_number.startswith("T")
    html = render_to_string("billing/invoices/pdf.html", {"paper": paper_of(invoice), "language": "ja"})
    text = re.sub(r"\s+", "", re.sub(r"<[^>]+>", "", html.partition("<body>")[2]))
    items = [
        f"{issuer.name}{issuer.address}登録番号:{issuer.registration_number}",
        "取引期間2026年11月1日〜2026年11月30日",
        "高火力DOK",
        f"{invoice.organization.name}御中",
    ]
    for tax in invoice.taxes.all():
        items.append(f"{tax.percent:.0f}%対象{_yen(tax.gross)}{_yen(tax.tax)}")
        if tax.percent == 8:
            items.append("※は軽減税率の対象です。")
    return [item for item in items if item not in text]


def _yen(amount: int) -> str:
    return f"{'-' if amount < 0 else ''}¥{abs(amount):,}"


def check(count: int, user: User, seed: int) -> None:
    dice = random.Random(seed)
    with time_machine.travel(NOW, tick=False):
        set_issuer()
        prices = [
            PriceFactory(amount=amount, minimum_s=0, tax_percent=tax, offering__provider=ProviderFactory())
            for amount, tax in (("0.28", "10"), ("1", "10"), ("0.013700", "10"), ("0.057", "8"))
        ]
        for number in range(1, count + 1):
            if number % 100 == 0:
                _know_sizes()
            organization = random_month(dice, prices, user, number)
            invoice = invoicing.close(
                organization, member=ProviderFactory(), month=BillingMonth(2026, 11), by="portal:test"
            )
            assert invoice is not None and invoice.number == f"SAKURA-{number:06d}"
            expected = derived(organization)
            lines = sorted(_summed(invoice), key=lambda line: (line[0] == "", line))
            assert lines == sorted(expected.lines, key=lambda line: (line[0] == "", line)), (seed, number)
            taxes = {Fraction(tax.percent): (tax.gross, tax.tax) for tax in invoice.taxes.all()}
            assert taxes == expected.taxes, (seed, number)
            found = (invoice.total, invoice.tax, invoice.prepaid, invoice.due, sum(line[2] for line in lines))
            tax = sum(part for _gross, part in expected.taxes.values())
            right = (expected.total, tax, expected.prepaid, expected.due, expected.total)
            assert found == right, (seed, number)
            assert six_items_of(invoice) == [], (seed, number)


def _know_sizes() -> None:
    """As the database does by itself where transactions end: this test is one."""
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE billing_charge, billing_credituse, billing_credit, usage_usagerecord")


def _summed(invoice: Invoice) -> list[tuple[str, Fraction, int]]:
    sums: dict[tuple[str, Fraction], int] = defaultdict(int)
    for line in invoice.lines.all():
        sums[line.project_name, Fraction(line.percent)] += line.amount
    return [(project, percent, yen) for (project, percent), yen in sums.items()]


def test_200_random_invoices_are_what_the_second_program_derives(owner: User) -> None:
    check(200, owner, seed=20261203)


@pytest.mark.faults_full
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("seed", range(10))
def test_10_000_random_invoices_are_what_the_second_program_derives(owner: User, seed: int) -> None:
    check(1000, owner, seed=seed)
    assert date(2026, 11, 1) == Invoice.objects.latest("pk").month
