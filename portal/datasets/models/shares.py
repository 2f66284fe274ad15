from __future__ import annotations

from datetime import date, timedelta

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils import timezone

from portal.accounts.access import access_of
from portal.accounts.models import Organization, Project, User
from portal.accounts.roles import Permission


def in_view_of(user: User, prefix: str) -> Q:
    access = access_of(user)
    return Q(**{f"{prefix}organization__in": access.organizations_with(Permission.VIEW)}) | Q(
        **{f"{prefix}project__in": access.projects_with(Permission.VIEW)}
    )


class DatasetShareQuerySet(models.QuerySet["DatasetShare"]):
    def live(self) -> DatasetShareQuerySet:
        """By the database's clock: a share ends for everybody at the same moment, at the latest with its dataset."""
        return self.filter(Q(until=None) | Q(until__gt=Now()), ended_at=None, dataset__removed_at=None)

    def to(self, project: Project) -> DatasetShareQuerySet:
        """Live ones that this project receives, itself or with its whole organization."""
        whole = Q(to_organization=project.organization_id, to_project=None)
        return self.live().filter(Q(to_project=project) | whole)

    def received_by(self, user: User) -> DatasetShareQuerySet:
        """Live ones with a place where the person may see data."""
        access = access_of(user)
        projects = access.projects_with(Permission.VIEW)
        inside = Organization.objects.filter(projects__in=projects)
        return self.live().filter(
            Q(to_organization__in=access.organizations_with(Permission.VIEW))
            | Q(to_project__in=projects)
            | Q(to_organization__in=inside, to_project=None)
        )


class DatasetShare(models.Model):
    """Lets others read a dataset: the whole own organization (`to_project` empty), or one project of any.

    Never edited but to be ended: another last day is another share. Jobs that were submitted while it was live keep
    their right to read what they asked for.
    """

    dataset = models.ForeignKey("Dataset", on_delete=models.CASCADE, related_name="shares")
    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="+", db_index=False)  # whose
    to_organization = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="+", db_index=False)
    to_project = models.ForeignKey(
        Project, on_delete=models.PROTECT, related_name="+", null=True, blank=True, db_index=False
    )
    until = models.DateTimeField(null=True, blank=True)  # the first instant after its last day in Japan
    created_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+", db_index=False)
    created_at = models.DateTimeField(default=timezone.now)
    ended_at = models.DateTimeField(null=True, blank=True)  # before its time, or when another took its place
    ended_by = models.ForeignKey(
        User, on_delete=models.PROTECT, related_name="+", null=True, blank=True, db_index=False
    )
    told_at = models.DateTimeField(null=True, blank=True)  # the receiving managers have been written to

    objects = DatasetShareQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(to_organization=F("organization")) | Q(to_project__isnull=False, until__isnull=False),
                name="share_outside_names_project_and_end",
            ),
            models.UniqueConstraint(
                fields=["dataset", "to_organization", "to_project"],
                condition=Q(ended_at=None),
                nulls_distinct=False,
                name="share_once_per_receiver",
            ),
        ]
        indexes = [
            models.Index(
                fields=["to_organization", "dataset"], condition=Q(ended_at=None), name="share_by_organization"
            ),
            models.Index(fields=["to_project", "dataset"], condition=Q(ended_at=None), name="share_by_project"),
            models.Index(fields=["id"], condition=Q(ended_at=None, told_at=None), name="share_to_tell"),
        ]

    def __str__(self) -> str:
        return f"{self.dataset_id} → {self.to_project_id or self.to_organization_id}"

    @property
    def is_outside(self) -> bool:
        return self.to_organization_id != self.organization_id

    @property
    def last_day(self) -> date | None:
        """In Japan; the share ends with that day."""
        return timezone.localdate(self.until - timedelta(microseconds=1)) if self.until else None

    @property
    def receiver(self) -> str:
        """As those who share call it. A project of others is known by its code and its organization's name."""
        if self.to_project is None:
            return self.to_organization.name
        return f"{self.to_organization.name} ({self.to_project.code})" if self.is_outside else self.to_project.name

    @property
    def giver(self) -> str:
        """As those who receive call it."""
        return self.organization.name if self.is_outside else self.dataset.project.name
