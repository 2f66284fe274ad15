from __future__ import annotations

import json
import sys
from datetime import date
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from portal.jobs.statements import check_all, yesterday
from portal.usage.models import Difference, DifferenceState


class Command(BaseCommand):
    help = (
        "Compares providers' own statements of a day in Japan with our records. Prints JSON; exit code 1 when something"
        " differs that nobody has decided, or a statement could not be read."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--day", metavar="YYYY-MM-DD", help="yesterday when not given")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            day = date.fromisoformat(options["day"]) if options["day"] else yesterday()
        except ValueError:
            raise CommandError(f"Not a day: {options['day'][:20]!r}") from None
        checked = list(check_all(day))
        columns = ("account", "kind", "subject", "ours", "theirs")
        still_open = Difference.objects.filter(day=day, state=DifferenceState.OPEN).order_by(*columns).values(*columns)
        report = {
            "day": day.isoformat(),
            "accounts": [one.as_dict() for one in checked],
            "differences": list(still_open),
        }
        self.stdout.write(json.dumps(report, ensure_ascii=False, indent=2))
        if report["differences"] or any(one.trouble for one in checked):
            sys.exit(1)
