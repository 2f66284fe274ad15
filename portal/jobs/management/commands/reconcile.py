from __future__ import annotations

import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from portal.jobs.reconciliation import reconcile


class Command(BaseCommand):
    help = (
        "Takes every step that is due, of every job, in this process: what workers do, but without broker and beat."
        " Prints JSON; exit code 1 when a provider or the store could not be used."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--once", action="store_true", help="one round, then end")

    def handle(self, *args: Any, **options: Any) -> None:
        if not options["once"]:
            raise CommandError("Rounds without end are the workers' work. Say --once.")
        rounds = [account.as_dict() for account in reconcile()]
        self.stdout.write(json.dumps({"accounts": rounds}, ensure_ascii=False, indent=2))
        if any(row["trouble"] for row in rounds):
            sys.exit(1)
