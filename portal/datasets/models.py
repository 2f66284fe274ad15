from __future__ import annotations

from datetime import date, timedelta

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from portal.accounts.access import access_of
from portal.accounts.models import Organization, Project, User
from portal.accounts.roles import Permission
from portal.core.identifiers import certificate_code, dataset_code, file_code
from portal.core.periods import day_of


class DatasetQuerySet(models.QuerySet["Dataset"]):
    def visible_to(self, user: User) -> DatasetQuerySet:
        """Deleted ones too: what they held stays as a record."""
        return self.filter(_in_view_of(user, ""))

    def kept(self) -> DatasetQuerySet:
        return self.filter(removed_at=None)


def _in_view_of(user: User, prefix: str) -> Q:
    access = access_of(user)
    return Q(**{f"{prefix}organization__in": access.organizations_with(Permission.VIEW)}) | Q(
        **{f"{prefix}project__in": access.projects_with(Permission.VIEW)}
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
    removed_at = models.DateTimeField(null=True, blank=True)  # its files with it; the rows stay
    expires_at = models.DateTimeField(null=True, blank=True)  # the midnight in Japan that ends its last day
    # Of its warnings the newest: days that were left, and when the mail went.
    expiry_told_days = models.PositiveSmallIntegerField(null=True, blank=True)
    expiry_told_at = models.DateTimeField(null=True, blank=True)

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
            models.Index(
                fields=["expires_at"], condition=Q(removed_at=None, expires_at__isnull=False), name="dataset_expiring"
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def last_day(self) -> date | None:
        """In Japan; it is deleted when that day is over."""
        return day_of(self.expires_at - timedelta(microseconds=1)) if self.expires_at else None

    @property
    def expires_soon(self) -> bool:
        """Within the time of the warnings."""
        return self.expires_at is not None and self.expires_at - timezone.now() <= timedelta(days=30)


class FileState(models.TextChoices):
    UPLOADING = "uploading", pgettext_lazy("file state", "Uploading")
    VERIFYING = "verifying", pgettext_lazy("file state", "Verifying")
    READY = "ready", pgettext_lazy("file state", "Ready")
    FAILED = "failed", pgettext_lazy("file state", "Failed")
    ABANDONED = "abandoned", pgettext_lazy("file state", "Abandoned")
    REMOVED = "removed", pgettext_lazy("file state", "Deleted")

    @property
    def badge(self) -> str:
        return _FACES[self][0]

    @property
    def icon(self) -> str:
        return _FACES[self][1]


_FACES = {
    FileState.UPLOADING: ("run", "ul"),
    FileState.VERIFYING: ("run", "run"),
    FileState.READY: ("ok", "ok"),
    FileState.FAILED: ("err", "err"),
    FileState.ABANDONED: ("", "stop"),
    FileState.REMOVED: ("", "trash"),
}


class FileFailure(models.TextChoices):
    """Why a file did not become ready: the sentence, with the file's name and what to do next."""

    SIZE = "size", _("“%(name)s” arrived with a different size than it has on your computer. Upload it again.")
    CHECKSUM = "checksum", _("The checksum of “%(name)s” differs from your file. Upload it again.")
    LOST = "lost", _("“%(name)s” is not in the storage. Upload it again.")
    SILENT = "silent", _("Nothing arrived for “%(name)s” for 24 hours, so its parts were removed. Upload it again.")


class DataFileQuerySet(models.QuerySet["DataFile"]):
    def visible_to(self, user: User) -> DataFileQuerySet:
        return self.filter(_in_view_of(user, "dataset__"))

    def ready(self) -> DataFileQuerySet:
        return self.filter(state=FileState.READY)

    def unfinished_of(self, user: User) -> DataFileQuerySet:
        """Uploads this person began and can go on with, newest first."""
        return self.visible_to(user).filter(created_by=user, state=FileState.UPLOADING).order_by("-pk")

    def to_verify(self) -> DataFileQuerySet:
        """Completed uploads that nobody is reading now, by the database's clock."""
        return self.filter(Q(checked_until=None) | Q(checked_until__lt=Now()), state=FileState.VERIFYING)


class DataFile(models.Model):
    """One file: first an upload, then, when size and checksum match, ready for jobs.

    `sha256` is what the portal computed from the bytes in the store. The browser declares one of two checksums or both:
    `declared_sha256` of the whole file, or `declared_parts_sha256`, the SHA-256 over the SHA-256 of each part in order
    (a browser cannot hash a large file as a whole). What was declared must be equal.
    """

    code = models.CharField(max_length=20, unique=True, default=file_code, editable=False)
    dataset = models.ForeignKey(Dataset, on_delete=models.PROTECT, related_name="files", db_index=False)
    name = models.CharField(max_length=255)  # as the person named it: shown and given back, never used as a key
    size_bytes = models.PositiveBigIntegerField()
    content_type = models.CharField(max_length=100, blank=True)
    state = models.CharField(max_length=10, choices=FileState.choices, default=FileState.UPLOADING)
    failure = models.CharField(max_length=10, choices=FileFailure.choices, blank=True)
    storage_key = models.CharField(max_length=120, unique=True)  # t/<organization code>/<file code>
    created_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+", db_index=False)
    created_at = models.DateTimeField(default=timezone.now)
    ready_at = models.DateTimeField(null=True, blank=True)
    removed_at = models.DateTimeField(null=True, blank=True)  # with its dataset; the row is the record of what was

    # The upload.
    upload_id = models.CharField(max_length=300, blank=True)  # the store's multipart upload, while there is one
    part_size_bytes = models.PositiveBigIntegerField(default=0)  # 0: sent as a plain form
    active_at = models.DateTimeField(default=timezone.now)  # last time the sender asked for anything
    silence_told_at = models.DateTimeField(null=True, blank=True)  # its owner got a mail: it will be given up
    last_modified_ms = models.BigIntegerField(default=0)  # of the person's own file, as the browser tells
    fingerprint = models.CharField(max_length=64, blank=True)  # SHA-256 of its two ends: is it the same file again?
    declared_sha256 = models.CharField(max_length=64, blank=True)
    declared_parts_sha256 = models.CharField(max_length=64, blank=True)

    # The check.
    sha256 = models.CharField(max_length=64, blank=True)
    checked_until = models.DateTimeField(null=True, blank=True)  # a worker reads it until then; database clock

    objects = DataFileQuerySet.as_manager()

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
            models.Index(fields=["dataset", "-id"], name="file_by_dataset"),
            models.Index(fields=["created_by", "-id"], condition=Q(state="uploading"), name="file_unfinished"),
            models.Index(fields=["active_at"], condition=Q(state="uploading"), name="file_silent"),
            models.Index(fields=["id"], condition=Q(state="verifying"), name="file_to_verify"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def state_label(self) -> str:
        return str(FileState(self.state).label)

    @property
    def face(self) -> FileState:
        return FileState(self.state)

    @property
    def failure_text(self) -> str:
        return str(FileFailure(self.failure).label) % {"name": self.name} if self.failure else ""

    @property
    def path(self) -> str:
        """Where a job finds it, below $PORTAL_DATA_DIR."""
        return f"{self.dataset.folder}/{self.name}"

    @property
    def part_count(self) -> int:
        return -(-self.size_bytes // self.part_size_bytes) if self.part_size_bytes else 0

    def size_of_part(self, number: int) -> int:
        """Parts count from 1; the last one is what is left."""
        return min(self.part_size_bytes, self.size_bytes - (number - 1) * self.part_size_bytes)


class Leftover(models.Model):
    """Bytes still to be removed from the store. Written with the act that gave them up; the sweep does the rest."""

    storage_key = models.CharField(max_length=120)
    upload_id = models.CharField(max_length=300, blank=True)
    due_at = models.DateTimeField(default=timezone.now)  # later when somebody may still be sending
    # What is to be certified: then the store is read back before the row goes.
    entry = models.ForeignKey("DeletionEntry", on_delete=models.PROTECT, null=True, blank=True, related_name="+")

    class Meta:
        indexes = [models.Index(fields=["due_at"], name="leftover_due")]

    def __str__(self) -> str:
        return self.storage_key


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
        """Rounded up, so that whoever keeps anything sees it; 100 is said only where nothing is free."""
        if not self.free_bytes:
            return 100
        return min(99, -(-100 * self.used_bytes // self.limit_bytes))

    @property
    def tone(self) -> str:
        return "err" if self.percent >= 100 else "warn" if self.percent >= 80 else ""


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
