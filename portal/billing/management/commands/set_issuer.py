from __future__ import annotations

from datetime import date
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from portal.billing import issuers
from portal.catalog.models import Provider
from portal.core.periods import day_of


class Command(BaseCommand):
    help = "Sets who issues invoices for a member, from a day on. Invoices that are issued already stay as they are."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("member", help="the member's slug: kddi, sakura or highreso")
        parser.add_argument("--name", required=True, help="as printed")
        parser.add_argument("--number", required=True, help="the registration number: T and 13 digits")
        parser.add_argument("--address", required=True)
        parser.add_argument("--bank", required=True, help="the account that customers transfer to, in one line")
        parser.add_argument("--from", dest="valid_from", metavar="DAY", help="2026-12-01; without it from today")

    def handle(self, *args: Any, **options: Any) -> None:
        member = Provider.objects.filter(slug=options["member"]).first()
        if member is None:
            raise CommandError(f"There is no member {options['member']}.")
        try:
            today = day_of(timezone.now())
            valid_from = date.fromisoformat(options["valid_from"]) if options["valid_from"] else today
        except ValueError:
            raise CommandError("The day is written like 2026-12-01.") from None
        try:
            issuer = issuers.set_issuer(
                member,
                name=options["name"],
                number=options["number"],
                address=options["address"],
                bank=options["bank"],
                valid_from=valid_from,
                by="operator",
            )
        except issuers.NotARegistrationNumber:
            raise CommandError(
                f"{options['number']} is no registration number: T and 13 digits, the first of which checks the others."
                " Compare it with the register of the National Tax Agency."
            ) from None
        self.stdout.write(f"{member.slug}: {issuer.name}, {issuer.registration_number}, from {issuer.valid_from}.")
