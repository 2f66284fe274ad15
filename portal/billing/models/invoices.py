"""What is sent to customers and what they pay. The database changes and removes none of it (migrations)."""

from __future__ import annotations

from datetime import date

from django.db import models
from django.db.models import Exists, F, OuterRef, Q, Sum
from django.db.models.functions import Coalesce
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from portal.accounts.models import Organization, Project, User
from portal.accounts.roles import Permission
from portal.billing.models.accounts import Credit
from portal.catalog.models import Offering, Provider
from portal.core.models import AppendOnly, AppendOnlyQuerySet

LONGEST_TERM_DAYS = 60


class BillingProfile(models.Model):
    """To whom an organization's invoices are addressed. Invoices keep what stood here when they were issued."""

    organization = models.OneToOneField(Organization, on_delete=models.PROTECT, related_name="billing_profile")
    name = models.CharField(max_length=100, blank=True)  # "": the organization's own
    department = models.CharField(max_length=100, blank=True)
    postal_code = models.CharField(max_length=8, blank=True)  # "100-0001"
    address = models.CharField(max_length=200, blank=True)
    purchase_order = models.CharField(max_length=40, blank=True)
    payment_term_days = models.PositiveSmallIntegerField(default=30)
    updated_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+", null=True, blank=True)
    updated_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(payment_term_days__gte=1, payment_term_days__lte=LONGEST_TERM_DAYS),
                name="billing_profile_term_of_days",
            )
        ]


class Issuer(AppendOnly):
    """Who invoices for a member from a day on, as printed. A change is a new row; of two of a day the later holds."""

    member = models.ForeignKey(Provider, on_delete=models.PROTECT, related_name="+")
    name = models.CharField(max_length=100)
    registration_number = models.CharField(max_length=14)  # "T" and 13 digits
    address = models.CharField(max_length=200)
    bank = models.CharField(max_length=200)  # where to transfer what is due
    valid_from = models.DateField()
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(registration_number__regex=r"^T[0-9]{13}$"), name="issuer_registration_number"
            )
        ]


class InvoiceSequence(models.Model):
    """The last number a member has given. Locked while the next is given, so that none is left out or given twice."""

    member = models.OneToOneField(Provider, on_delete=models.PROTECT, related_name="+")
    last = models.PositiveIntegerField(default=0)


class InvoiceKind(models.TextChoices):
    INVOICE = "invoice", pgettext_lazy("document", "Invoice")
    CREDIT_NOTE = "credit_note", pgettext_lazy("document", "Credit note")


class PaymentState(models.TextChoices):
    NOTHING_DUE = "nothing_due", _("Nothing to pay")
    ISSUED = "issued", _("Not paid yet")
    PARTLY_PAID = "partly_paid", _("Partly paid")
    PAID = "paid", pgettext_lazy("state of an invoice", "Paid")
    OVERDUE = "overdue", _("Overdue")


class InvoiceQuerySet(AppendOnlyQuerySet):
    def visible_to(self, user: User) -> InvoiceQuerySet:
        """To those who see the money of the whole organization."""
        from portal.accounts.access import access_of

        places = access_of(user).organizations_with(Permission.VIEW_MONEY)
        seen: InvoiceQuerySet = self.filter(organization__in=places)
        return seen

    def with_payments(self) -> InvoiceQuerySet:
        """Each with `paid`, whole yen."""
        paid = Coalesce(Sum("payments__amount"), 0, output_field=models.BigIntegerField())
        each: InvoiceQuerySet = self.annotate(paid=paid)
        return each

    def without_document(self, language: str) -> InvoiceQuerySet:
        made = InvoiceDocument.objects.filter(invoice=OuterRef("pk"), language=language)
        missing: InvoiceQuerySet = self.filter(~Exists(made))
        return missing


class Invoice(AppendOnly):
    """What a member (`issuer`) charges an organization for a month, or gives back: all amounts of a credit note are
    negative. Whole yen, tax included.

    total = sum of the lines = sum of the taxes' gross. Of it `prepaid` was paid before. What is to be paid, less what
    earlier documents left in the customer's favour (`brought_forward`, negative), is `due`; where that is less than
    nothing it is `carried_forward` to the next document.
    """

    kind = models.CharField(max_length=11, choices=InvoiceKind.choices)
    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="+")
    member = models.ForeignKey(Provider, on_delete=models.PROTECT, related_name="+")
    issuer = models.ForeignKey(Issuer, on_delete=models.PROTECT, related_name="+")
    sequence = models.PositiveIntegerField()
    number = models.CharField(max_length=40, unique=True)
    month = models.DateField()  # of supply: its first day, in Japan
    issued_on = models.DateField()
    due_on = models.DateField(null=True, blank=True)
    customer_name = models.CharField(max_length=100)
    customer_department = models.CharField(max_length=100, blank=True)
    customer_postal_code = models.CharField(max_length=8, blank=True)
    customer_address = models.CharField(max_length=200, blank=True)
    purchase_order = models.CharField(max_length=40, blank=True)
    total = models.BigIntegerField()
    tax = models.BigIntegerField()  # in the total
    prepaid = models.BigIntegerField()
    brought_forward = models.BigIntegerField(default=0)
    due = models.BigIntegerField()
    carried_forward = models.BigIntegerField(default=0)
    corrects = models.ForeignKey("self", on_delete=models.PROTECT, related_name="credit_notes", null=True, blank=True)
    reason = models.CharField(max_length=200, blank=True)  # of a credit note that somebody decided on
    created_at = models.DateTimeField(default=timezone.now)

    objects = InvoiceQuerySet.as_manager()  # type: ignore[misc]  # the base's, and more

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["member", "sequence"], name="invoice_number_once"),
            models.UniqueConstraint(
                fields=["organization", "member", "month"], condition=Q(corrects=None), name="invoice_once_a_month"
            ),
            models.CheckConstraint(
                condition=Q(kind=InvoiceKind.INVOICE, total__gte=0, corrects=None)
                | Q(kind=InvoiceKind.CREDIT_NOTE, total__lt=0),
                name="invoice_kind_by_total",
            ),
            models.CheckConstraint(
                condition=Q(due=F("total") - F("prepaid") + F("brought_forward") - F("carried_forward"))
                & (Q(due__gt=0, carried_forward=0) | Q(due=0, carried_forward__lte=0))
                & Q(brought_forward__lte=0),
                name="invoice_due_adds_up",
            ),
            models.CheckConstraint(
                condition=Q(due__gt=0, due_on__isnull=False) | Q(due=0, due_on=None), name="invoice_due_on_a_day"
            ),
        ]
        indexes = [models.Index(fields=["organization", "-id"], name="invoice_by_organization")]

    def __str__(self) -> str:
        return self.number

    def state(self, today: date) -> PaymentState:
        """Of one that was read `with_payments`."""
        paid: int = self.paid  # type: ignore[attr-defined]
        if not self.due:
            return PaymentState.NOTHING_DUE
        if paid >= self.due:
            return PaymentState.PAID
        if self.due_on and today > self.due_on:
            return PaymentState.OVERDUE
        return PaymentState.PARTLY_PAID if paid else PaymentState.ISSUED


class InvoiceTax(AppendOnly):
    """Of each rate on an invoice: all that was supplied at it, and the tax in that, rounded here and nowhere else."""

    invoice = models.ForeignKey(Invoice, on_delete=models.PROTECT, related_name="taxes", db_index=False)
    percent = models.DecimalField(max_digits=4, decimal_places=1)
    gross = models.BigIntegerField()
    tax = models.BigIntegerField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["invoice", "percent"], name="invoice_tax_once_a_rate")]


class LineKind(models.TextChoices):
    USAGE = "usage", _("Usage")
    STORAGE = "storage", _("Storage")
    CORRECTION = "correction", _("Correction")
    DISCOUNT = "discount", _("Discount (credit that was given)")
    CREDIT = "credit", _("Refund")


class InvoiceLine(AppendOnly):
    """What was supplied, by service member, offering and project: with the names of the day of issue, in whole yen with
    tax. No offering: storage, a discount or a refund."""

    invoice = models.ForeignKey(Invoice, on_delete=models.PROTECT, related_name="lines", db_index=False)
    position = models.PositiveIntegerField()
    kind = models.CharField(max_length=10, choices=LineKind.choices)
    of_month = models.DateField(null=True, blank=True)  # of a correction or refund: the month of the supply
    service_ja = models.CharField(max_length=80, blank=True)
    service_en = models.CharField(max_length=80, blank=True)
    offering = models.ForeignKey(Offering, on_delete=models.PROTECT, related_name="+", null=True, blank=True)
    offering_ja = models.CharField(max_length=80, blank=True)
    offering_en = models.CharField(max_length=80, blank=True)
    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="+", null=True, blank=True)
    project_name = models.CharField(max_length=60, blank=True)
    gpu_seconds = models.BigIntegerField(default=0)
    percent = models.DecimalField(max_digits=4, decimal_places=1)
    amount = models.BigIntegerField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["invoice", "position"], name="invoice_line_position")]


class Payment(AppendOnly):
    """A bank transfer for an invoice. What may be used and invoiced grows again by as much: `credit`."""

    invoice = models.ForeignKey(Invoice, on_delete=models.PROTECT, related_name="payments", db_index=False)
    amount = models.PositiveBigIntegerField()
    received_on = models.DateField()
    reference = models.CharField(max_length=80, blank=True)  # the bank's, where two alike came on a day
    credit = models.OneToOneField(Credit, on_delete=models.PROTECT, related_name="payment")
    recorded_by = models.CharField(max_length=80)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["invoice", "received_on", "amount", "reference"], name="payment_once"),
            models.CheckConstraint(condition=Q(amount__gt=0), name="payment_is_more_than_nothing"),
        ]


class InvoiceDocument(AppendOnly):
    """The PDF as it was first made: the same bytes for everybody, for good."""

    invoice = models.ForeignKey(Invoice, on_delete=models.PROTECT, related_name="documents", db_index=False)
    language = models.CharField(max_length=2)
    body = models.BinaryField()
    sha256 = models.CharField(max_length=64)
    made_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["invoice", "language"], name="invoice_document_once")]
