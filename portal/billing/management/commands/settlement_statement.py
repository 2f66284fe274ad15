from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from portal.billing import settlement
from portal.billing.models import Settlement
from portal.core.csv import csv_lines


class Command(BaseCommand):
    help = "Prints the statement of one settlement as CSV; with --dispute notes first what a member says against it."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("settlement", help="its code (s-…), which settle_month prints")
        parser.add_argument("--dispute", metavar="NOTE", help="up to 1000 letters: who says what, with a reference")

    def handle(self, *args: Any, **options: Any) -> None:
        row = Settlement.objects.filter(code=options["settlement"]).first()
        if row is None:
            raise CommandError(f"There is no settlement {options['settlement']}.")
        if note := options["dispute"]:
            if len(note) > settlement.NOTE_MAX:
                raise CommandError(f"A note has up to {settlement.NOTE_MAX} letters.")
            settlement.dispute(row, note=note, by="operator")
        for line in csv_lines(settlement.STATEMENT_HEADER, settlement.statement(row)):
            self.stdout.write(line, ending="")
