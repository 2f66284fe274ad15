"""A dataset's last day: chosen by people, told of by mail when 30, 7 and 1 days are left, then deleted by that rule.

Nothing is deleted that nobody was told of: the last warning is a day old at least, whenever the portal was away. A
dataset that a job still reads waits for its end.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from portal.accounts.access import access_of, require
from portal.accounts.models import Membership, User
from portal.accounts.roles import Permission
from portal.audit.recording import record
from portal.core.periods import day_of, interval_of_day
from portal.datasets import certificates, emails
from portal.datasets.models import Dataset, DeletionCause
from portal.datasets.reading import StillRead

LADDER = (30, 7, 1)  # days
AT_ONCE = 200


class ExpiryRefused(ValidationError):
    """That cannot be the last day; the message says why."""


def set_last_day(dataset: Dataset, last_day: date | None, *, by: User) -> None:
    """None: kept until somebody deletes it. The warnings begin anew. Raises NotPermitted, ExpiryRefused."""
    require(by, Permission.UPLOAD, dataset.project)
    if last_day is not None and last_day <= day_of(timezone.now()):
        raise ExpiryRefused(
            _("The last day is tomorrow or later. To delete the dataset at once, use “Delete dataset”.")
        )
    expires_at = interval_of_day(last_day).end if last_day else None
    with transaction.atomic():
        kept = Dataset.objects.kept().filter(pk=dataset.pk).exclude(expires_at=expires_at)
        if not kept.update(expires_at=expires_at, expiry_told_days=None, expiry_told_at=None):
            return
        record(
            "dataset.expiry_set",
            f"dataset:{dataset.code}",
            actor=f"user:{by.pk}",
            chain=dataset.organization.code,
            detail={"last_day": last_day.isoformat() if last_day else None},
        )


def tell(now: datetime) -> int:
    """The warning that is due for each dataset, once. Returns how many were told; a mail that the server did not take
    is tried again."""
    told = 0
    for days, sooner in zip(LADDER, (*LADDER[1:], None), strict=True):
        due = Dataset.objects.kept().filter(
            Q(expiry_told_days=None) | Q(expiry_told_days__gt=days), expires_at__lte=now + timedelta(days=days)
        )
        if sooner is not None:
            due = due.filter(expires_at__gt=now + timedelta(days=sooner))
        for dataset in due.select_related("organization", "project", "created_by").order_by("expires_at")[:AT_ONCE]:
            before = {"expiry_told_days": dataset.expiry_told_days, "expiry_told_at": dataset.expiry_told_at}
            if not due.filter(pk=dataset.pk).update(expiry_told_days=days, expiry_told_at=now):
                continue  # another worker tells
            sent = [emails.send_expiry(person, dataset=dataset) for person in _readers_of_mail(dataset)]
            if sent and all(sent):
                told += 1
            else:
                Dataset.objects.filter(pk=dataset.pk).update(**before)
    return told


def _readers_of_mail(dataset: Dataset) -> list[User]:
    """Who made it; where they are gone, the owners of the organization."""
    if access_of(dataset.created_by).may_in(dataset.project, Permission.UPLOAD):
        return [dataset.created_by]
    owners = Membership.objects.filter(organization=dataset.organization).owners()
    return [membership.user for membership in owners.select_related("user")]


def remove_expired(now: datetime) -> int:
    """Datasets whose last day is over and whose last warning is a day old. Returns how many went."""
    due = Dataset.objects.kept().filter(
        expires_at__lte=now, expiry_told_days=LADDER[-1], expiry_told_at__lte=now - timedelta(days=LADDER[-1])
    )
    removed = 0
    for dataset in due.select_related("project").order_by("expires_at")[:AT_ONCE]:
        try:
            certificates.begin(dataset, cause=DeletionCause.EXPIRY)
        except StillRead:
            continue  # its page says that it waits
        removed += 1
    return removed
