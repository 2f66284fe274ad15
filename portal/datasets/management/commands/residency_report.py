from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from portal.core.csv import csv_lines
from portal.datasets import residency


class Command(BaseCommand):
    help = (
        "Where the objects of a dataset or a job are and were, made of the place log alone: also of one deleted. "
        "The same bytes as the page's downloads."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("subject", help="its code, d-… or J-…")
        parser.add_argument("--json", action="store_true", help="JSON instead of CSV")

    def handle(self, *args: Any, **options: Any) -> None:
        code = options["subject"]
        if not residency.file_codes(code, after="", limit=1):
            raise CommandError(f"The place log knows no dataset and no job {code}.")
        rows = ([*residency.as_texts(stay).values()] for stay in residency.report(code))
        for line in residency.report_json(code) if options["json"] else csv_lines(residency.COLUMNS, rows):
            self.stdout.write(line, ending="")
