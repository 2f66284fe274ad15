from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from portal.accounts.models import User
from portal.audit.recording import record


class Command(BaseCommand):
    help = (
        "Makes somebody who has signed up staff, or with --remove no longer. The desk asks staff for two-step sign-in."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email")
        parser.add_argument("--remove", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        becomes = not options["remove"]
        with transaction.atomic():
            person = User.objects.select_for_update().filter(email__iexact=options["email"]).first()
            if person is None:
                raise CommandError(f"Nobody has signed up as {options['email']}.")
            if person.is_staff != becomes:
                person.is_staff = becomes
                person.save(update_fields=["is_staff"])
                record("staff.added" if becomes else "staff.removed", f"user:{person.pk}", actor="operator")
        self.stdout.write(f"{person.email} is {'staff' if becomes else 'no staff'}.")
