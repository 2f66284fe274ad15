"""Mails of the catalog, in the reader's language."""

from __future__ import annotations

from urllib.parse import urlencode

from django.conf import settings
from django.urls import reverse

from portal.accounts.emails import send
from portal.catalog.models import CapacityObservation, WaitlistEntry


def send_free(entry: WaitlistEntry, *, seen: CapacityObservation) -> bool:
    """False when the mail server did not take it; the page of the line says it all the same."""
    wanted = urlencode({"offering": entry.offering.slug})
    context = {
        "entry": entry,
        "seen": seen,
        "url": f"{settings.PORTAL_URL}{reverse('jobs:new')}?{wanted}",
        "line_url": settings.PORTAL_URL + reverse("catalog:waitlist"),
    }
    return send("catalog/email/free", to=entry.user.email, language=entry.user.language, context=context)
