"""What happens to files next. Rows are the to-do list: `sweep` finds what no message told."""

from __future__ import annotations

from celery import shared_task
from django.utils import timezone

from portal.datasets import certificates, checks, cleaning, expiry, metering
from portal.datasets.models import DataFile, DeletionCertificate, Leftover
from portal.datasets.storage import StorageUnavailable


@shared_task(name="datasets.verify_file", ignore_result=True)
def verify_file(file_id: int) -> None:
    """From `verifying` to `ready` or `failed`. The store away: it stays, the sweep comes back."""
    try:
        checks.verify(file_id)
    except StorageUnavailable:
        return
    remove_leftovers()


@shared_task(name="datasets.remove_leftovers", ignore_result=True)
def remove_leftovers() -> None:
    try:
        cleaning.remove_leftovers(timezone.now())
    except StorageUnavailable:
        return


@shared_task(name="datasets.sweep", ignore_result=True)
def sweep() -> None:
    """Three queries when nothing is due."""
    for file_id in DataFile.objects.to_verify().order_by("pk").values_list("pk", flat=True)[:100]:
        verify_file.delay(file_id)
    if Leftover.objects.filter(due_at__lte=timezone.now()).exists():
        remove_leftovers.delay()
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


@shared_task(name="datasets.meter_storage", ignore_result=True)
def meter_storage() -> None:
    """Usage records of the days that are over; one query and no more when all have theirs."""
    metering.record(timezone.now())


@shared_task(name="datasets.expire", ignore_result=True)
def expire() -> None:
    """Warnings that are due, and datasets whose last day is over; two queries for each step when none is."""
    now = timezone.now()
    expiry.tell(now)
    if expiry.remove_expired(now):
        certify_deletions()
