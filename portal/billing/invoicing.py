"""A month is closed: what one member charged one organization in it becomes one invoice, once and for good.

Two transactions. The first takes the account's lock, which every charge takes too, and says that the month is closing:
from then on what belongs to it is booked on a later day (periods.py). The second makes the invoice of charges that no
longer change, while jobs go on being charged. Whoever is interrupted leaves a month that is closing, and nothing else;
the next call goes on from there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import ROUND_DOWN, Decimal

from django.db import connection, transaction
from django.db.models import F, QuerySet, Sum
from django.utils import timezone

from portal.accounts.models import Organization
from portal.audit import recording as audit
from portal.billing import credits, issuers, ledger
from portal.billing.issuers import NoIssuer
from portal.billing.models import (
    GIVEN,
    BillingPeriod,
    BillingProfile,
    Charge,
    CreditKind,
    CreditUse,
    Invoice,
    InvoiceKind,
    InvoiceLine,
    InvoiceSequence,
    InvoiceTax,
    Issuer,
    LineKind,
    PeriodState,
)
from portal.catalog.models import Provider
from portal.core.periods import BillingMonth, billing_month, day_of


class MonthNotOver(Exception):
    """A month is closed when it is over in Japan."""


class MoreThanInvoiced(Exception):
    """A credit note gives back at most what its invoice charged at that tax rate, less what was given back before."""


@dataclass(frozen=True)
class Outcome:
    """What became of one member's month at one organization. `problem`: why it is still open."""

    organization: Organization
    member: Provider
    month: BillingMonth
    invoice: Invoice | None = None
    problem: str = ""


def close_months(until: BillingMonth, *, by: str, organization: Organization | None = None) -> Iterator[Outcome]:
    """Close every month up to this one that has charges and is open, oldest first, each by itself: one that cannot be
    closed holds up no other. Raises MonthNotOver before the first."""
    _require_over(until)
    for organization_id, member_id, month in _open_months(until, organization):
        place, member = Organization.objects.get(pk=organization_id), Provider.objects.get(pk=member_id)
        try:
            yield Outcome(place, member, month, invoice=close(place, member=member, month=month, by=by))
        except NoIssuer:
            yield Outcome(place, member, month, problem="no issuer is set for the member")


def close(organization: Organization, *, member: Provider, month: BillingMonth, by: str) -> Invoice | None:
    """Close the month and issue its invoice, or its credit note where corrections gave back more than was used.

    None: nothing was charged. Closed already: what was issued then. Raises MonthNotOver; NoIssuer where there is
    something to invoice and nobody who issues it: the month stays open.
    """
    _require_over(month)
    today = day_of(timezone.now())
    if not _charges(organization, member, month).exists():
        return None
    issuer = issuers.issuer_of(member, on=today)
    with transaction.atomic():
        ledger.locked(organization)
        BillingPeriod.objects.get_or_create(organization=organization, issuer=member, month=month.first_day)
        BillingPeriod.objects.filter(
            organization=organization, issuer=member, month=month.first_day, state=PeriodState.OPEN
        ).update(state=PeriodState.CLOSING)
    with transaction.atomic():
        period = BillingPeriod.objects.select_for_update().get(
            organization=organization, issuer=member, month=month.first_day
        )
        if period.state != PeriodState.CLOSED:
            _issue(organization, member, month, issuer=issuer, today=today, by=by)
            period.state, period.closed_at = PeriodState.CLOSED, timezone.now()
            period.save(update_fields=["state", "closed_at"])
    found: Invoice | None = Invoice.objects.filter(
        organization=organization, member=member, month=month.first_day, corrects=None
    ).first()
    return found


def tax_in(gross: int, percent: Decimal) -> int:
    """The consumption tax in an amount that includes it, cut to whole yen towards zero: once per invoice and rate."""
    return int((gross * percent / (100 + percent)).quantize(Decimal(1), ROUND_DOWN))


@transaction.atomic
def credit_note(invoice: Invoice, *, amount: int, percent: Decimal, reason: str, by: str) -> Invoice:
    """Give back part of an invoice, as somebody with the right to has decided: a document with its own number that
    names the invoice, and as much credit as if it had been paid before. Raises MoreThanInvoiced."""
    if amount <= 0:
        raise ValueError("A credit note gives back more than nothing.")
    ledger.locked(invoice.organization_id)
    member = invoice.member
    charged = InvoiceTax.objects.filter(invoice=invoice, percent=percent).aggregate(gross=Sum("gross", default=0))
    before = InvoiceTax.objects.filter(invoice__corrects=invoice, percent=percent)
    left = charged["gross"] + before.aggregate(gross=Sum("gross", default=0))["gross"]
    if amount > left:
        raise MoreThanInvoiced(left)
    today = day_of(timezone.now())
    note = _numbered(
        invoice.organization,
        member,
        BillingMonth(invoice.month.year, invoice.month.month),
        issuer=issuers.issuer_of(member, on=today),
        today=today,
        sums=_Sums({percent: -amount}, prepaid=-amount),
        corrects=invoice,
        reason=reason,
    )
    line = InvoiceLine(
        invoice=note, position=1, kind=LineKind.CREDIT, of_month=invoice.month, percent=percent, amount=-amount
    )
    InvoiceLine.objects.bulk_create([line])
    credits.grant(invoice.organization, kind=CreditKind.PURCHASED, amount=amount, by=f"invoice:{note.number}")
    _tell(note, by=by)
    return note


@dataclass
class _Sums:
    """Whole yen with tax: by rate what is invoiced, what of it was paid before, what was given without payment."""

    gross: dict[Decimal, int]
    prepaid: int = 0
    given: dict[Decimal, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return sum(self.gross.values())

    @property
    def taxes(self) -> dict[Decimal, int]:
        return {percent: tax_in(gross, percent) for percent, gross in self.gross.items()}


def _require_over(month: BillingMonth) -> None:
    if month >= billing_month(timezone.now()):
        raise MonthNotOver(str(month))


def _open_months(until: BillingMonth, organization: Organization | None) -> list[tuple[int, int, BillingMonth]]:
    """(organization, member, month) with charges, read from the daily sums, which are few; which members charged there
    is asked of the charges of those months alone."""
    with connection.cursor() as cursor:
        cursor.execute(_OPEN, {"last": until.last_day, "organization": organization.pk if organization else None})
        return [(pk, member, BillingMonth(day.year, day.month)) for pk, member, day in cursor.fetchall()]


# A member's charges of one organization and month: an index finds the first of them.
_OPEN = """
SELECT used.organization_id, member.id, used.month
FROM (
    SELECT DISTINCT organization_id, date_trunc('month', day)::date AS month FROM billing_dailycharge
    WHERE day <= %(last)s AND (%(organization)s::bigint IS NULL OR organization_id = %(organization)s)
) AS used
CROSS JOIN catalog_provider member
WHERE NOT EXISTS (
    SELECT FROM billing_billingperiod period
    WHERE period.organization_id = used.organization_id AND period.issuer_id = member.id
      AND period.month = used.month AND period.state = 'closed'
) AND EXISTS (
    SELECT FROM billing_charge charge
    WHERE charge.organization_id = used.organization_id AND charge.contracting_member_id = member.id
      AND charge.day >= used.month AND charge.day < (used.month + interval '1 month')::date
)
ORDER BY used.month, used.organization_id, member.position, member.id
"""


def _charges(organization: Organization, member: Provider, month: BillingMonth) -> QuerySet[Charge]:
    charges: QuerySet[Charge] = Charge.objects.filter(
        organization=organization, contracting_member=member, day__range=(month.first_day, month.last_day)
    )
    return charges


def _issue(
    organization: Organization, member: Provider, month: BillingMonth, *, issuer: Issuer, today: date, by: str
) -> None:
    sums = _sums(organization, member, month)
    invoice = _numbered(organization, member, month, issuer=issuer, today=today, sums=sums)
    position = _write_lines(invoice)
    InvoiceLine.objects.bulk_create(
        InvoiceLine(invoice=invoice, position=position + n, kind=LineKind.DISCOUNT, percent=percent, amount=-given)
        for n, (percent, given) in enumerate(sorted(sums.given.items()), start=1)
        if given
    )
    lines = InvoiceLine.objects.filter(invoice=invoice).aggregate(amount=Sum("amount", default=0))["amount"]
    if lines != invoice.total:
        raise RuntimeError(f"The charges of {month} are not the credits used for them: verify_ledger tells where.")
    _tell(invoice, by=by)


def _sums(organization: Organization, member: Provider, month: BillingMonth) -> _Sums:
    """From the credits that the charges were taken from. A month that cost nothing has its rate all the same."""
    sums = _Sums(
        dict.fromkeys(_charges(organization, member, month).values_list("tax_percent", flat=True).distinct(), 0)
    )
    uses = CreditUse.objects.filter(
        charge__organization=organization,
        charge__contracting_member=member,
        charge__day__range=(month.first_day, month.last_day),
    ).order_by()
    by_kind = uses.values(kind=F("credit__kind"), percent=F("charge__tax_percent")).annotate(amount=Sum("amount"))
    for used in by_kind:
        if used["kind"] in GIVEN:
            sums.given[used["percent"]] = sums.given.get(used["percent"], 0) + used["amount"]
            continue
        sums.gross[used["percent"]] += used["amount"]
        if used["kind"] == CreditKind.PURCHASED:
            sums.prepaid += used["amount"]
    return sums


def _numbered(
    organization: Organization,
    member: Provider,
    month: BillingMonth,
    *,
    issuer: Issuer,
    today: date,
    sums: _Sums,
    corrects: Invoice | None = None,
    reason: str = "",
) -> Invoice:
    """The document with its taxes, under the next number. The number's row stays locked until the transaction ends: if
    that fails, the number was not given."""
    InvoiceSequence.objects.bulk_create([InvoiceSequence(member=member)], ignore_conflicts=True)
    sequence = InvoiceSequence.objects.select_for_update().get(member=member)
    sequence.last += 1
    sequence.save(update_fields=["last"])
    brought = 0
    if corrects is None:
        latest = Invoice.objects.filter(organization=organization, member=member, corrects=None).order_by("-pk").first()
        brought = latest.carried_forward if latest else 0
    to_pay = sums.total - sums.prepaid + brought
    profile = BillingProfile.objects.filter(organization=organization).first() or BillingProfile()
    invoice: Invoice = Invoice.objects.create(
        kind=InvoiceKind.CREDIT_NOTE if sums.total < 0 else InvoiceKind.INVOICE,
        organization=organization,
        member=member,
        issuer=issuer,
        sequence=sequence.last,
        number=f"{member.slug.upper()}-{sequence.last:06d}",
        month=month.first_day,
        issued_on=today,
        due_on=today + timedelta(days=profile.payment_term_days) if to_pay > 0 else None,
        customer_name=profile.name or organization.name,
        customer_department=profile.department,
        customer_postal_code=profile.postal_code,
        customer_address=profile.address,
        purchase_order=profile.purchase_order,
        total=sums.total,
        tax=sum(sums.taxes.values()),
        prepaid=sums.prepaid,
        brought_forward=brought,
        due=max(0, to_pay),
        carried_forward=min(0, to_pay),
        corrects=corrects,
        reason=reason,
    )
    InvoiceTax.objects.bulk_create(
        InvoiceTax(invoice=invoice, percent=percent, gross=gross, tax=sums.taxes[percent])
        for percent, gross in sorted(sums.gross.items())
    )
    return invoice


def _write_lines(invoice: Invoice) -> int:
    """The charges of the month, summed where they were. How many lines that makes. The database writes them: an
    organization may have tens of thousands."""
    month = BillingMonth(invoice.month.year, invoice.month.month)
    with connection.cursor() as cursor:
        cursor.execute(
            _LINES,
            {
                "invoice": invoice.pk,
                "organization": invoice.organization_id,
                "member": invoice.member_id,
                "first": month.first_day,
                "last": month.last_day,
            },
        )
        return int(cursor.rowcount)


_LINES = """
INSERT INTO billing_invoiceline (invoice_id, position, kind, of_month, service_ja, service_en, offering_id,
    offering_ja, offering_en, project_id, project_name, gpu_seconds, percent, amount)
SELECT %(invoice)s,
    row_number() OVER (ORDER BY line.kind = 'correction', line.kind = 'storage', service.position, service.id,
        offering.slug, project.name, project.id, line.of_month, line.tax_percent),
    line.kind, line.of_month, service.name_ja, service.name_en, offering.id, coalesce(offering.name_ja, ''),
    coalesce(offering.name_en, ''), project.id, project.name, line.gpu_seconds, line.tax_percent, line.amount
FROM (
    SELECT charge.kind, charge.of_month, charge.service_member_id, charge.offering_id, charge.project_id,
        charge.tax_percent, sum(charge.amount) AS amount, coalesce(sum(record.gpu_seconds), 0) AS gpu_seconds
    FROM billing_charge charge LEFT JOIN usage_usagerecord record ON record.id = charge.record_id
    WHERE charge.organization_id = %(organization)s AND charge.contracting_member_id = %(member)s
      AND charge.day BETWEEN %(first)s AND %(last)s
    GROUP BY charge.kind, charge.of_month, charge.service_member_id, charge.offering_id, charge.project_id,
        charge.tax_percent
) AS line
JOIN catalog_provider service ON service.id = line.service_member_id
JOIN accounts_project project ON project.id = line.project_id
LEFT JOIN catalog_offering offering ON offering.id = line.offering_id
"""


def _tell(invoice: Invoice, *, by: str) -> None:
    audit.record(
        "invoice.issued",
        f"invoice:{invoice.number}",
        actor=by,
        chain=invoice.organization.code,
        detail={
            "kind": invoice.kind,
            "month": invoice.month.isoformat(),
            "total": invoice.total,
            "tax": invoice.tax,
            "due": invoice.due,
            "corrects": invoice.corrects.number if invoice.corrects else None,
        },
    )
