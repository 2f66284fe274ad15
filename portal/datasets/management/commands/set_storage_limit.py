from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from portal.accounts.models import Project
from portal.core.units import Bytes
from portal.datasets import quota


class Command(BaseCommand):
    help = "Sets how many gigabytes (1,000,000,000 bytes) a project may keep. Without a number it only says the limit."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("project", help="the project's code (p-…)")
        parser.add_argument("gigabytes", nargs="?")

    def handle(self, *args: Any, **options: Any) -> None:
        project = Project.objects.select_related("organization").filter(code=options["project"]).first()
        if project is None:
            raise CommandError(f"There is no project {options['project']}.")
        if options["gigabytes"] is not None:
            try:
                quota.set_limit(project, _bytes(options["gigabytes"]), by="operator")
            except quota.BelowUsed as refused:
                raise CommandError(
                    f"{project.code} uses {refused.used_bytes:,} bytes: its limit cannot be less."
                ) from None
        allowance = quota.allowance_of(project)
        self.stdout.write(f"{project.code}: {allowance.used_bytes:,} of {allowance.limit_bytes:,} bytes are used.")


def _bytes(gigabytes: str) -> int:
    try:
        amount = Decimal(gigabytes)
        if not 0 <= amount <= 10**9:
            raise InvalidOperation
    except InvalidOperation:
        raise CommandError("The limit is a number of gigabytes, such as 500.") from None
    return Bytes.from_gb(amount)
