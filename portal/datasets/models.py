from __future__ import annotations

from datetime import date, timedelta

from django.db import models
from django.db.models import Exists, F, OuterRef, Q
from django.db.models.functions import MD5, Collate, Left, Now
from django.utils import timezone
from django.utils.translation import get_language, pgettext_lazy
from django.utils.translation import gettext_lazy as _

from portal.accounts.access import access_of
from portal.accounts.models import Organization, Project, User
from portal.accounts.roles import Permission
from portal.catalog.models import Bilingual
from portal.core.identifiers import certificate_code, dataset_code, file_code
from portal.core.periods import day_of
from portal.core.sealing import seal, unseal


class DatasetQuerySet(models.QuerySet["Dataset"]):
    def visible_to(self, user: User) -> DatasetQuerySet:
        """Own ones and those shared with a place where the person may see data. Own ones also when they are deleted:
        what they held stays as a record."""
        return self.filter(_in_view_of(user, "") | Q(pk__in=DatasetShare.objects.received_by(user).values("dataset")))

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
        return self.filter(_in_view_of(user, "dataset__") | Q(dataset__in=shared, state=FileState.READY))

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
    dataset = models.ForeignKey(Dataset, on_delete=models.PROTECT, related_name="files", db_index=False)
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


class VersionState(models.TextChoices):
    MAKING = "making", pgettext_lazy("version state", "Being made")
    READY = "ready", pgettext_lazy("version state", "Ready")


class DatasetVersionQuerySet(models.QuerySet["DatasetVersion"]):
    def visible_to(self, user: User) -> DatasetVersionQuerySet:
        shared = DatasetShare.objects.received_by(user).values("dataset")
        return self.filter(_in_view_of(user, "dataset__") | Q(dataset__in=shared))


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


class DatasetTally(models.Model):
    """What a dataset's draft holds, as sums: the database writes one row of differences with every statement that
    changes files, the sweep adds them up (portal.datasets.tallies). No lock, no row that all uploads wait for."""

    dataset = models.ForeignKey(Dataset, on_delete=models.CASCADE, related_name="+", db_index=False)
    is_sum = models.BooleanField(default=False, db_default=False)
    files = models.IntegerField(default=0, db_default=0)  # ready
    size_bytes = models.BigIntegerField(default=0, db_default=0)
    fresh = models.IntegerField(default=0, db_default=0)  # ready and in no version yet
    replaced = models.IntegerField(default=0, db_default=0)  # of these: the newest version has another of that name
    gone = models.IntegerField(default=0, db_default=0)  # in the newest version, and no more in the draft
    uploading = models.IntegerField(default=0, db_default=0)
    verifying = models.IntegerField(default=0, db_default=0)
    failed = models.IntegerField(default=0, db_default=0)
    changed_at = models.DateTimeField(null=True, blank=True)  # a file came or went

    class Meta:
        indexes = [
            models.Index(fields=["dataset"], name="tally_by_dataset"),
            models.Index(fields=["dataset"], condition=Q(is_sum=False), name="tally_to_add_up"),
        ]


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
        """Rounded down: 100 only where nothing is free. 0 where bytes are used is for people "under 1%"."""
        return 100 * self.used_bytes // self.limit_bytes if self.free_bytes else 100

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

    No foreign keys: it stays when dataset, job, file and site are long gone. The database takes no place outside of
    Japan.
    """

    file_code = models.CharField(max_length=20)  # of the object, within what it belongs to: residency.py
    # Of the dataset or the job it belongs to. The column keeps the name that the release before writes to.
    subject_code = models.CharField(max_length=20, db_column="dataset_code")
    organization_code = models.CharField(max_length=20)
    name = models.CharField(max_length=1000)  # the file's, in its dataset or among what its job left
    site = models.CharField(max_length=50)  # slug
    region = models.CharField(max_length=40)
    country = models.CharField(max_length=2, blank=True)
    endpoint = models.CharField(max_length=200)
    bucket = models.CharField(max_length=63)
    storage_key = models.CharField(max_length=120)
    act = models.CharField(max_length=10, choices=PlaceAct.choices)
    at = models.DateTimeField()
    sha256 = models.CharField(max_length=64, blank=True)  # empty: nobody computed it
    size_bytes = models.PositiveBigIntegerField()

    class Meta:
        constraints = [models.CheckConstraint(condition=_IN_JAPAN, name="place_in_japan")]
        indexes = [models.Index(fields=["subject_code", "file_code", "id"], name="place_by_dataset")]

    def __str__(self) -> str:
        return f"{self.file_code} {self.act} {self.site}"


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

    dataset = models.ForeignKey(Dataset, on_delete=models.CASCADE, related_name="shares")
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
