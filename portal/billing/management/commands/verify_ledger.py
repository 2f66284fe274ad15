from __future__ import annotations

import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from portal.accounts.models import Organization
from portal.billing.verification import CHECKS, verify


class Command(BaseCommand):
    help = "Re-derives every sum of money and usage from its entries. Prints JSON; exit code 1 when something differs."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--organization", metavar="CODE", help="only this one (o-…)")

    def handle(self, *args: Any, **options: Any) -> None:
        organization = None
        if code := options["organization"]:
            organization = Organization.objects.filter(code=code).first()
            if organization is None:
                raise CommandError(f"There is no organization {code}.")
        problems = verify(organization)
        report = {
            "organizations": 1 if organization else Organization.objects.count(),
            "checks": list(CHECKS),
            "problems": [problem.as_dict() for problem in problems],
        }
        self.stdout.write(json.dumps(report, ensure_ascii=False, indent=2))
        if problems:
            sys.exit(1)
