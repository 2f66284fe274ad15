"""The clock stands on the morning of December 3 in Japan; what is closed is November."""

import io
import json
import threading
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction
from django.db.models import Sum
from hypothesis import given
from hypothesis import strategies as st

from portal.accounts.models import Organization, Project, User
from portal.audit.models import AuditEvent
from portal.billing import credits, invoicing, periods
from portal.billing.invoicing import MonthNotOver, MoreThanInvoiced, close, tax_in
from portal.billing.issuers import NoIssuer
from portal.billing.models import (
    BillingPeriod,
    BillingProfile,
    Charge,
    CreditKind,
    Invoice,
    InvoiceDocument,
    InvoiceLine,
    InvoiceSequence,
    InvoiceTax,
    Issuer,
    Payment,
    PeriodState,
)
from portal.billing.payments import record, set_invoice_credit
from portal.billing.verification import verify
from portal.core.periods import BillingMonth
from tests.factories import OrganizationFactory, PriceFactory, ProjectFactory, ProviderFactory, UserFactory
from tests.factories.billing import jst, metered, set_issuer, taken_back

NOW = jst(2026, 12, 3, 3)
OCTOBER, NOVEMBER, DECEMBER = BillingMonth(2026, 10), BillingMonth(2026, 11), BillingMonth(2026, 12)


@pytest.fixture(autouse=True)
def clock() -> Any:
    with time_machine.travel(NOW, tick=False) as traveller:
        yield traveller


@pytest.fixture
def issuer(db: None) -> Issuer:
    return set_issuer()


@pytest.fixture
def use(project: Project, owner: User) -> Callable[..., Charge]:
    """One job of so many yen on a day of November, at the member of this slug."""
    prices: dict[tuple[str, Decimal], Any] = {}
    count = iter(range(1, 100))

    def make(
        yen: int, *, on: date = date(2026, 11, 10), slug: str = "sakura", tax: str = "10", at: Any = None
    ) -> Charge:
        key = (slug, Decimal(tax))
        prices[key] = prices.get(key) or PriceFactory(
            amount="1", minimum_s=0, tax_percent=tax, offering__provider=ProviderFactory(slug=slug), offering__site=None
        )
        start = jst(on.year, on.month, on.day)
        [charge] = metered(
            at or project, owner, prices[key], job_code=f"J-{next(count)}", started_at=start, seconds=yen, held=yen
        )
        return charge

    return make


def give(organization: Organization, kind: str, amount: int, *, days: int | None = None) -> None:
    expires_at = NOW + timedelta(days=days) if days else None
    credits.grant(organization, kind=CreditKind(kind), amount=amount, expires_at=expires_at, by="portal:test")


def closed(organization: Organization, month: BillingMonth = NOVEMBER, slug: str = "sakura") -> Invoice | None:
    return close(organization, member=ProviderFactory(slug=slug), month=month, by="operator")


def issued(organization: Organization, month: BillingMonth = NOVEMBER, slug: str = "sakura") -> Invoice:
    invoice = closed(organization, month, slug)
    assert invoice is not None
    return invoice


def lines(invoice: Invoice) -> list[tuple[str, str, int, int]]:
    """(kind, project, GPU-seconds, yen)"""
    found = InvoiceLine.objects.filter(invoice=invoice).order_by("position")
    return list(found.values_list("kind", "project_name", "gpu_seconds", "amount"))


def test_what_was_used_is_an_invoice(organization: Organization, use: Any, issuer: Issuer) -> None:
    other = ProjectFactory(organization=organization, name="another")
    set_invoice_credit(organization, 10_000, by="operator")
    use(1000), use(234), use(500, at=other), use(77, on=date(2026, 12, 1)), use(88, on=date(2026, 10, 31))
    profile = BillingProfile(organization=organization, name="経理部御中", address="東京都", purchase_order="PO-7")
    profile.payment_term_days = 45
    profile.save()
    invoice = issued(organization)
    assert lines(invoice) == [("usage", "another", 500, 500), ("usage", "llm-jp-tuning", 1234, 1234)]
    assert (invoice.number, invoice.kind, invoice.month) == ("SAKURA-000001", "invoice", date(2026, 11, 1))
    assert (invoice.issued_on, invoice.due_on) == (date(2026, 12, 3), date(2027, 1, 17))
    assert (invoice.customer_name, invoice.customer_address, invoice.purchase_order) == ("経理部御中", "東京都", "PO-7")
    assert (invoice.total, invoice.tax, invoice.prepaid, invoice.due) == (1734, 157, 0, 1734)
    assert list(InvoiceTax.objects.values_list("percent", "gross", "tax")) == [(Decimal(10), 1734, 157)]
    assert invoice.issuer == issuer
    told = AuditEvent.objects.get(act="invoice.issued")
    assert (told.subject, told.chain, told.detail["total"]) == ("invoice:SAKURA-000001", organization.code, 1734)
    assert verify() == []


def test_what_was_given_is_a_discount_and_what_was_paid_before_is_not_asked_for(
    organization: Organization, use: Any, issuer: Issuer
) -> None:
    for kind, amount, days in (
        ("trial", 100, 5),
        ("compensation", 50, 6),
        ("purchased", 300, None),
        ("invoice", 900, None),
    ):
        give(organization, kind, amount, days=days)
    use(1000)
    invoice = issued(organization)
    assert lines(invoice) == [("usage", "llm-jp-tuning", 1000, 1000), ("discount", "", 0, -150)]
    assert (invoice.total, invoice.tax, invoice.prepaid, invoice.due) == (850, 77, 300, 550)


def test_tax_is_rounded_once_for_each_rate_and_not_for_each_line(
    organization: Organization, use: Any, issuer: Issuer
) -> None:
    """Rounded by line, the five of 19 and 18 yen would have 5 yen of tax, and the sum of both rates another."""
    set_invoice_credit(organization, 10_000, by="operator")
    for n in range(5):
        use(19, at=ProjectFactory(organization=organization, name=f"p{n}"))
    for n in range(3):
        use(25, tax="8", at=ProjectFactory(organization=organization, name=f"q{n}"))
    invoice = issued(organization)
    assert list(InvoiceTax.objects.order_by("percent").values_list("percent", "gross", "tax")) == [
        (Decimal(8), 75, 5),
        (Decimal(10), 95, 8),
    ]
    assert (invoice.total, invoice.tax, len(lines(invoice))) == (170, 13, 8)


@given(
    gross=st.integers(-(10**12), 10**12),
    percent=st.sampled_from([Decimal(8), Decimal(10), Decimal("0"), Decimal("12.5")]),
)
def test_the_tax_in_an_amount_is_cut_towards_zero(gross: int, percent: Decimal) -> None:
    """By whole numbers alone: thousandths of the rate."""
    rate = int(percent * 10)
    whole = abs(gross) * rate // (1000 + rate)
    assert tax_in(gross, percent) == (whole if gross >= 0 else -whole)


def test_a_month_is_closed_once_and_takes_no_more_charges(organization: Organization, use: Any, issuer: Issuer) -> None:
    set_invoice_credit(organization, 10_000, by="operator")
    use(1000)
    first = issued(organization)
    assert periods.is_closed(organization.pk, ProviderFactory().pk, NOVEMBER)
    assert closed(organization) == first
    assert (Invoice.objects.count(), InvoiceSequence.objects.get().last) == (1, 1)
    assert [(p.state, p.month) for p in BillingPeriod.objects.all()] == [(PeriodState.CLOSED, date(2026, 11, 1))]


def test_a_month_without_charges_is_no_invoice_and_stays_open(organization: Organization, issuer: Issuer) -> None:
    assert closed(organization) is None
    assert not BillingPeriod.objects.exists() and not InvoiceSequence.objects.exists()


def test_a_month_that_cost_nothing_is_an_invoice_of_nothing(
    organization: Organization, use: Any, issuer: Issuer
) -> None:
    give(organization, "trial", 1000, days=9)
    use(600)
    invoice = issued(organization)
    assert (invoice.total, invoice.tax, invoice.due, invoice.due_on) == (0, 0, 0, None)
    assert lines(invoice) == [("usage", "llm-jp-tuning", 600, 600), ("discount", "", 0, -600)]


def test_a_month_that_is_not_over_in_japan_is_refused(organization: Organization, clock: Any) -> None:
    with pytest.raises(MonthNotOver):
        closed(organization, DECEMBER)
    clock.move_to(jst(2026, 12, 31, 23, 59, 59))
    with pytest.raises(MonthNotOver):
        closed(organization, DECEMBER)
    clock.move_to(jst(2027, 1, 1))
    assert closed(organization, DECEMBER) is None


def test_without_an_issuer_nothing_is_issued_and_the_month_stays_open(organization: Organization, use: Any) -> None:
    set_invoice_credit(organization, 10_000, by="operator")
    use(1000)
    with pytest.raises(NoIssuer):
        closed(organization)
    assert not BillingPeriod.objects.exists() and not Invoice.objects.exists()


def test_each_member_has_numbers_of_its_own_without_gaps(organization: Organization, use: Any, clock: Any) -> None:
    set_issuer(), set_issuer("kddi")
    set_invoice_credit(organization, 10_000, by="operator")
    for month, day in ((OCTOBER, date(2026, 10, 5)), (NOVEMBER, date(2026, 11, 5)), (DECEMBER, date(2026, 12, 5))):
        clock.move_to(jst(2027, 1, 3))
        use(100, on=day), use(200, on=day, slug="kddi")
        closed(organization, month), closed(organization, month, "kddi")
    numbers = list(Invoice.objects.order_by("pk").values_list("number", "total"))
    assert numbers == [(f"{slug}-{n:06d}", yen) for n in (1, 2, 3) for slug, yen in (("SAKURA", 100), ("KDDI", 200))]


# --- corrections -----------------------------------------------------------------------------------------------------


def test_what_is_taken_back_later_is_a_line_of_the_next_invoice(
    organization: Organization, use: Any, issuer: Issuer
) -> None:
    set_invoice_credit(organization, 10_000, by="operator")
    wrong = use(300, on=date(2026, 10, 10))
    october = issued(organization, OCTOBER)
    with time_machine.travel(jst(2026, 11, 20), tick=False):
        taken_back(wrong)
    use(1000)
    november = issued(organization)
    assert lines(november) == [("usage", "llm-jp-tuning", 1000, 1000), ("correction", "llm-jp-tuning", -300, -300)]
    assert InvoiceLine.objects.get(kind="correction").of_month == date(2026, 10, 1)
    assert (october.due, november.total, november.tax, november.due) == (300, 700, 63, 700)
    assert verify() == []


def test_more_taken_back_than_used_is_a_credit_note_and_the_next_invoice_asks_for_less(
    organization: Organization, use: Any, issuer: Issuer, clock: Any
) -> None:
    """What the customer pays in all is what was used in all, and what may be used is what it was."""
    set_invoice_credit(organization, 10_000, by="operator")
    wrong = use(1000, on=date(2026, 10, 10))
    october = issued(organization, OCTOBER)
    with time_machine.travel(jst(2026, 11, 20), tick=False):
        taken_back(wrong)
    use(300)
    november = issued(organization)
    assert (november.kind, november.total, november.tax) == ("credit_note", -700, -63)
    assert (november.due, november.due_on, november.carried_forward) == (0, None, -700)
    clock.move_to(jst(2027, 1, 3))
    use(900, on=date(2026, 12, 5))
    december = issued(organization, DECEMBER)
    assert (december.kind, december.total, december.brought_forward, december.due) == ("invoice", 900, -700, 200)
    for invoice in (october, december):
        record(invoice, amount=invoice.due, received_on=date(2027, 1, 3), by="operator")
    assert Payment.objects.aggregate(sum=Sum("amount"))["sum"] == 1200
    left = organization.billing_account.available  # type: ignore[attr-defined]
    assert (left, verify()) == (10_000, [])


def test_what_is_left_over_waits_for_as_long_as_it_takes(
    organization: Organization, use: Any, issuer: Issuer, clock: Any
) -> None:
    set_invoice_credit(organization, 10_000, by="operator")
    wrong = use(1000, on=date(2026, 10, 10))
    closed(organization, OCTOBER)
    with time_machine.travel(jst(2026, 11, 20), tick=False):
        taken_back(wrong)
    closed(organization)
    clock.move_to(jst(2027, 2, 3))
    use(400, on=date(2026, 12, 5)), use(700, on=date(2027, 1, 5))
    december, january = issued(organization, DECEMBER), issued(organization, BillingMonth(2027, 1))
    assert (december.brought_forward, december.due, december.carried_forward) == (-1000, 0, -600)
    assert (january.brought_forward, january.due, january.carried_forward) == (-600, 100, 0)


def test_a_credit_note_that_somebody_decides_on_gives_back_at_most_what_was_invoiced(
    organization: Organization, use: Any, issuer: Issuer
) -> None:
    set_invoice_credit(organization, 10_000, by="operator")
    use(1000)
    invoice = issued(organization)
    before = organization.billing_account.available  # type: ignore[attr-defined]
    note = invoicing.credit_note(invoice, amount=400, percent=Decimal(10), reason="障害のお詫び", by="staff:1")
    assert (note.number, note.kind, note.corrects, note.total, note.tax) == (
        "SAKURA-000002", "credit_note", invoice, -400, -36,
    )  # fmt: skip
    assert (note.due, note.carried_forward, lines(note)) == (0, 0, [("credit", "", 0, -400)])
    organization.billing_account.refresh_from_db()  # type: ignore[attr-defined]
    assert organization.billing_account.available == before + 400  # type: ignore[attr-defined]
    for amount, percent in ((601, 10), (1, 8)):
        with pytest.raises(MoreThanInvoiced):
            invoicing.credit_note(invoice, amount=amount, percent=Decimal(percent), reason="-", by="staff:1")
    invoicing.credit_note(invoice, amount=600, percent=Decimal(10), reason="-", by="staff:1")
    assert closed(organization) == invoice
    assert verify() == []


# --- interrupted, twice at once, by SQL ------------------------------------------------------------------------------


class Interrupted(Exception):
    pass


def test_interrupted_at_each_statement_it_leaves_nothing_half_and_ends_the_same(
    organization: Organization, use: Any, issuer: Issuer
) -> None:
    """The connection ends at the n-th statement, for every n; then somebody closes the month again."""
    give(organization, "trial", 100, days=9)
    set_invoice_credit(organization, 10_000, by="operator")
    use(1000)
    at, interrupted = 1, 0
    while True:
        with transaction.atomic():
            failed = _interrupt(at, lambda: closed(organization))
            whole = BillingPeriod.objects.filter(state=PeriodState.CLOSED).exists()
            assert _all_rows() == ((1, 2, 1, [1]) if whole else (0, 0, 0, []))
            invoice = issued(organization)
            assert (invoice.number, invoice.total, invoice.due) == ("SAKURA-000001", 900, 900)
            assert _all_rows() == (1, 2, 1, [1])
            assert verify() == []
            transaction.set_rollback(True)
        interrupted += failed
        if not failed:
            break
        at += 1
    assert interrupted >= 15


def _interrupt(at: int, act: Callable[[], object]) -> bool:
    """Whether the act was interrupted at its at-th statement: it runs fewer otherwise."""
    count = 0

    def end(execute: Any, *arguments: Any) -> Any:
        nonlocal count
        count += 1
        if count == at:
            raise Interrupted
        return execute(*arguments)

    try:
        with connection.execute_wrapper(end):
            act()
    except Interrupted:
        return True
    return False


def _all_rows() -> tuple[int, int, int, list[int]]:
    numbers = list(InvoiceSequence.objects.filter(last__gt=0).values_list("last", flat=True))
    return Invoice.objects.count(), InvoiceLine.objects.count(), InvoiceTax.objects.count(), numbers


@pytest.mark.django_db(transaction=True)
def test_of_two_closes_at_once_one_makes_the_invoice_and_both_have_it() -> None:
    """Eight organizations, each closed by two at the same moment."""
    set_issuer()
    price = PriceFactory(amount="1", minimum_s=0, offering__provider=ProviderFactory())
    places = []
    for n in range(8):
        project = ProjectFactory(organization=OrganizationFactory())
        set_invoice_credit(project.organization, 1000, by="operator")
        metered(
            project, UserFactory(), price, job_code=f"J-{n}", started_at=jst(2026, 11, 5), seconds=100 + n, held=500
        )
        places.append(project.organization)
    start, numbers = threading.Barrier(16), []

    def work(organization: Organization) -> None:
        start.wait()
        numbers.append(issued(organization).number)
        connection.close()

    threads = [threading.Thread(target=work, args=[place]) for place in places for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == sorted(f"SAKURA-{n:06d}" for n in range(1, 9) for _ in range(2))
    assert sorted(Invoice.objects.values_list("sequence", flat=True)) == list(range(1, 9))
    assert sorted(Invoice.objects.values_list("total", flat=True)) == list(range(100, 108))


REFUSED = [
    change
    for table, column in (
        ("billing_invoice", "total"),
        ("billing_invoiceline", "amount"),
        ("billing_invoicetax", "tax"),
        ("billing_payment", "amount"),
        ("billing_issuer", "name"),
        ("billing_invoicedocument", "sha256"),
    )
    for change in (
        f"UPDATE {table} SET {column} = {column}",
        f"UPDATE {table} SET {column} = '1' WHERE id > 0",
        f"DELETE FROM {table}",
        f"TRUNCATE {table} CASCADE",
    )
]


@pytest.mark.parametrize("change", REFUSED)
def test_the_database_itself_refuses_to_change_what_is_issued(
    organization: Organization, use: Any, issuer: Issuer, change: str
) -> None:
    set_invoice_credit(organization, 10_000, by="operator")
    use(1000)
    invoice = issued(organization)
    record(invoice, amount=10, received_on=date(2026, 12, 3), by="operator")
    InvoiceDocument.objects.create(invoice=invoice, language="ja", body=b"%PDF", sha256="0" * 64)
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")  # no check of a key is pending: it is the trigger that refuses
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(change)


def test_there_are_two_dozen_of_these_changes() -> None:
    assert len(set(REFUSED)) == 24


def test_the_database_refuses_invoices_that_do_not_add_up(organization: Organization, use: Any, issuer: Issuer) -> None:
    set_invoice_credit(organization, 10_000, by="operator")
    use(1000)
    invoice = issued(organization)
    for wrong in (
        {"due": 999},
        {"kind": "credit_note"},
        {"due_on": None},
        {"sequence": 1, "month": date(2026, 9, 1)},
        {},
    ):
        copy = Invoice(**{f.attname: getattr(invoice, f.attname) for f in Invoice._meta.fields if f.name != "id"})
        copy.number = "OTHER"
        if "sequence" not in wrong:
            copy.sequence = 99
        if wrong and "month" not in wrong:
            copy.month = date(2026, 9, 1)
        for name, value in wrong.items():
            setattr(copy, name, value)
        with pytest.raises(IntegrityError), transaction.atomic():
            copy.save()


# --- the command -----------------------------------------------------------------------------------------------------


def run(*arguments: str) -> tuple[int, dict[str, Any]]:
    out = io.StringIO()
    try:
        call_command("close_month", *arguments, stdout=out)
    except SystemExit as left:
        return int(str(left.code)), json.loads(out.getvalue())
    return 0, json.loads(out.getvalue())


def test_the_command_closes_last_month_and_what_was_left_open_before(
    organization: Organization, use: Any, issuer: Issuer
) -> None:
    set_invoice_credit(organization, 10_000, by="operator")
    use(100, on=date(2026, 9, 30)), use(200), use(300, slug="kddi"), use(400, on=date(2026, 12, 1))
    place = {"organization": organization.code, "member": "sakura"}
    first = {**place, "month": "2026-09", "invoice": "SAKURA-000001", "total": 100, "due": 100}
    second = {**place, "month": "2026-11", "invoice": "SAKURA-000002", "total": 200, "due": 200}
    kddi = {"organization": organization.code, "member": "kddi", "month": "2026-11"}
    waiting = {**kddi, "problem": "no issuer is set for the member"}
    assert run() == (1, {"month": "2026-11", "closed": [first, waiting, second]})
    assert run() == (1, {"month": "2026-11", "closed": [waiting]})
    set_issuer("kddi")
    made = {**kddi, "invoice": "KDDI-000001", "total": 300, "due": 300}
    assert run("2026-11", "--organization", organization.code) == (0, {"month": "2026-11", "closed": [made]})
    assert run() == (0, {"month": "2026-11", "closed": []})


def test_the_command_looks_at_one_organization_when_asked(organization: Organization, use: Any, issuer: Issuer) -> None:
    set_invoice_credit(organization, 10_000, by="operator")
    use(100)
    other = OrganizationFactory()
    assert run("--organization", other.code) == (0, {"month": "2026-11", "closed": []})
    assert not Invoice.objects.exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["2026-12"], "not over"), (["2026-13"], "No month"), (["--organization", "o-nobody"], "no organization")],
)
def test_the_command_refuses_nonsense(db: None, arguments: list[str], words: str) -> None:
    with pytest.raises(CommandError, match=words):
        run(*arguments)
