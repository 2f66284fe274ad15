from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import get_language

from portal.accounts.models import User
from portal.catalog.models import Bilingual
from portal.core.sealing import seal, unseal
from portal.datasets.models.datasets import Dataset
from portal.datasets.models.files import DataFile

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
