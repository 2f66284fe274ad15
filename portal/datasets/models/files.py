from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import MD5, Collate, Left, Now
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from portal.accounts.models import Project, User
from portal.core.identifiers import file_code
from portal.datasets.models.shares import DatasetShare, in_view_of

if TYPE_CHECKING:
    from portal.datasets.models.versions import DatasetVersion


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
    GONE = "gone", _("What “%(name)s” was to be copied from is no longer in the storage.")
    SILENT = "silent", _("Nothing arrived for “%(name)s” for 24 hours, so its parts were removed. Upload it again.")


# Paths are listed by their bytes. An index takes up to 2,700 of them: it knows how a path begins; what begins alike is
# sorted when it is asked for.
PATH_BYTES = Collate("name", "C")
PATH_BEGINNING = Collate(Left("name", 255), "C")
LAST_LETTER = "\U0010ffff"
UNFINISHED = ("uploading", "verifying")
NOT_READY = (*UNFINISHED, "failed", "abandoned")
NEVER_ARRIVED = ("uploading", "abandoned")


class DataFileQuerySet(models.QuerySet["DataFile"]):
    def visible_to(self, user: User) -> DataFileQuerySet:
        """Of shared datasets only what is ready."""
        shared = DatasetShare.objects.received_by(user).values("dataset")
        return self.filter(in_view_of(user, "dataset__") | Q(dataset__in=shared, state=FileState.READY))

    def readable_in(self, project: Project) -> DataFileQuerySet:
        """What jobs of the project may read at this moment: ready files of its own and of datasets shared with it."""
        shared = DatasetShare.objects.to(project).values("dataset")
        return self.ready().filter(Q(dataset__project=project) | Q(dataset__in=shared))

    def draft(self) -> DataFileQuerySet:
        """What the next version will be made of, and what is still on its way into it."""
        return self.filter(removed_in=None)

    def in_no_version(self) -> DataFileQuerySet:
        """Ready, and only in the draft."""
        return self.draft().ready().filter(added_in=None)

    def of_version(self, version: DatasetVersion) -> DataFileQuerySet:
        return self.filter(Q(removed_in=None) | Q(removed_in__gt=version.number)).filter(
            dataset=version.dataset_id, added_in__lte=version.number, state=FileState.READY
        )

    def in_path_order(self, *, after: str = "", beginning: str = "") -> DataFileQuerySet:
        """By the bytes of the path, those behind `after`, those that begin so. One index walks a dataset this way."""
        rows = self.annotate(path_bytes=PATH_BYTES, path_beginning=PATH_BEGINNING)
        if after:
            rows = rows.filter(path_beginning__gte=after[:255], path_bytes__gt=after)
        if beginning:
            rows = rows.filter(path_beginning__gte=beginning[:255], path_beginning__lte=beginning[:255] + LAST_LETTER)
            rows = rows.filter(path_bytes__gte=beginning, path_bytes__lte=beginning + LAST_LETTER)
        return rows.order_by("path_beginning", "path_bytes")

    def ready(self) -> DataFileQuerySet:
        return self.filter(state=FileState.READY)

    def unfinished_of(self, user: User) -> DataFileQuerySet:
        """Uploads this person began and can go on with, newest first."""
        return self.visible_to(user).filter(created_by=user, state=FileState.UPLOADING).order_by("-pk")

    def at(self, *paths: str) -> DataFileQuerySet:
        """Files of these very paths in their datasets, by the index of paths."""
        rows = self.annotate(path_beginning=PATH_BEGINNING)
        return rows.filter(path_beginning__in=[path[:255] for path in paths], name__in=paths)

    def below(self, path: str) -> DataFileQuerySet:
        """Files in the folder of that path, at any depth."""
        return self.in_path_order(beginning=f"{path}/")

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
    dataset = models.ForeignKey("Dataset", on_delete=models.PROTECT, related_name="files", db_index=False)
    # Its path inside the dataset, as the person named it: shown and given back, never used as a key.
    name = models.CharField(max_length=1000)
    size_bytes = models.PositiveBigIntegerField()
    content_type = models.CharField(max_length=100, blank=True)
    state = models.CharField(max_length=10, choices=FileState.choices, default=FileState.UPLOADING)
    failure = models.CharField(max_length=10, choices=FileFailure.choices, blank=True)
    storage_key = models.CharField(max_length=120, unique=True)  # t/<organization code>/<file code>
    created_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+", db_index=False)
    created_at = models.DateTimeField(default=timezone.now)
    ready_at = models.DateTimeField(null=True, blank=True)
    removed_at = models.DateTimeField(null=True, blank=True)  # with its dataset; the row is the record of what was

    # Versions: it is in those from `added_in` on (null: only in the draft) and before `removed_in` (null: still there).
    added_in = models.PositiveIntegerField(null=True, blank=True)
    removed_in = models.PositiveIntegerField(null=True, blank=True)
    # While it is not ready: the file of the same name that leaves the draft when it is.
    replaces = models.ForeignKey(
        "self", on_delete=models.SET_NULL, related_name="+", null=True, blank=True, db_index=False
    )
    replaced_earlier = models.BooleanField(default=False, db_default=False)  # the newest version had one of that name

    # The upload.
    upload_id = models.CharField(max_length=300, blank=True)  # the store's multipart upload, while there is one
    part_size_bytes = models.PositiveBigIntegerField(default=0)  # 0: sent as a plain form
    active_at = models.DateTimeField(default=timezone.now)  # last time the sender asked for anything
    silence_told_at = models.DateTimeField(null=True, blank=True)  # its owner got a mail: it will be given up
    last_modified_ms = models.BigIntegerField(default=0)  # of the person's own file, as the browser tells
    fingerprint = models.CharField(max_length=64, blank=True)  # SHA-256 of its two ends: is it the same file again?
    declared_sha256 = models.CharField(max_length=64, blank=True)
    declared_parts_sha256 = models.CharField(max_length=64, blank=True)

    copy_from = models.CharField(max_length=120, blank=True, default="", db_default="")  # key still to be copied, by us

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
            # By a digest, since an index takes 2,700 bytes at most.
            models.UniqueConstraint(
                "dataset",
                MD5("name"),
                condition=Q(state="ready", removed_in__isnull=True),
                name="file_name_once_per_draft",
            ),
            models.UniqueConstraint(
                "dataset", MD5("name"), condition=Q(state__in=UNFINISHED), name="file_name_sent_once_at_a_time"
            ),
        ]
        indexes = [
            models.Index(F("dataset"), PATH_BEGINNING, name="file_by_path"),
            models.Index(fields=["dataset", "-id"], condition=Q(removed_in__isnull=True), name="file_of_draft"),
            models.Index(fields=["dataset", "-id"], condition=Q(state__in=NOT_READY), name="file_not_ready"),
            models.Index(
                fields=["dataset", "-id"],
                condition=Q(state="ready", added_in__isnull=True, removed_in__isnull=True),
                name="file_in_no_version",
            ),
            models.Index(fields=["dataset", "added_in"], condition=Q(added_in__isnull=False), name="file_added_in"),
            models.Index(
                fields=["dataset", "removed_in"], condition=Q(removed_in__isnull=False), name="file_removed_in"
            ),
            models.Index(fields=["replaces"], condition=Q(replaces__isnull=False), name="file_replaces"),
            models.Index(fields=["dataset", "-id"], name="file_by_dataset"),
            models.Index(fields=["created_by", "-id"], condition=Q(state="uploading"), name="file_unfinished"),
            models.Index(fields=["active_at"], condition=Q(state="uploading"), name="file_silent"),
            models.Index(fields=["id"], condition=Q(state="verifying"), name="file_to_verify"),
            models.Index(fields=["id"], condition=Q(state="ready", placed=False), name="file_to_place"),
        ]

    def __str__(self) -> str:
        return self.name

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
    def folders(self) -> list[str]:
        """The paths of those it lies in: "a" and "a/b" for "a/b/c.txt"."""
        return ["/".join(self.name.split("/")[:depth]) for depth in range(1, self.name.count("/") + 1)]

    @property
    def base_name(self) -> str:
        """Without its folders: what a download is called."""
        return self.name.rpartition("/")[2]

    @property
    def part_count(self) -> int:
        return -(-self.size_bytes // self.part_size_bytes) if self.part_size_bytes else 0

    def size_of_part(self, number: int) -> int:
        """Parts count from 1; the last one is what is left."""
        return min(self.part_size_bytes, self.size_bytes - (number - 1) * self.part_size_bytes)
