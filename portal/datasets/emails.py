"""Mails about data, in the reader's language."""

from __future__ import annotations

from datetime import datetime

from django.conf import settings
from django.db.models import Exists, OuterRef, Q
from django.urls import reverse

from portal.accounts.emails import send
from portal.accounts.models import Membership, User
from portal.accounts.roles import Role
from portal.datasets.models import Copy, CopyState, DataFile, Dataset, DatasetShare

FILES_NAMED = COPIES_NAMED = 20


def send_silence(to: User, *, files: list[DataFile], gone_at: datetime) -> bool:
    """False when the mail server did not take it: it is sent again later."""
    return send(
        "datasets/email/silence",
        to=to.email,
        language=to.language,
        context={
            "files": files,
            "more": max(0, len(files) - FILES_NAMED),
            "gone_at": gone_at,
            "url": settings.PORTAL_URL + reverse("datasets:list"),
        },
    )


def tell_of_damage() -> int:
    """To who made the dataset, once for all that was found since the last mail. Returns how many mails were sent."""
    damaged = Copy.objects.filter(broken_at__isnull=False)
    datasets = Dataset.objects.filter(Exists(damaged.filter(dataset=OuterRef("pk")))).select_related("created_by")
    damaged.filter(dataset=None).update(broken_at=None)  # whose dataset is gone: nobody has a use for it
    return sum(_tell(dataset) for dataset in datasets.order_by("pk")[:100])


def _tell(dataset: Dataset) -> bool:
    rows = Copy.objects.filter(dataset=dataset, broken_at__isnull=False)
    good = Copy.objects.filter(file=OuterRef("file"), state=CopyState.VERIFIED)
    copies = list(rows.annotate(saved=Exists(good)).select_related("file", "site").order_by("pk")[:1000])
    to = dataset.created_by
    context = {
        "dataset": dataset,
        "copies": copies[:COPIES_NAMED],
        "more": max(0, len(copies) - COPIES_NAMED),
        "lost": sorted({copy.file.name for copy in copies if copy.file and not copy.saved})[:COPIES_NAMED],
        "url": settings.PORTAL_URL + reverse("datasets:detail", args=[dataset.code]),
    }
    sent = send("datasets/email/damage", to=to.email, language=to.language, context=context)
    if sent:
        rows.filter(pk__in=[copy.pk for copy in copies]).update(broken_at=None)
    return sent


def send_expiry(to: User, *, dataset: Dataset) -> bool:
    return send(
        "datasets/email/expiry",
        to=to.email,
        language=to.language,
        context={
            "dataset": dataset,
            "url": settings.PORTAL_URL + reverse("datasets:detail", args=[dataset.code]),
        },
    )


def send_share(share_id: int) -> None:
    """To those who manage the receiving project, in it or with all of its organization. Not to who shared it."""
    share = DatasetShare.objects.select_related(
        "dataset__project", "organization", "to_organization", "to_project"
    ).get(pk=share_id)
    place = Q(project=share.to_project) | Q(project=None, organization=share.to_organization)
    for manager in _managers(place, but=share.created_by_id):
        send(
            "datasets/email/share",
            to=manager.email,
            language=manager.language,
            context={
                "share": share,
                "project": share.to_project,
                "url": settings.PORTAL_URL + reverse("datasets:detail", args=[share.dataset.code]),
            },
        )


def _managers(place: Q, *, but: int) -> list[User]:
    members = Membership.objects.active().filter(place, role__in=[Role.OWNER, Role.MANAGER], user__is_active=True)
    return list(User.objects.filter(memberships__in=members).exclude(pk=but).distinct().order_by("pk"))
