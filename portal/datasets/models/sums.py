from __future__ import annotations

from django.db import models
from django.db.models import Q

from portal.accounts.models import Project
from portal.datasets.models.datasets import Dataset


class DatasetTally(models.Model):
    """What a dataset's draft holds, as sums: the database writes one row of differences with every statement that
    changes files, the sweep adds them up (portal.datasets.tallies). No lock, no row that all uploads wait for."""

    dataset = models.ForeignKey(Dataset, on_delete=models.CASCADE, related_name="+", db_index=False)
    is_sum = models.BooleanField(default=False, db_default=False)
    files = models.IntegerField(default=0, db_default=0)  # ready
    size_bytes = models.BigIntegerField(default=0, db_default=0)
    fresh = models.IntegerField(default=0, db_default=0)  # ready and in no version yet
    replaced = models.IntegerField(default=0, db_default=0)  # of these: the newest version has another of that name
    gone = models.IntegerField(default=0, db_default=0)  # in the newest version, and no more in the draft
    uploading = models.IntegerField(default=0, db_default=0)
    verifying = models.IntegerField(default=0, db_default=0)
    failed = models.IntegerField(default=0, db_default=0)
    changed_at = models.DateTimeField(null=True, blank=True)  # a file came or went

    class Meta:
        indexes = [
            models.Index(fields=["dataset"], name="tally_by_dataset"),
            models.Index(fields=["dataset"], condition=Q(is_sum=False), name="tally_to_add_up"),
        ]


class StorageAllowance(models.Model):
    """What a project may keep and keeps: bytes of verified files and of uploads under way. See quota.py."""

    project = models.OneToOneField(Project, on_delete=models.CASCADE, related_name="storage_allowance")
    limit_bytes = models.PositiveBigIntegerField()
    used_bytes = models.PositiveBigIntegerField(default=0)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(used_bytes__lte=models.F("limit_bytes")), name="storage_within_limit")
        ]

    @property
    def free_bytes(self) -> int:
        return self.limit_bytes - self.used_bytes

    @property
    def percent(self) -> int:
        """Rounded down: 100 only where nothing is free. 0 where bytes are used is for people "under 1%"."""
        return 100 * self.used_bytes // self.limit_bytes if self.free_bytes else 100

    @property
    def tone(self) -> str:
        return "err" if self.percent >= 100 else "warn" if self.percent >= 80 else ""


class StoredBytes(models.Model):
    """Of a day on which it changed: the most that a project kept at one place, and what it kept at the end."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="+", db_index=False)
    site = models.CharField(max_length=100)  # the store's host
    day = models.DateField()  # in Japan
    peak_bytes = models.PositiveBigIntegerField()
    closing_bytes = models.PositiveBigIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "site", "day"], name="stored_bytes_once_a_day"),
            models.CheckConstraint(condition=Q(closing_bytes__lte=models.F("peak_bytes")), name="stored_peak_is_most"),
        ]
