from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING

from django.db import models
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from portal.accounts.models import Organization, Project, User
from portal.core.identifiers import dataset_code
from portal.core.periods import day_of
from portal.datasets.models.files import NEVER_ARRIVED, DataFile
from portal.datasets.models.shares import DatasetShare, in_view_of

if TYPE_CHECKING:
    from portal.datasets.models.sites import Keeping, StorageSite


class DatasetQuerySet(models.QuerySet["Dataset"]):
    def visible_to(self, user: User) -> DatasetQuerySet:
        """Own ones and those shared with a place where the person may see data. Own ones also when they are deleted:
        what they held stays as a record."""
        return self.filter(in_view_of(user, "") | Q(pk__in=DatasetShare.objects.received_by(user).values("dataset")))

    def attachable_to(self, project: Project) -> DatasetQuerySet:
        """What jobs of this project may read at this moment: its own datasets and those shared with it."""
        shared = DatasetShare.objects.to(project).values("dataset")
        return self.kept().filter(Q(project=project) | Q(pk__in=shared))

    def kept(self) -> DatasetQuerySet:
        return self.filter(removed_at=None)

    def begun_for(self, user: User) -> DatasetQuerySet:
        """Without those in which nothing is but uploads of others, under way or given up."""
        files = DataFile.objects.filter(dataset=OuterRef("pk"))
        waiting = files.filter(state__in=NEVER_ARRIVED)
        more = files.filter(~Q(state__in=NEVER_ARRIVED) | Q(created_by=user))
        return self.filter(~Exists(waiting) | Q(created_by=user) | Exists(more))


class Dataset(models.Model):
    """A named set of files of one project. A job sees it at $PORTAL_DATA_DIR/<folder>/."""

    code = models.CharField(max_length=20, unique=True, default=dataset_code, editable=False)
    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="+")
    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="datasets")
    name = models.CharField(_("Dataset name"), max_length=100)
    folder = models.CharField(max_length=100)  # safe as one path segment, unique in the project
    created_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)
    removed_at = models.DateTimeField(null=True, blank=True)  # its files with it; the rows stay
    expires_at = models.DateTimeField(null=True, blank=True)  # the midnight in Japan that ends its last day
    # Of its warnings the newest: days that were left, and when the mail went.
    expiry_told_days = models.PositiveSmallIntegerField(null=True, blank=True)
    expiry_told_at = models.DateTimeField(null=True, blank=True)

    # The newest version's number, and who wants the next one as soon as every file of the draft is verified. Changed
    # under the lock of this row, as is every file's `removed_in`.
    latest_number = models.PositiveIntegerField(default=0, db_default=0)
    version_wanted_by = models.ForeignKey(
        User, on_delete=models.PROTECT, related_name="+", null=True, blank=True, db_index=False
    )
    version_wanted_note = models.CharField(max_length=200, blank=True, default="", db_default="")

    # Besides the primary site, where all is. A keeping that is ending counts no more: see copies.sites_of.
    keep_at: models.ManyToManyField[StorageSite, Keeping] = models.ManyToManyField("StorageSite", through="Keeping")

    objects = DatasetQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["project", "name"], condition=Q(removed_at=None), name="dataset_name_once_among_kept"
            ),
            models.UniqueConstraint(
                fields=["project", "folder"], condition=Q(removed_at=None), name="dataset_folder_once_among_kept"
            ),
        ]
        indexes = [
            models.Index(fields=["organization", "-id"], name="dataset_by_organization"),
            models.Index(fields=["project", "-id"], name="dataset_by_project"),
            models.Index(fields=["id"], condition=Q(version_wanted_by__isnull=False), name="dataset_version_wanted"),
            models.Index(
                fields=["expires_at"], condition=Q(removed_at=None, expires_at__isnull=False), name="dataset_expiring"
            ),
            models.Index(fields=["project", "-id"], condition=Q(latest_number__gt=0), name="dataset_with_versions"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def next_number(self) -> int:
        return self.latest_number + 1

    @property
    def last_day(self) -> date | None:
        """In Japan; it is deleted when that day is over."""
        return day_of(self.expires_at - timedelta(microseconds=1)) if self.expires_at else None

    @property
    def expires_soon(self) -> bool:
        """Within the time of the warnings."""
        return self.expires_at is not None and self.expires_at - timezone.now() <= timedelta(days=30)
