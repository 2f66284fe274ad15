"""What use cost, and the sums of it that pages read."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from portal.accounts.models import Organization, Project, User
from portal.billing.models.accounts import Credit
from portal.catalog.models import Offering, Price, Provider, StoragePrice
from portal.core.models import AppendOnly
from portal.usage.models import StorageUsage, UsageRecord


class ChargeKind(models.TextChoices):
    USAGE = "usage", _("Usage")
    STORAGE = "storage", _("Storage")
    CORRECTION = "correction", _("Correction")


class Charge(AppendOnly):
    """One per usage record, at the price the record carries; or one per day of a project's storage.

    `amount` is whole yen, tax included: the job's exact total rounded down so far, less what was charged before, so
    that every sum of charges adds up to the yen. `exact` keeps the unrounded value. A record that takes another back is
    charged by the same rule: less than nothing.

    What belongs to a month that is closed already is a correction: booked on a `day` of an open month, `of_month` says
    which one it belongs to.
    """

    kind = models.CharField(
        max_length=10, choices=ChargeKind.choices, default=ChargeKind.USAGE, db_default=ChargeKind.USAGE
    )
    # Foreign keys that are checked by the statement, not by the row (core/references.py, migration 0017).
    record = models.OneToOneField(
        UsageRecord, on_delete=models.PROTECT, related_name="charge", null=True, blank=True, db_constraint=False
    )
    storage = models.OneToOneField(
        StorageUsage, on_delete=models.PROTECT, related_name="charge", null=True, blank=True, db_constraint=False
    )
    organization = models.ForeignKey(
        Organization, on_delete=models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )
    project = models.ForeignKey(
        Project, on_delete=models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )
    provider = models.ForeignKey(
        Provider, on_delete=models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )
    offering = models.ForeignKey(
        Offering, on_delete=models.PROTECT, related_name="+", null=True, blank=True, db_index=False, db_constraint=False
    )
    price = models.ForeignKey(
        Price, on_delete=models.PROTECT, related_name="+", null=True, blank=True, db_index=False, db_constraint=False
    )
    storage_price = models.ForeignKey(
        StoragePrice,
        on_delete=models.PROTECT,
        related_name="+",
        null=True,
        blank=True,
        db_index=False,
        db_constraint=False,
    )
    job_code = models.CharField(max_length=24)  # "" of storage
    day = models.DateField()  # it is booked on, in Japan
    of_month = models.DateField(null=True, blank=True)  # of a correction: the first day of the month it belongs to
    corrects = models.ForeignKey(
        "self", on_delete=models.PROTECT, related_name="+", null=True, blank=True, db_index=False, db_constraint=False
    )
    amount = models.BigIntegerField()
    exact = models.DecimalField(max_digits=24, decimal_places=9)
    tax_percent = models.DecimalField(max_digits=4, decimal_places=1)
    contracting_member = models.ForeignKey(
        Provider, on_delete=models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )
    service_member = models.ForeignKey(
        Provider, on_delete=models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )
    host_member = models.ForeignKey(
        Provider, on_delete=models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(record__isnull=False, storage=None, offering__isnull=False, price__isnull=False)
                | Q(record=None, storage__isnull=False, storage_price__isnull=False),
                name="charge_of_use_or_of_storage",
            ),
            models.CheckConstraint(
                condition=Q(kind=ChargeKind.CORRECTION, of_month__isnull=False)
                | Q(kind__in=[ChargeKind.USAGE, ChargeKind.STORAGE], of_month=None),
                name="charge_correction_of_a_month",
            ),
        ]
        # Written ten thousand a second: what points at a handful of rows has no index of its own.
        indexes = [
            models.Index(fields=["organization", "day"], name="charge_by_organization"),
            models.Index(fields=["job_code"], name="charge_by_job"),
            models.Index(fields=["corrects"], name="charge_by_corrected", condition=Q(corrects__isnull=False)),
        ]


class CreditUse(AppendOnly):
    """Which credit a charge was taken from: the parts of a charge add up to its amount. Negative: given back to it."""

    charge = models.ForeignKey(
        Charge, on_delete=models.PROTECT, related_name="uses", db_index=False, db_constraint=False
    )
    credit = models.ForeignKey(Credit, on_delete=models.PROTECT, related_name="uses", db_constraint=False)
    amount = models.BigIntegerField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["charge", "credit"], name="credit_use_once")]


class DailyCharge(models.Model):
    """Sum of the charges of a day: what pages read. Written in the charge's transaction. No offering: storage."""

    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="+")
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="+")
    provider = models.ForeignKey(Provider, on_delete=models.PROTECT, related_name="+")
    offering = models.ForeignKey(Offering, on_delete=models.PROTECT, related_name="+", null=True, blank=True)
    day = models.DateField()
    amount = models.BigIntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["organization", "day", "project", "provider", "offering"],
                nulls_distinct=False,
                name="daily_charge_once",
            )
        ]


class JobCharge(models.Model):
    """Sum of a job's charges in a month: the dearest jobs are found without reading charges."""

    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="+", db_index=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="+", db_index=False)
    offering = models.ForeignKey(
        Offering, on_delete=models.PROTECT, related_name="+", db_index=False
    )  # where it ran last
    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+", null=True, db_index=False)  # whose job
    job_code = models.CharField(max_length=24)
    month = models.DateField()  # its first day, in Japan
    amount = models.BigIntegerField(default=0)
    gpu_seconds = models.BigIntegerField(default=0)  # below zero where a correction takes an earlier month's back

    class Meta:
        constraints = [models.UniqueConstraint(fields=["job_code", "month"], name="job_charge_once")]
        indexes = [
            models.Index(fields=["organization", "month", "-amount"], name="job_charge_dearest"),
            models.Index(fields=["project", "month", "-amount", "job_code"], name="job_charge_by_project"),
            models.Index(fields=["user", "month", "-amount", "job_code"], name="job_charge_by_person"),
        ]


class JobUse(models.Model):
    """What a job has used at one price: its next charge is computed from it, however many it has already.

    The database adds to it with each charge that is written.
    """

    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="+", db_index=False)
    job_code = models.CharField(max_length=24)
    price = models.ForeignKey(Price, on_delete=models.PROTECT, related_name="+", db_index=False)
    gpus = models.PositiveIntegerField()
    seconds = models.BigIntegerField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["job_code", "price", "gpus"], name="job_use_once")]
