"""Mails about data, in the reader's language. False when the mail server did not take one: it is sent again later."""

from __future__ import annotations

from datetime import datetime

from django.conf import settings
from django.db.models import Exists, OuterRef
from django.urls import reverse

from portal.accounts.emails import send
from portal.accounts.models import User
from portal.datasets.models import Copy, CopyState, DataFile, Dataset

FILES_NAMED = COPIES_NAMED = 20


def send_silence(to: User, *, files: list[DataFile], gone_at: datetime) -> bool:
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
