from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from portal.accounts.models import User
from portal.datasets.models.datasets import Dataset
from portal.datasets.models.shares import DatasetShare, in_view_of


class VersionState(models.TextChoices):
    MAKING = "making", pgettext_lazy("version state", "Being made")
    READY = "ready", pgettext_lazy("version state", "Ready")


class DatasetVersionQuerySet(models.QuerySet["DatasetVersion"]):
    def visible_to(self, user: User) -> DatasetVersionQuerySet:
        shared = DatasetShare.objects.received_by(user).values("dataset")
        return self.filter(in_view_of(user, "dataset__") | Q(dataset__in=shared))


class DatasetVersion(models.Model):
    """An immutable set of files. Which ones is fixed when the row is made; `ready` once its manifest is in the store.

    The manifest is what portal.datasets.manifests says; the database refuses to change a ready row or what it names.
    """

    dataset = models.ForeignKey(Dataset, on_delete=models.PROTECT, related_name="versions", db_index=False)
    number = models.PositiveIntegerField()  # from 1
    state = models.CharField(max_length=10, choices=VersionState.choices, default=VersionState.MAKING)
    file_count = models.PositiveIntegerField(default=0)
    size_bytes = models.PositiveBigIntegerField(default=0)
    manifest_sha256 = models.CharField(max_length=64, blank=True)
    manifest_key = models.CharField(max_length=120, blank=True)
    note = models.CharField(_("Note"), max_length=200, blank=True)
    created_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+", db_index=False)
    created_at = models.DateTimeField(default=timezone.now)

    objects = DatasetVersionQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["dataset", "number"], name="version_number_once_per_dataset"),
            models.CheckConstraint(
                condition=~Q(state=VersionState.READY) | (~Q(manifest_sha256="") & ~Q(manifest_key="")),
                name="version_ready_means_manifest",
            ),
        ]
        indexes = [models.Index(fields=["id"], condition=Q(state="making"), name="version_to_make")]

    def __str__(self) -> str:
        return f"{self.dataset_id}@{self.number}"
