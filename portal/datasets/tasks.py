"""What happens to files next. Rows are the to-do list: `sweep` finds what no message told."""

from __future__ import annotations

from celery import shared_task
from celery.signals import celeryd_init
from django.core.exceptions import ImproperlyConfigured
from django.db.models.functions import Now
from django.utils import timezone

from portal.celery import publish, stopping
from portal.datasets import (
    certificates,
    checks,
    cleaning,
    copies,
    copying,
    drafts,
    emails,
    expiry,
    manifests,
    metering,
    sites,
    tallies,
)
from portal.datasets.models import Copy, DataFile, DatasetShare, DeletionCertificate, Keeping, Leftover, StorageSite
from portal.datasets.places import refuse_to_start_abroad
from portal.datasets.storage import StorageUnavailable

DRAIN_S = 40.0  # then others have their turn, and the rest is found again


@celeryd_init.connect  # type: ignore[untyped-decorator]
def _keep_data_in_japan(**_: object) -> None:
    """No worker starts with a store that is not known to be in Japan."""
    try:
        refuse_to_start_abroad()
    except ImproperlyConfigured as abroad:
        raise SystemExit(str(abroad)) from None  # Celery goes on after any other


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
    publish(sweep_copies)


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


@shared_task(name="datasets.tell_of_share", ignore_result=True)
def tell_of_share(share_id: int) -> None:
    """The receiving project's managers get a mail, once; a worker that dies in between leaves them to their list."""
    if DatasetShare.objects.live().filter(pk=share_id, told_at=None).update(told_at=Now()):
        emails.send_share(share_id)


@shared_task(name="datasets.sweep", ignore_result=True)
def sweep() -> None:
    """Seven queries when nothing is due."""
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
    for share_id in DatasetShare.objects.live().filter(told_at=None).order_by("pk").values_list("pk", flat=True)[:100]:
        tell_of_share.delay(share_id)


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


# --- copies: in a queue of their own, so that no amount of data keeps a hand-over waiting -----------------------------


@shared_task(name="datasets.sweep_copies", ignore_result=True)
def sweep_copies() -> None:
    """Ready files that nobody wrote down, wishes to plan, and what is due at each site. One query a site, and three."""
    while copies.place_unplaced():
        pass
    for keeping_id in Keeping.objects.filter(planned=False).order_by("pk").values_list("pk", flat=True)[:100]:
        publish(plan_copies, keeping_id)
    for site in StorageSite.objects.filter(enabled=True).order_by("pk"):
        if copying.due(site).exists() or copying.due_again(site).exists():
            publish(work_on_copies, site.pk)
    if Copy.objects.filter(broken_at__isnull=False).exists():
        publish(tell_of_damage)


@shared_task(name="datasets.plan_copies", ignore_result=True)
def plan_copies(keeping_id: int) -> None:
    """Rows for copies that a dataset's keeping asks for, or gives up; then their site's work."""
    site_id = Keeping.objects.filter(pk=keeping_id).values_list("site_id", flat=True).first()
    while copies.plan(keeping_id) and not stopping.is_set():
        pass
    if site_id is not None:
        publish(work_on_copies, site_id)


@shared_task(name="datasets.work_on_copies", ignore_result=True)
def work_on_copies(site_id: int) -> None:
    """What is due at this site. A store away: what is left stays due, the sweep comes back."""
    site = StorageSite.objects.filter(pk=site_id, enabled=True).first()
    if site is None:
        return
    try:
        more = copying.work(site, for_s=DRAIN_S, stopping=stopping.is_set)
    except StorageUnavailable:
        look_at_sites()
        return
    if more and not stopping.is_set():
        publish(work_on_copies, site_id)


@shared_task(name="datasets.tell_of_damage", ignore_result=True)
def tell_of_damage() -> None:
    """One mail for each dataset that has copies found damaged since the last."""
    emails.tell_of_damage()


@shared_task(name="datasets.look_at_sites", ignore_result=True)
def look_at_sites() -> None:
    """Which sites answer: the others are read from last."""
    for site in StorageSite.objects.filter(enabled=True).order_by("pk"):
        sites.look(site)
