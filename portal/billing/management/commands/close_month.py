from __future__ import annotations

import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from portal.accounts.models import Organization
from portal.billing import invoicing
from portal.core.periods import BillingMonth, billing_month


class Command(BaseCommand):
    help = (
        "Closes a month, and those before it that are open, and issues the invoices: the month before this one unless"
        " another is named. May be repeated. Prints JSON; exit code 1 when a month could not be closed."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("month", nargs="?", help="2026-11")
        parser.add_argument("--organization", metavar="CODE", help="only this one (o-…)")

    def handle(self, *args: Any, **options: Any) -> None:
        organization = None
        if code := options["organization"]:
            organization = Organization.objects.filter(code=code).first()
            if organization is None:
                raise CommandError(f"There is no organization {code}.")
        try:
            month = BillingMonth.parse(options["month"]) if options["month"] else billing_month(timezone.now()).previous
            outcomes = list(invoicing.close_months(month, organization=organization, by="operator"))
        except invoicing.MonthNotOver:
            raise CommandError(f"{options['month']} is not over yet in Japan.") from None
        except ValueError as refused:
            raise CommandError(str(refused)) from None
        self.stdout.write(
            json.dumps({"month": str(month), "closed": [_told(o) for o in outcomes]}, ensure_ascii=False, indent=2)
        )
        if any(outcome.problem for outcome in outcomes):
            sys.exit(1)


def _told(outcome: invoicing.Outcome) -> dict[str, Any]:
    told: dict[str, Any] = {
        "organization": outcome.organization.code,
        "member": outcome.member.slug,
        "month": str(outcome.month),
    }
    if outcome.invoice:
        told |= {"invoice": outcome.invoice.number, "total": outcome.invoice.total, "due": outcome.invoice.due}
    if outcome.problem:
        told["problem"] = outcome.problem
    return told
