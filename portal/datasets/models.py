from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from portal.accounts.access import access_of
from portal.accounts.models import Organization, Project, User
from portal.accounts.roles import Permission
from portal.core.identifiers import dataset_code, file_code


class DatasetQuerySet(models.QuerySet["Dataset"]):
    def visible_to(self, user: User) -> DatasetQuerySet:
        access = access_of(user)
        return self.filter(
            Q(organization__in=access.organizations_with(Permission.VIEW))
            | Q(project__in=access.projects_with(Permission.VIEW))
        )


class Dataset(models.Model):
    """A named set of files of one project. A job sees it at $PORTAL_DATA_DIR/<folder>/."""

    code = models.CharField(max_length=20, unique=True, default=dataset_code, editable=False)
    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="+")
    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="datasets")
    name = models.CharField(_("Dataset name"), max_length=100)
    folder = models.CharField(max_length=100)  # safe as one path segment, unique in the project
    created_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)

    objects = DatasetQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "folder"], name="dataset_folder_once_per_project")]
        indexes = [
            models.Index(fields=["organization", "-id"], name="dataset_by_organization"),
            models.Index(fields=["project", "-id"], name="dataset_by_project"),
        ]

    def __str__(self) -> str:
        return self.name


class FileState(models.TextChoices):
    UPLOADING = "uploading", _("Uploading")
    VERIFYING = "verifying", _("Verifying")
    READY = "ready", _("Ready")
    FAILED = "failed", _("Failed")
    ABANDONED = "abandoned", _("Abandoned")


class DataFile(models.Model):
    """One file: first an upload, then, when size and checksum match, ready for jobs.

    `sha256` is what the store's bytes add up to; `declared_sha256` what the browser said. They must be equal.
    """

    code = models.CharField(max_length=20, unique=True, default=file_code, editable=False)
    dataset = models.ForeignKey(Dataset, on_delete=models.PROTECT, related_name="files")
    name = models.CharField(max_length=255)  # as the person named it: shown and given back, never used as a key
    size_bytes = models.PositiveBigIntegerField()
    content_type = models.CharField(max_length=100, blank=True)
    state = models.CharField(max_length=10, choices=FileState.choices, default=FileState.UPLOADING)
    failure = models.CharField(max_length=200, blank=True)
    storage_key = models.CharField(max_length=120, unique=True)  # t/<organization code>/<file code>
    upload_id = models.CharField(max_length=300, blank=True)  # the store's multipart upload, while there is one
    part_size_bytes = models.PositiveBigIntegerField(default=0)
    declared_sha256 = models.CharField(max_length=64, blank=True)
    sha256 = models.CharField(max_length=64, blank=True)
    created_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)
    ready_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=~Q(state=FileState.READY) | (Q(ready_at__isnull=False) & ~Q(sha256="")),
                name="file_ready_means_verified",
            ),
            models.UniqueConstraint(
                fields=["dataset", "name"],
                condition=Q(state__in=["uploading", "verifying", "ready"]),
                name="file_name_once_per_dataset",
            ),
        ]
        indexes = [
            models.Index(fields=["state", "created_at"], condition=~Q(state="ready"), name="file_unfinished")
        ]
