"""The most that may be spent, and what is put aside before it is."""

from __future__ import annotations

from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from portal.accounts.models import Organization, Project, User


class Budget(models.Model):
    """The most that may be spent and held in a month (Japan time): of a project, or of the whole organization."""

    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="budgets")
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="budgets", null=True, blank=True)
    monthly_limit = models.PositiveBigIntegerField()
    updated_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    updated_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["organization", "project"], nulls_distinct=False, name="budget_once_per_place"
            )
        ]


class Hold(models.Model):
    """Put aside at submit, used up by charges, released at the end: 0 <= used, used + released <= amount at the end."""

    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="holds")
    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="holds")
    job_code = models.CharField(max_length=24, unique=True)
    amount = models.PositiveBigIntegerField()
    used = models.PositiveBigIntegerField(default=0)  # charged out of this hold
    created_at = models.DateTimeField(default=timezone.now)
    released_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(used__lte=F("amount")), name="hold_not_overused")]
        indexes = [models.Index(fields=["project"], condition=Q(released_at=None), name="hold_open_by_project")]

    @property
    def left(self) -> int:
        """Yen still put aside."""
        return self.amount - self.used if self.released_at is None else 0
