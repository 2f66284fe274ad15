from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from portal.accounts.models import Organization
from portal.billing import payments


class Command(BaseCommand):
    help = "Sets how many yen an organization may use before it pays by invoice. Without a number it only says it."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("organization", help="the organization's code (o-…)")
        parser.add_argument("yen", nargs="?", type=int)

    def handle(self, *args: Any, **options: Any) -> None:
        organization = Organization.objects.filter(code=options["organization"]).first()
        if organization is None:
            raise CommandError(f"There is no organization {options['organization']}.")
        if options["yen"] is not None:
            try:
                payments.set_invoice_credit(organization, options["yen"], by="operator")
            except payments.BelowUsed:
                raise CommandError("Part of it is used and not paid yet, or held for jobs.") from None
            except ValueError as refused:
                raise CommandError(str(refused)) from None
        self.stdout.write(f"{organization.code}: {payments.invoice_credit_of(organization):,} yen may be invoiced.")
