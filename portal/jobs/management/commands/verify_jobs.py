from __future__ import annotations

import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from portal.jobs.models import Job
from portal.jobs.verification import AT_PROVIDERS, CHECKS, verify, verify_at_providers


class Command(BaseCommand):
    help = "Checks the promises of every job's life. Prints JSON; exit code 1 when one is broken."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--providers", action="store_true", help="ask the providers too what they hold of ours")

    def handle(self, *args: Any, **options: Any) -> None:
        problems = verify()
        silent: list[str] = []
        if options["providers"]:
            more, silent = verify_at_providers()
            problems += more
        report = {
            "jobs": Job.objects.count(),
            "checks": [*CHECKS, *[AT_PROVIDERS] * options["providers"]],
            "problems": [problem.as_dict() for problem in problems],
            "not_asked": silent,
        }
        self.stdout.write(json.dumps(report, ensure_ascii=False, indent=2))
        if problems or silent:
            sys.exit(1)
