from __future__ import annotations

from datetime import datetime

from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from portal.accounts.models import Organization, Project, User
from portal.catalog.models import Offering, Price, Provider
from portal.core.models import AppendOnly


class UsageRecord(AppendOnly):
    """GPUs one attempt used in [started_at, ended_at). The same interval is recorded once."""

    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="+")
    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="+")
    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    provider = models.ForeignKey(Provider, on_delete=models.PROTECT, related_name="+")
    offering = models.ForeignKey(Offering, on_delete=models.PROTECT, related_name="+")
    price = models.ForeignKey(Price, on_delete=models.PROTECT, related_name="+")  # valid at the time of use, or locked
    job_code = models.CharField(max_length=24, db_index=True)
    attempt_code = models.CharField(max_length=16)
    gpus = models.PositiveIntegerField()
    seconds = models.PositiveIntegerField()
    gpu_seconds = models.PositiveBigIntegerField()
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField()
    day = models.DateField()  # in Japan; an interval never crosses midnight there
    source = models.CharField(max_length=20, default="tracker")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["attempt_code", "started_at"], name="usage_interval_once"),
            models.CheckConstraint(
                condition=Q(ended_at__gt=F("started_at")) & Q(gpu_seconds=F("seconds") * F("gpus")),
                name="usage_adds_up",
            ),
        ]
        indexes = [models.Index(fields=["organization", "day"], name="usage_by_organization")]

    @property
    def shape(self) -> tuple[datetime, datetime, int]:
        """What must be the same when the same interval is told again."""
        return self.started_at, self.ended_at, self.gpus


class DailyUsage(models.Model):
    """Sum of the records of a day: what pages read."""

    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="+")
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="+")
    provider = models.ForeignKey(Provider, on_delete=models.PROTECT, related_name="+")
    offering = models.ForeignKey(Offering, on_delete=models.PROTECT, related_name="+")
    day = models.DateField()
    gpu_seconds = models.PositiveBigIntegerField(default=0)
    metered_until = models.DateTimeField()  # the newest end of a record in the sum: how fresh the figure is

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["organization", "day", "project", "provider", "offering"], name="daily_usage_once"
            )
        ]


class StorageKind(models.TextChoices):
    DATASETS = "datasets", _("Datasets")
    RESULTS = "results", _("Results and logs of jobs")


class StorageUsage(AppendOnly):
    """Bytes a project kept at one place of storage on one day in Japan, as stores bill them: by the day's peak."""

    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="+")
    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="+")
    kind = models.CharField(max_length=8, choices=StorageKind.choices)
    site = models.CharField(max_length=100)  # the store's host
    day = models.DateField()
    started_at = models.DateTimeField()  # the day as an instant's half-open interval
    ended_at = models.DateTimeField()
    peak_bytes = models.PositiveBigIntegerField()
    byte_hours = models.DecimalField(max_digits=24, decimal_places=0)  # peak x 24; a PB for a day is 2.4e16
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "kind", "site", "day"], name="storage_usage_once_a_day"),
            models.CheckConstraint(
                condition=Q(ended_at__gt=F("started_at")) & Q(byte_hours=F("peak_bytes") * 24),
                name="storage_usage_adds_up",
            ),
        ]
        indexes = [models.Index(fields=["organization", "day"], name="storage_usage_by_organization")]


class StorageDay(AppendOnly):
    """This day's storage is recorded for every project: projects without a row kept nothing."""

    kind = models.CharField(max_length=8, choices=StorageKind.choices)
    day = models.DateField()
    recorded_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["kind", "day"], name="storage_day_once")]
