"""What use cost, and the sums of it that pages read."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from portal.accounts.models import Organization, Project
from portal.catalog.models import Offering, Price, Provider
from portal.core.models import AppendOnly
from portal.usage.models import UsageRecord


class Charge(AppendOnly):
    """One per usage record, at the price the record carries.

    `amount` is whole yen, tax included: the job's exact total rounded down so far, less what was charged before, so
    that every sum of charges adds up to the yen. `exact` keeps the unrounded value.
    """

    record = models.OneToOneField(UsageRecord, on_delete=models.PROTECT, related_name="charge")
    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="+")
    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="+")
    provider = models.ForeignKey(Provider, on_delete=models.PROTECT, related_name="+")
    offering = models.ForeignKey(Offering, on_delete=models.PROTECT, related_name="+")
    price = models.ForeignKey(Price, on_delete=models.PROTECT, related_name="+")
    job_code = models.CharField(max_length=24, db_index=True)
    day = models.DateField()
    amount = models.BigIntegerField()
    exact = models.DecimalField(max_digits=24, decimal_places=9)
    tax_percent = models.DecimalField(max_digits=4, decimal_places=1)
    contracting_member = models.ForeignKey(Provider, on_delete=models.PROTECT, related_name="+")
    service_member = models.ForeignKey(Provider, on_delete=models.PROTECT, related_name="+")
    host_member = models.ForeignKey(Provider, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)


class DailyCharge(models.Model):
    """Sum of the charges of a day: what pages read. Written in the charge's transaction."""

    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="+")
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="+")
    provider = models.ForeignKey(Provider, on_delete=models.PROTECT, related_name="+")
    offering = models.ForeignKey(Offering, on_delete=models.PROTECT, related_name="+")
    day = models.DateField()
    amount = models.BigIntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["organization", "day", "project", "provider", "offering"], name="daily_charge_once"
            )
        ]


class JobCharge(models.Model):
    """Sum of a job's charges in a month: the dearest jobs are found without reading charges."""

    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="+")
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="+")
    offering = models.ForeignKey(Offering, on_delete=models.PROTECT, related_name="+")  # where it ran last
    job_code = models.CharField(max_length=24)
    month = models.DateField()  # its first day, in Japan
    amount = models.BigIntegerField(default=0)
    gpu_seconds = models.PositiveBigIntegerField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["job_code", "month"], name="job_charge_once")]
        indexes = [models.Index(fields=["organization", "month", "-amount"], name="job_charge_dearest")]
