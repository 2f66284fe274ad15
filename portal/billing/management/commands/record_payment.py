from __future__ import annotations

from datetime import date
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from portal.billing import payments
from portal.billing.models import Invoice


class Command(BaseCommand):
    help = "Records a bank transfer for an invoice. As much may be used and invoiced again."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("invoice", help="its number, such as SAKURA-000012")
        parser.add_argument("yen", type=int)
        parser.add_argument("date", help="the day it came, like 2026-12-25")
        parser.add_argument("--reference", default="", help="the bank's; needed where two alike came on one day")

    def handle(self, *args: Any, **options: Any) -> None:
        invoice = Invoice.objects.select_related("organization").filter(number=options["invoice"]).first()
        if invoice is None:
            raise CommandError(f"There is no invoice {options['invoice']}.")
        try:
            payments.record(
                invoice,
                amount=options["yen"],
                received_on=date.fromisoformat(options["date"]),
                reference=options["reference"],
                by="operator",
            )
        except payments.MoreThanOpen as refused:
            raise CommandError(f"{invoice.number}: {refused.args[0]:,} yen are to be paid still, not more.") from None
        except payments.AlreadyRecorded:
            raise CommandError("It is recorded already. Another one alike needs --reference.") from None
        except ValueError as refused:
            raise CommandError(str(refused)) from None
        self.stdout.write(f"{invoice.number}: {options['yen']:,} of {invoice.due:,} yen are recorded.")
