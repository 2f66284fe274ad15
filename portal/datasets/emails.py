"""Mails about data, in the reader's language. False when the mail server did not take one: it is sent again later."""

from __future__ import annotations

from datetime import datetime

from django.conf import settings
from django.urls import reverse

from portal.accounts.emails import send
from portal.accounts.models import User
from portal.datasets.models import DataFile, Dataset

FILES_NAMED = 20


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
