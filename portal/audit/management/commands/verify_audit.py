from __future__ import annotations

import json
import sys
from typing import Any

from django.core.management.base import BaseCommand

from portal.audit.models import AuditEvent, AuditHead
from portal.audit.verification import CHECKS, verify


class Command(BaseCommand):
    help = "Follows every chain of the audit trail to its end. Prints JSON; exit code 1 when a link is broken."

    def handle(self, *args: Any, **options: Any) -> None:
        report = {"chains": AuditHead.objects.count(), "links": AuditEvent.objects.count(), "checks": CHECKS}
        begun = json.dumps(report, ensure_ascii=False, indent=2).removesuffix("\n}")
        self.stdout.write(f'{begun},\n  "problems": [', ending="")
        broken = False
        for problem in verify():  # as they come: of a trail that was rewritten every link may be one
            between = "," if broken else ""
            self.stdout.write(f"{between}\n    {json.dumps(problem.as_dict(), ensure_ascii=False)}", ending="")
            broken = True
        self.stdout.write("\n  ]\n}" if broken else "]\n}")
        if broken:
            sys.exit(1)
