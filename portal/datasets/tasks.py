"""What happens to files next. Rows are the to-do list: `sweep` finds what no message told."""

from __future__ import annotations

from celery import shared_task
from django.utils import timezone

from portal.datasets import certificates, checks, cleaning, drafts, manifests, tallies
from portal.datasets.models import DataFile, DeletionCertificate, Leftover
from portal.datasets.storage import StorageUnavailable


@shared_task(name="datasets.verify_file", ignore_result=True)
def verify_file(file_id: int) -> None:
    """From `verifying` to `ready` or `failed`. The store away: it stays, the sweep comes back."""
    try:
        settled = checks.verify(file_id)
    except StorageUnavailable:
        return
    if settled:
        for dataset_id in DataFile.objects.filter(pk=file_id).values_list("dataset", flat=True):
            make_wanted_version(dataset_id)
    remove_leftovers()


@shared_task(name="datasets.make_wanted_version", ignore_result=True)
def make_wanted_version(dataset_id: int) -> None:
    """Somebody wants a version as soon as every file is verified: if so, it is made, and its manifest written."""
    if version := drafts.make_wanted(dataset_id):
        write_manifest(version.pk)


@shared_task(name="datasets.write_manifest", ignore_result=True)
def write_manifest(version_id: int) -> None:
    """From `making` to `ready`. The store away: it stays, the sweep comes back."""
    try:
        manifests.write(version_id)
    except StorageUnavailable:
        return


@shared_task(name="datasets.remove_leftovers", ignore_result=True)
def remove_leftovers() -> None:
    try:
        cleaning.remove_leftovers(timezone.now())
    except StorageUnavailable:
        return


@shared_task(name="datasets.sweep", ignore_result=True)
def sweep() -> None:
    """Six queries when nothing is due."""
    for file_id in DataFile.objects.to_verify().order_by("pk").values_list("pk", flat=True)[:100]:
        verify_file.delay(file_id)
    if Leftover.objects.filter(due_at__lte=timezone.now()).exists():
        remove_leftovers.delay()
    for dataset_id in drafts.wanted():
        make_wanted_version.delay(dataset_id)
    for version_id in manifests.to_write():
        write_manifest.delay(version_id)
    tallies.add_up()
    if DeletionCertificate.objects.under_way().exists():
        certify_deletions.delay()


@shared_task(name="datasets.certify_deletions", ignore_result=True)
def certify_deletions() -> None:
    """From a deleted dataset to its complete certificate, as far as the store has confirmed. The sweep comes back."""
    certificates.carry_on(timezone.now())
    remove_leftovers()
    certificates.carry_on(timezone.now())


@shared_task(name="datasets.abort_abandoned_uploads", ignore_result=True)
def abort_abandoned_uploads() -> None:
    """Uploads silent for 24 hours become `abandoned`, and their parts go; who has 12 hours left is told by mail."""
    now = timezone.now()
    cleaning.tell_of_silent_uploads(now)
    cleaning.give_up_silent_uploads(now)
    remove_leftovers()
    try:
        cleaning.abort_unknown_uploads(now)
    except StorageUnavailable:
        return
