from __future__ import annotations

import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from portal.accounts.models import Project
from portal.datasets import quota
from portal.datasets.models import StorageAllowance
from portal.datasets.storage import StorageUnavailable
from portal.datasets.verification import AT_STORE, CHECKS, verify, verify_at_store


class Command(BaseCommand):
    help = (
        "Compares the sums of storage with the files, and the age of uploads with its rule. Prints JSON; exit code 1"
        " when something differs."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--recount",
            action="store_true",
            help="count anew what differs, one project at a time; after an update during which the release before"
            " went on taking files",
        )
        parser.add_argument("--store", action="store_true", help="ask the store too which parts it keeps")

    def handle(self, *args: Any, **options: Any) -> None:
        problems = verify()
        if options["recount"] and problems:
            for project in Project.objects.filter(code__in={problem.subject for problem in problems}):
                quota.recount(project.pk)
            problems = verify()
        not_asked = []
        if options["store"]:
            try:
                problems += verify_at_store()
            except StorageUnavailable as away:
                not_asked.append(str(away))
        report = {
            "projects": StorageAllowance.objects.count(),
            "checks": [*CHECKS, *[AT_STORE] * options["store"]],
            "problems": [problem.as_dict() for problem in problems],
            "not_asked": not_asked,
        }
        self.stdout.write(json.dumps(report, ensure_ascii=False, indent=2))
        if problems or not_asked:
            sys.exit(1)
