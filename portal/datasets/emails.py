"""Mails of this app, in the reader's language. A missing mail server is tried again by the sweep."""

from __future__ import annotations

from smtplib import SMTPException

import structlog
from django.conf import settings
from django.core.mail import send_mail
from django.db.models import Exists, OuterRef
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import translation

from portal.datasets.models import Copy, CopyState, Dataset

log = structlog.get_logger(__name__)

NAMED = 20


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
        "copies": copies[:NAMED],
        "more": max(0, len(copies) - NAMED),
        "lost": sorted({copy.file.name for copy in copies if copy.file and not copy.saved})[:NAMED],
        "url": settings.PORTAL_URL + reverse("datasets:detail", args=[dataset.code]),
    }
    with translation.override(to.language):
        subject = " ".join(render_to_string("datasets/email/damage.subject.txt", context).split())
        text = render_to_string("datasets/email/damage.txt", context)
    try:
        send_mail(subject, text, None, [to.email])
    except (SMTPException, OSError):
        log.exception("mail_not_sent", template="datasets/email/damage")
        return False
    rows.filter(pk__in=[copy.pk for copy in copies]).update(broken_at=None)
    return True
