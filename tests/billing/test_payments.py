from datetime import date
from typing import Any

import pytest
import time_machine
from django.core.management import CommandError, call_command

from portal.accounts.models import Organization, Project, User
from portal.audit.models import AuditEvent
from portal.billing import holds, invoicing, payments
from portal.billing.models import BillingAccount, Invoice, Payment, PaymentState
from portal.billing.payments import AlreadyRecorded, BelowUsed, MoreThanOpen, invoice_credit_of, set_invoice_credit
from portal.billing.verification import verify
from portal.core.periods import BillingMonth
from tests.factories import PriceFactory, ProviderFactory
from tests.factories.billing import jst, metered, set_issuer

NOW = jst(2026, 12, 3, 3)


@pytest.fixture(autouse=True)
def clock() -> Any:
    with time_machine.travel(NOW, tick=False) as traveller:
        yield traveller


@pytest.fixture
def invoice(project: Project, owner: User) -> Invoice:
    """Of 1,000 yen used in November, of 5,000 that may be."""
    set_issuer()
    set_invoice_credit(project.organization, 5000, by="operator")
    price = PriceFactory(amount="1", minimum_s=0, offering__provider=ProviderFactory())
    metered(project, owner, price, job_code="J-1", started_at=jst(2026, 11, 10), seconds=1000, held=1000)
    found = invoicing.close(project.organization, member=ProviderFactory(), month=BillingMonth(2026, 11), by="operator")
    assert found is not None
    return found


def available(organization: Organization) -> int:
    return BillingAccount.objects.get(organization=organization).available


def state(invoice: Invoice, today: date = date(2026, 12, 3)) -> PaymentState:
    found: Invoice = Invoice.objects.with_payments().get(pk=invoice.pk)
    return found.state(today)


def test_a_payment_brings_back_what_may_be_used(invoice: Invoice) -> None:
    assert (invoice.due, available(invoice.organization), state(invoice)) == (1000, 4000, PaymentState.ISSUED)
    payments.record(invoice, amount=400, received_on=date(2026, 12, 3), by="operator")
    assert (available(invoice.organization), state(invoice)) == (4400, PaymentState.PARTLY_PAID)
    payments.record(invoice, amount=600, received_on=date(2026, 12, 3), by="operator")
    assert (available(invoice.organization), state(invoice)) == (5000, PaymentState.PAID)
    assert invoice_credit_of(invoice.organization) == 5000
    assert verify() == []


def test_an_invoice_is_overdue_on_the_day_after_its_last(invoice: Invoice) -> None:
    assert invoice.due_on == date(2027, 1, 2)
    assert state(invoice, date(2027, 1, 2)) == PaymentState.ISSUED
    assert state(invoice, date(2027, 1, 3)) == PaymentState.OVERDUE


def test_more_than_is_open_is_refused_and_nothing_stored(invoice: Invoice) -> None:
    payments.record(invoice, amount=999, received_on=date(2026, 12, 3), by="operator")
    with pytest.raises(MoreThanOpen) as refused:
        payments.record(invoice, amount=2, received_on=date(2026, 12, 3), by="operator")
    assert (refused.value.args, Payment.objects.count(), available(invoice.organization)) == ((1,), 1, 4999)


def test_the_same_transfer_is_recorded_once_and_another_alike_by_its_reference(invoice: Invoice) -> None:
    paid = {"amount": 300, "received_on": date(2026, 12, 3), "by": "operator"}
    payments.record(invoice, **paid)  # type: ignore[arg-type]
    with pytest.raises(AlreadyRecorded):
        payments.record(invoice, **paid)  # type: ignore[arg-type]
    payments.record(invoice, reference="B-2", **paid)  # type: ignore[arg-type]
    assert [p.amount for p in Payment.objects.all()] == [300, 300]


@pytest.mark.parametrize(
    ("amount", "received_on"),
    [(0, date(2026, 12, 3)), (-5, date(2026, 12, 3)), (5, date(2026, 12, 4)), (5, date(2026, 12, 2))],
)
def test_what_cannot_be_is_refused(invoice: Invoice, amount: int, received_on: date) -> None:
    with pytest.raises(ValueError, match=r"^A payment"):
        payments.record(invoice, amount=amount, received_on=received_on, by="operator")
    assert not Payment.objects.exists()


def test_what_may_be_invoiced_is_set_and_not_added(organization: Organization, project: Project) -> None:
    for amount in (1000, 1000, 700, 900):
        set_invoice_credit(organization, amount, by="operator")
        assert (invoice_credit_of(organization), available(organization)) == (amount, amount)
    told = AuditEvent.objects.filter(act="invoice_credit.set").order_by("sequence")
    assert [(e.detail["before"], e.detail["after"]) for e in told] == [(0, 1000), (1000, 700), (700, 900)]
    assert verify() == []


def test_it_is_not_cut_below_what_is_used_or_held(invoice: Invoice, project: Project) -> None:
    holds.hold(project.organization, project=project, job_code="J-2", amount=500, by="portal:test")
    with pytest.raises(BelowUsed):
        set_invoice_credit(project.organization, 1499, by="operator")
    assert (invoice_credit_of(project.organization), available(project.organization)) == (5000, 3500)
    set_invoice_credit(project.organization, 1500, by="operator")
    assert (invoice_credit_of(project.organization), available(project.organization)) == (1500, 0)
    assert verify() == []


def test_the_commands_say_what_became_of_it(invoice: Invoice, capsys: pytest.CaptureFixture[str]) -> None:
    code = invoice.organization.code
    call_command("set_invoice_credit", code, "6000")
    call_command("record_payment", invoice.number, "400", "2026-12-03")
    call_command("set_invoice_credit", code)
    assert capsys.readouterr().out.splitlines() == [
        f"{code}: 6,000 yen may be invoiced.",
        "SAKURA-000001: 400 of 1,000 yen are recorded.",
        f"{code}: 6,000 yen may be invoiced.",
    ]
    for arguments, words in {
        ("set_invoice_credit", "o-nobody"): "no organization o-nobody",
        ("set_invoice_credit", code, "10"): "used and not paid yet",
        ("set_invoice_credit", code, "-1"): "not negative",
        ("record_payment", "SAKURA-9", "1", "2026-12-03"): "no invoice SAKURA-9",
        ("record_payment", invoice.number, "601", "2026-12-03"): "600 yen are to be paid still",
        ("record_payment", invoice.number, "400", "2026-12-03"): "recorded already",
        ("record_payment", invoice.number, "1", "yesterday"): "Invalid isoformat",
    }.items():
        with pytest.raises(CommandError, match=words):
            call_command(*arguments)
