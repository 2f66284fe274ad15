from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import pgettext_lazy

from portal.accounts.access import access_of
from portal.accounts.models import Organization, Project, User
from portal.accounts.roles import Permission
from portal.core.identifiers import certificate_code
from portal.datasets.models.datasets import Dataset


class Leftover(models.Model):
    """Bytes still to be removed from the store. Written with the act that gave them up; the sweep does the rest."""

    storage_key = models.CharField(max_length=120)
    upload_id = models.CharField(max_length=300, blank=True)
    due_at = models.DateTimeField(default=timezone.now)  # later when somebody may still be sending
    arrival = models.BigIntegerField(null=True, blank=True)  # the PlaceEvent of the bytes, where no Copy tells of them
    # What is to be certified: then the store is read back before the row goes.
    entry = models.ForeignKey("DeletionEntry", on_delete=models.PROTECT, null=True, blank=True, related_name="+")

    class Meta:
        indexes = [models.Index(fields=["due_at"], name="leftover_due")]

    def __str__(self) -> str:
        return self.storage_key


class DeletionCause(models.TextChoices):
    PERSON = "person", pgettext_lazy("cause of a deletion", "Deleted by a person")
    EXPIRY = "expiry", pgettext_lazy("cause of a deletion", "The chosen last day has passed")


class DeletionCertificateQuerySet(models.QuerySet["DeletionCertificate"]):
    def visible_to(self, user: User) -> DeletionCertificateQuerySet:
        """To those who may delete."""
        access = access_of(user)
        return self.filter(
            Q(organization__in=access.organizations_with(Permission.UPLOAD))
            | Q(project__in=access.projects_with(Permission.UPLOAD))
        )

    def under_way(self) -> DeletionCertificateQuerySet:
        return self.filter(completed_at=None)


class DeletionCertificate(models.Model):
    """What was removed with a dataset, where and when. Complete only when the store has confirmed every entry."""

    code = models.CharField(max_length=20, unique=True, default=certificate_code, editable=False)
    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="+")
    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="+")
    dataset = models.ForeignKey(Dataset, on_delete=models.PROTECT, related_name="certificates")
    dataset_name = models.CharField(max_length=100)  # as it was called then
    cause = models.CharField(max_length=8, choices=DeletionCause.choices)
    by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    reason = models.CharField(max_length=300, blank=True)
    at = models.DateTimeField(default=timezone.now)
    listed_through = models.BigIntegerField(default=0)  # id of the last file that has its entry
    listed_at = models.DateTimeField(null=True, blank=True)  # every file has its entry
    completed_at = models.DateTimeField(null=True, blank=True)
    entries_sha256 = models.CharField(max_length=64, blank=True)  # over the entries' lines; see certificates.py

    objects = DeletionCertificateQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(completed_at=None) | (Q(listed_at__isnull=False) & ~Q(entries_sha256="")),
                name="certificate_complete_means_listed",
            )
        ]
        indexes = [
            models.Index(fields=["organization", "-id"], name="certificate_by_organization"),
            models.Index(fields=["id"], condition=Q(completed_at=None), name="certificate_under_way"),
        ]

    def __str__(self) -> str:
        return self.code


class DeletionEntry(models.Model):
    """One object or unfinished upload at one place of storage."""

    certificate = models.ForeignKey(
        DeletionCertificate, on_delete=models.PROTECT, related_name="entries", db_index=False
    )
    file_code = models.CharField(max_length=20)
    path = models.CharField(max_length=1200)  # <dataset folder>/<file name>
    size_bytes = models.PositiveBigIntegerField()
    sha256 = models.CharField(max_length=64, blank=True)  # empty: it was never verified
    site = models.CharField(max_length=100)
    copy_site = models.CharField(max_length=50, blank=True, default="", db_default="")  # slug, of a copy besides
    endpoint = models.CharField(max_length=200)
    storage_key = models.CharField(max_length=120)
    upload_id = models.CharField(max_length=300, blank=True)  # of parts that were never joined
    removed_at = models.DateTimeField(null=True, blank=True)  # the store was told, and said yes
    confirmed_at = models.DateTimeField(null=True, blank=True)  # read back: nothing is there (404)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(confirmed_at=None) | Q(removed_at__isnull=False), name="confirmed_means_removed"
            )
        ]
        indexes = [
            models.Index(fields=["certificate", "id"], name="entry_by_certificate"),
            models.Index(fields=["certificate"], condition=Q(confirmed_at=None), name="entry_unconfirmed"),
        ]

    def __str__(self) -> str:
        return self.path
