"""Bank transfers, and how much an organization may use before it pays: 後払い枠, credit that is to be invoiced."""

from __future__ import annotations

from datetime import date

from django.db import transaction
from django.db.models import Sum
from django.utils import timezone

from portal.accounts.models import Organization
from portal.audit import recording as audit
from portal.billing import credits, ledger
from portal.billing.models import BillingAccount, Credit, CreditKind, Invoice, Payment
from portal.core.periods import day_of


class MoreThanOpen(Exception):
    """More than what is still to be paid of an invoice is not recorded for it."""


class AlreadyRecorded(Exception):
    """The same amount of the same day is recorded for the invoice: a second one needs the bank's reference."""


class BelowUsed(Exception):
    """What may be invoiced cannot be cut below what is used and not paid yet, or held for jobs."""


@transaction.atomic
def set_invoice_credit(organization: Organization, amount: int, *, by: str) -> None:
    """From now on the organization may use this many yen before it pays. Raises BelowUsed; nothing changes then."""
    if amount < 0:
        raise ValueError("What may be invoiced is not negative.")
    account = ledger.locked(organization)
    before = invoice_credit_of(organization)
    if amount > before:
        credits.grant(organization, kind=CreditKind.INVOICE, amount=amount - before, by=by)
    elif amount < before:
        _take_away(account, before - amount, by=by)
    if amount != before:
        audit.record(
            "invoice_credit.set",
            f"organization:{organization.code}",
            actor=by,
            chain=organization.code,
            detail={"before": before, "after": amount},
        )


def invoice_credit_of(organization: Organization) -> int:
    """What may be used before it is paid, used or not. Whole yen. What payments brought back is part of it already."""
    granted = Credit.objects.filter(organization=organization, kind=CreditKind.INVOICE)
    sums = granted.aggregate(
        amount=Sum("amount", default=0), expired=Sum("expired", default=0), paid=Sum("payment__amount", default=0)
    )
    return int(sums["amount"] - sums["expired"] - sums["paid"])


@transaction.atomic
def record(invoice: Invoice, *, amount: int, received_on: date, by: str, reference: str = "") -> Payment:
    """A transfer that came for the invoice. As much may be used and invoiced again.

    Raises MoreThanOpen, AlreadyRecorded; ValueError for an amount or a day that cannot be.
    """
    if amount <= 0:
        raise ValueError("A payment is more than nothing.")
    if not invoice.issued_on <= received_on <= day_of(timezone.now()):
        raise ValueError("A payment comes on a day between the invoice's and today.")
    ledger.locked(invoice.organization_id)
    known = Payment.objects.filter(invoice=invoice)
    if known.filter(amount=amount, received_on=received_on, reference=reference).exists():
        raise AlreadyRecorded(invoice.number)
    left = invoice.due - known.aggregate(paid=Sum("amount", default=0))["paid"]
    if amount > left:
        raise MoreThanOpen(left)
    payment: Payment = Payment.objects.create(
        invoice=invoice,
        amount=amount,
        received_on=received_on,
        reference=reference,
        recorded_by=by,
        credit=credits.grant(
            invoice.organization, kind=CreditKind.INVOICE, amount=amount, by=f"invoice:{invoice.number}"
        ),
    )
    audit.record(
        "payment.recorded",
        f"invoice:{invoice.number}",
        actor=by,
        chain=invoice.organization.code,
        detail={
            "amount": amount,
            "received_on": received_on.isoformat(),
            "reference": reference,
            "left": left - amount,
        },
    )
    return payment


def _take_away(account: BillingAccount, amount: int, *, by: str) -> None:
    """Unused credit to be invoiced, the newest first; what jobs hold stays."""
    unused = Credit.objects.filter(organization=account.organization_id, kind=CreditKind.INVOICE).order_by("-pk")
    if amount > min(account.available, sum(credit.left for credit in unused)):
        raise BelowUsed(amount)
    credits.withdraw(account, unused, amount, by=by)
