from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import get_language, pgettext_lazy
from django.utils.translation import gettext_lazy as _

from portal.accounts.access import access_of
from portal.accounts.models import Organization, Project, User
from portal.accounts.roles import Permission
from portal.catalog.models import Bilingual
from portal.core.identifiers import dataset_code, file_code
from portal.core.sealing import seal, unseal


class DatasetQuerySet(models.QuerySet["Dataset"]):
    def visible_to(self, user: User) -> DatasetQuerySet:
        return self.filter(_in_view_of(user, ""))


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
    # Besides the primary site, where all is. A keeping that is ending counts no more: see copies.sites_of.
    keep_at: models.ManyToManyField[StorageSite, Keeping] = models.ManyToManyField("StorageSite", through="Keeping")

    objects = DatasetQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "name"], name="dataset_name_once_per_project"),
            models.UniqueConstraint(fields=["project", "folder"], name="dataset_folder_once_per_project"),
        ]
        indexes = [
            models.Index(fields=["organization", "-id"], name="dataset_by_organization"),
            models.Index(fields=["project", "-id"], name="dataset_by_project"),
        ]

    def __str__(self) -> str:
        return self.name


class FileState(models.TextChoices):
    UPLOADING = "uploading", pgettext_lazy("file state", "Uploading")
    VERIFYING = "verifying", pgettext_lazy("file state", "Verifying")
    READY = "ready", pgettext_lazy("file state", "Ready")
    FAILED = "failed", pgettext_lazy("file state", "Failed")
    ABANDONED = "abandoned", pgettext_lazy("file state", "Abandoned")

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
}


class FileFailure(models.TextChoices):
    """Why a file did not become ready: the sentence, with the file's name and what to do next."""

    SIZE = "size", _("“%(name)s” arrived with a different size than it has on your computer. Upload it again.")
    CHECKSUM = "checksum", _("The checksum of “%(name)s” differs from your file. Upload it again.")
    LOST = "lost", _("“%(name)s” is not in the storage. Upload it again.")
    SILENT = "silent", _("Nothing arrived for “%(name)s” for 7 days, so its parts were removed. Upload it again.")


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

    # The upload.
    upload_id = models.CharField(max_length=300, blank=True)  # the store's multipart upload, while there is one
    part_size_bytes = models.PositiveBigIntegerField(default=0)  # 0: sent as a plain form
    active_at = models.DateTimeField(default=timezone.now)  # last time the sender asked for anything
    last_modified_ms = models.BigIntegerField(default=0)  # of the person's own file, as the browser tells
    fingerprint = models.CharField(max_length=64, blank=True)  # SHA-256 of its two ends: is it the same file again?
    declared_sha256 = models.CharField(max_length=64, blank=True)
    declared_parts_sha256 = models.CharField(max_length=64, blank=True)

    # The check.
    sha256 = models.CharField(max_length=64, blank=True)
    checked_until = models.DateTimeField(null=True, blank=True)  # a worker reads it until then; database clock
    placed = models.BooleanField(default=False)  # a ready file stands in the place log, and its copies are asked for

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
            models.Index(fields=["id"], condition=Q(state="ready", placed=False), name="file_to_place"),
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

    class Meta:
        indexes = [models.Index(fields=["due_at"], name="leftover_due")]

    def __str__(self) -> str:
        return self.storage_key


# --- sites and copies ------------------------------------------------------------------------------------------------

_IN_JAPAN = Q(country="JP") | Q(country="", endpoint__regex=r"^https?://(127\.[0-9.]+|localhost|\[::1\])(:|/|$)")


class StorageSite(Bilingual):
    """One bucket of one object store in Japan. The database takes no site of another country; an empty country is the
    demo's, whose store is the computer it runs on. Without sealed credentials they come from the settings, by slug.
    """

    slug = models.SlugField(unique=True)
    provider = models.CharField(max_length=50, blank=True)  # catalog.Provider's slug, where one runs it
    region = models.CharField(max_length=40)
    prefecture_ja = models.CharField(max_length=60, blank=True)
    prefecture_en = models.CharField(max_length=60, blank=True)
    country = models.CharField(max_length=2, default="JP", blank=True)
    endpoint = models.CharField(max_length=200)
    public_endpoint = models.CharField(max_length=200)
    bucket = models.CharField(max_length=63)
    sealed_credentials = models.TextField(blank=True)
    enabled = models.BooleanField(default=True)
    is_primary = models.BooleanField(default=False)
    failing_since = models.DateTimeField(null=True, blank=True)  # it did not answer then and has not since

    class Meta:
        constraints = [
            models.CheckConstraint(condition=_IN_JAPAN, name="site_in_japan"),
            models.UniqueConstraint(fields=["is_primary"], condition=Q(is_primary=True), name="site_one_primary"),
        ]

    @property
    def prefecture(self) -> str:
        return self.prefecture_en if (get_language() or "ja").startswith("en") else self.prefecture_ja

    def credentials(self) -> dict[str, str]:
        """access_key and secret_key; {} where the settings have them. Raises CannotOpen."""
        return unseal(self.sealed_credentials)

    def set_credentials(self, credentials: dict[str, str]) -> None:
        self.sealed_credentials = seal(credentials)


class Keeping(models.Model):
    """All files of this dataset are kept at this site too. `planned_to` is how far its copies have been written down:
    the number of the last file; a keeping that is ending goes through them once more and gives them up."""

    dataset = models.ForeignKey(Dataset, on_delete=models.CASCADE, related_name="keepings", db_index=False)
    site = models.ForeignKey(StorageSite, on_delete=models.PROTECT, related_name="keepings", db_index=False)
    added_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+", db_index=False)
    added_at = models.DateTimeField(default=timezone.now)
    ending = models.BooleanField(default=False)
    planned_to = models.BigIntegerField(default=0)
    planned = models.BooleanField(default=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["dataset", "site"], name="keeping_once")]
        indexes = [models.Index(fields=["id"], condition=Q(planned=False), name="keeping_to_plan")]


class CopyState(models.TextChoices):
    WANTED = "wanted"
    COPYING = "copying"
    VERIFIED = "verified"
    BROKEN = "broken"
    REMOVING = "removing"
    GONE = "gone"


class Copy(models.Model):
    """The bytes of one file at one site; the primary's are a copy too. It outlives its file until its bytes are gone.

    A worker has it until `lease_until`, by the database's clock, and settles only if `turn` is still the one it took.
    """

    file = models.ForeignKey(DataFile, on_delete=models.SET_NULL, null=True, related_name="copies", db_index=False)
    dataset = models.ForeignKey(Dataset, on_delete=models.SET_NULL, null=True, related_name="+", db_index=False)
    site = models.ForeignKey(StorageSite, on_delete=models.PROTECT, related_name="copies", db_index=False)
    storage_key = models.CharField(max_length=120)
    size_bytes = models.PositiveBigIntegerField()
    sha256 = models.CharField(max_length=64)
    state = models.CharField(max_length=10, choices=CopyState.choices, default=CopyState.WANTED)
    upload_id = models.CharField(max_length=300, blank=True)  # at this site, while its parts arrive
    sent_bytes = models.PositiveBigIntegerField(default=0)  # of those parts
    lease_until = models.DateTimeField(null=True, blank=True)
    turn = models.PositiveIntegerField(default=0)
    not_before = models.DateTimeField(null=True, blank=True)  # after something went wrong
    arrival = models.BigIntegerField(null=True, blank=True)  # the PlaceEvent of the bytes that are, or were last, there
    verified_at = models.DateTimeField(null=True, blank=True)
    verify_after = models.DateTimeField(null=True, blank=True)
    broken_at = models.DateTimeField(null=True, blank=True)  # and nobody has been told yet

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["file", "site"], name="copy_once_per_site"),
            models.CheckConstraint(
                condition=~Q(state="verified") | Q(arrival__isnull=False, verified_at__isnull=False),
                name="copy_verified_means_read_back",
            ),
        ]
        indexes = [
            models.Index(
                fields=["site", "id"],
                condition=Q(state__in=["wanted", "copying", "broken", "removing"]),
                name="copy_to_do",
            ),
            models.Index(fields=["site", "verify_after"], condition=Q(state="verified"), name="copy_to_verify"),
            models.Index(fields=["dataset", "site", "state"], include=["size_bytes"], name="copy_by_dataset"),
            models.Index(fields=["storage_key"], name="copy_by_key"),
            models.Index(fields=["dataset"], condition=Q(broken_at__isnull=False), name="copy_to_tell"),
        ]

    def __str__(self) -> str:
        return f"{self.storage_key} ({self.state})"


class PlaceAct(models.TextChoices):
    ARRIVED = "arrived"
    VERIFIED = "verified"
    DAMAGED = "damaged"
    LEFT = "left"


class PlaceEvent(models.Model):
    """Where an object came to, was found and left: append-only, and enough by itself for the residency report.

    No foreign keys: it stays when dataset, file and site are long gone. The database takes no place outside of Japan.
    """

    file_code = models.CharField(max_length=20)
    dataset_code = models.CharField(max_length=20)
    organization_code = models.CharField(max_length=20)
    name = models.CharField(max_length=1000)  # the file's, in its dataset
    site = models.CharField(max_length=50)  # slug
    region = models.CharField(max_length=40)
    country = models.CharField(max_length=2, blank=True)
    endpoint = models.CharField(max_length=200)
    bucket = models.CharField(max_length=63)
    storage_key = models.CharField(max_length=120)
    act = models.CharField(max_length=10, choices=PlaceAct.choices)
    at = models.DateTimeField()
    sha256 = models.CharField(max_length=64)
    size_bytes = models.PositiveBigIntegerField()

    class Meta:
        constraints = [models.CheckConstraint(condition=_IN_JAPAN, name="place_in_japan")]
        indexes = [models.Index(fields=["dataset_code", "file_code", "id"], name="place_by_dataset")]

    def __str__(self) -> str:
        return f"{self.file_code} {self.act} {self.site}"
