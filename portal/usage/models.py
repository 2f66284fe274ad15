from __future__ import annotations

from datetime import datetime

from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from portal.accounts.models import Organization, Project, User
from portal.catalog.models import Offering, Price, Provider, ProviderAccount
from portal.core.models import AppendOnly


class UsageReport(AppendOnly):
    """What a provider told of use, byte for byte. The same bytes again are the same report."""

    provider = models.ForeignKey(Provider, on_delete=models.PROTECT, related_name="+")
    # Whose account at the provider told it: its lines may name attempts of this organization alone. None: of all.
    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="+", null=True, blank=True)
    source = models.CharField(max_length=20)  # "dok", "slurm": whose numbers its lines' ids are
    sha256 = models.CharField(max_length=64)
    body = models.BinaryField()
    received_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["provider", "organization", "source", "sha256"],
                nulls_distinct=False,
                name="usage_report_once",
            )
        ]


class RefusedLine(AppendOnly):
    """A line of a report that was not taken in, and the sentence that says why. For the desk to look at."""

    report = models.ForeignKey(UsageReport, on_delete=models.PROTECT, related_name="refused")
    number = models.PositiveIntegerField()  # of the line in the report, from 1
    source_id = models.CharField(max_length=100)
    reason = models.CharField(max_length=200)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["report", "number"], name="refused_line_once")]


class UsageRecord(AppendOnly):
    """GPUs one attempt used in [started_at, ended_at). The same interval is recorded once.

    Told by our own tracker, or by a line of a provider's report (`source`, `source_id`). Other numbers for a line are
    two rows more: one with negative seconds takes the old row back, one stands instead; both name it in `corrects`.
    Sums over all rows are therefore right.
    """

    # Foreign keys that are checked by the statement, not by the row (core/references.py, migration 0007).
    organization = models.ForeignKey(
        Organization, on_delete=models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )
    project = models.ForeignKey(
        Project, on_delete=models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )
    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+", db_index=False, db_constraint=False)
    provider = models.ForeignKey(
        Provider, on_delete=models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )
    offering = models.ForeignKey(
        Offering, on_delete=models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )
    # Valid at the time of use, or locked.
    price = models.ForeignKey(Price, on_delete=models.PROTECT, related_name="+", db_index=False, db_constraint=False)
    job_code = models.CharField(max_length=24)
    attempt_code = models.CharField(max_length=16)
    gpus = models.PositiveIntegerField()
    seconds = models.IntegerField()  # negative: takes back the record it corrects
    gpu_seconds = models.BigIntegerField()
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField()
    day = models.DateField()  # in Japan; an interval never crosses midnight there
    source = models.CharField(max_length=20, default="tracker")
    source_id = models.CharField(max_length=100, default="", db_default="")  # of the line; the tracker has none
    revision = models.PositiveSmallIntegerField(default=1, db_default=1)  # odd: told; even: takes the one before back
    corrects = models.ForeignKey(
        "self", on_delete=models.PROTECT, related_name="+", null=True, blank=True, db_index=False, db_constraint=False
    )
    report = models.ForeignKey(
        UsageReport,
        on_delete=models.PROTECT,
        related_name="+",
        null=True,
        blank=True,
        db_index=False,
        db_constraint=False,
    )
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["attempt_code", "started_at", "revision"], name="usage_interval_once"),
            models.UniqueConstraint(
                fields=["provider", "source", "source_id", "day", "revision"],
                condition=~Q(source_id=""),
                name="usage_line_once",
            ),
            models.CheckConstraint(
                condition=Q(ended_at__gt=F("started_at")) & Q(gpu_seconds=F("seconds") * F("gpus")),
                name="usage_adds_up",
            ),
            models.CheckConstraint(
                condition=Q(seconds__gt=0) | Q(seconds__lt=0, corrects__isnull=False),
                name="usage_taken_back_of_a_record",
            ),
        ]
        # Written ten thousand a second: what points at a handful of rows has no index of its own.
        indexes = [
            models.Index(fields=["organization", "day"], name="usage_by_organization"),
            models.Index(fields=["job_code"], name="usage_by_job"),
            models.Index(fields=["corrects"], name="usage_by_corrected", condition=Q(corrects__isnull=False)),
            models.Index(fields=["attempt_code"], name="usage_corrected_attempts", condition=Q(revision__gt=1)),
        ]

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


class DifferenceKind(models.TextChoices):
    JOB = "job", _("One job, in GPU-seconds")
    DAY = "day", _("All jobs of a day, in GPU-seconds")
    BILL = "bill", _("A plan on the bill of a day, in seconds")


class DifferenceState(models.TextChoices):
    OPEN = "open", pgettext_lazy("state of a difference", "Open")
    EXPLAINED = "explained", _("Explained")
    ACCEPTED = "accepted", _("Accepted")


class Difference(models.Model):
    """Where a provider's statement and our records say different things of a day in Japan. A person decides what it
    means; no record is changed by it."""

    account = models.ForeignKey(ProviderAccount, on_delete=models.PROTECT, related_name="+")
    report = models.ForeignKey(UsageReport, on_delete=models.PROTECT, related_name="+")  # what the provider said last
    day = models.DateField()
    kind = models.CharField(max_length=4, choices=DifferenceKind.choices)
    subject = models.CharField(max_length=100, blank=True)  # attempt code, or the provider's own number; plan; ""
    ours = models.BigIntegerField()
    theirs = models.BigIntegerField()
    found_at = models.DateTimeField(default=timezone.now)
    state = models.CharField(max_length=9, choices=DifferenceState.choices, default=DifferenceState.OPEN)
    reason = models.CharField(max_length=300, blank=True)
    decided_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+", null=True, blank=True)
    decided_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["account", "day", "kind", "subject"], name="difference_once"),
            models.CheckConstraint(
                condition=Q(state=DifferenceState.OPEN, decided_by=None, decided_at=None, reason="")
                | Q(
                    state__in=[DifferenceState.EXPLAINED, DifferenceState.ACCEPTED],
                    decided_by__isnull=False,
                    decided_at__isnull=False,
                )
                & ~Q(reason=""),
                name="difference_decided_by_a_person_with_a_reason",
            ),
        ]
        indexes = [models.Index(fields=["-day"], name="difference_open", condition=Q(state=DifferenceState.OPEN))]

    @property
    def more_there(self) -> int:
        """By how much the statement says more than our records; negative where it says less."""
        return self.theirs - self.ours

    @property
    def unit(self) -> str:
        return str(_("Seconds") if self.kind == DifferenceKind.BILL else _("GPU-seconds"))
