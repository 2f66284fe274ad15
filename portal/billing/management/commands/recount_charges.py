from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from portal.accounts.models import Organization
from portal.billing import sums


class Command(BaseCommand):
    help = (
        "Counts the sums of charges by month and person anew, one organization after the other, while all goes on."
        " Once after an update during which the release before was still charging; verify_ledger tells whether."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        for organization in Organization.objects.order_by("pk"):
            sums.recount(organization)
