"""Sums of charges that pages of long spans and of people read. Written in the charge's transaction (sums.py)."""

from __future__ import annotations

from django.db import models

from portal.accounts.models import Organization, Project, User
from portal.catalog.models import Offering, Provider


class MonthlyCharge(models.Model):
    """Sum of the charges booked in a month: what years and halves are read from. No offering: storage."""

    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="+", db_index=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="+")
    provider = models.ForeignKey(Provider, on_delete=models.PROTECT, related_name="+", db_index=False)
    offering = models.ForeignKey(
        Offering, on_delete=models.PROTECT, related_name="+", null=True, blank=True, db_index=False
    )
    month = models.DateField()  # its first day, in Japan
    amount = models.BigIntegerField(default=0)
    gpu_seconds = models.BigIntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["organization", "month", "project", "provider", "offering"],
                nulls_distinct=False,
                name="monthly_charge_once",
            )
        ]


class PersonCharge(models.Model):
    """Sum of the charges of a person's jobs in a project and month."""

    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="+", db_index=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="+")
    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    month = models.DateField()  # its first day, in Japan
    amount = models.BigIntegerField(default=0)
    gpu_seconds = models.BigIntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organization", "month", "project", "user"], name="person_charge_once")
        ]
