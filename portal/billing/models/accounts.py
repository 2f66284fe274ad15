"""An organization's purse, the credits in it, and the ledger that both follow from."""

from __future__ import annotations

from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from portal.accounts.models import Organization, User
from portal.core.models import AppendOnly


class BillingAccount(models.Model):
    """An organization's purse. The row is locked while money is held or posted; its sums follow from the ledger.

    available = credit - held; what is charged leaves the credit.
    """

    organization = models.OneToOneField(Organization, on_delete=models.PROTECT, related_name="billing_account")
    credit = models.BigIntegerField(default=0)  # yen left of all credits, before holds
    held = models.BigIntegerField(default=0)
    posted = models.BigIntegerField(default=0)  # yen charged so far

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(held__gte=0) & Q(posted__gte=0), name="account_held_and_posted_not_negative"
            ),
            models.CheckConstraint(condition=Q(credit__gte=F("held")), name="account_never_overdrawn"),
        ]

    @property
    def available(self) -> int:
        return self.credit - self.held


class CreditKind(models.TextChoices):
    TRIAL = "trial", _("Trial credit")
    GRANT = "grant", pgettext_lazy("kind of credit", "Grant")
    PURCHASED = "purchased", _("Purchased")
    REFUND = "refund", _("Refund")
    COMPENSATION = "compensation", _("Compensation")
    INVOICE = "invoice", _("To be invoiced")


GIVEN = (CreditKind.TRIAL, CreditKind.GRANT, CreditKind.REFUND, CreditKind.COMPENSATION)  # nobody pays for these


class Credit(models.Model):
    """Money an organization may use here: given, paid before, or to be invoiced. `amount` never changes.

    Charges use up what expires soonest, and what is to be invoiced last. What is left of all credits together is the
    account's `credit`.
    """

    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="credits")
    kind = models.CharField(max_length=12, choices=CreditKind.choices)
    amount = models.PositiveBigIntegerField()
    used = models.PositiveBigIntegerField(default=0)
    expired = models.PositiveBigIntegerField(default=0)
    issued_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField(null=True, blank=True)
    issued_by = models.CharField(max_length=80, default="portal")

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(amount__gte=F("used") + F("expired")), name="credit_not_overused"),
            models.UniqueConstraint(
                fields=["organization"], condition=Q(kind=CreditKind.TRIAL), name="credit_one_trial_per_organization"
            ),
        ]
        indexes = [
            models.Index(
                fields=["expires_at"], name="credit_unexpired", condition=Q(amount__gt=F("used") + F("expired"))
            )
        ]

    @property
    def left(self) -> int:
        return self.amount - self.used - self.expired


class Trial(models.Model):
    """Who has had the trial credit, by account and by the e-mail address of that day: nobody gets it twice."""

    founder = models.OneToOneField(User, on_delete=models.PROTECT, related_name="+")
    email = models.EmailField(unique=True)
    organization = models.OneToOneField(Organization, on_delete=models.PROTECT, related_name="+")
    at = models.DateTimeField(default=timezone.now)


class LedgerAccount(models.TextChoices):
    """Each organization has one of each; every transaction of entries sums to zero."""

    ISSUED = "issued", "issued"  # where credits come from (negative)
    AVAILABLE = "available", "available"
    HELD = "held", "held"
    SPENT = "spent", "spent"


class LedgerEntry(AppendOnly):
    """One side of a posting. Rows with the same `posting` sum to zero."""

    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="+")
    posting = models.UUIDField()
    account = models.CharField(max_length=10, choices=LedgerAccount.choices)
    amount = models.BigIntegerField()
    reference = models.CharField(max_length=80)  # "hold:J-…", "charge:123", "credit:4"
    by = models.CharField(max_length=80)  # "user:12", "portal:metering"
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        indexes = [
            models.Index(fields=["organization", "account", "-at"], name="ledger_by_account"),
            models.Index(fields=["posting"], name="ledger_by_posting"),
        ]
