from __future__ import annotations

import json
import os
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.validators import slug_re

from portal.datasets import sites
from portal.datasets.storage import StorageUnavailable


class Command(BaseCommand):
    help = (
        "Adds a storage site for copies of datasets, or changes its keys. They are one JSON object, "
        '{"access_key": "…", "secret_key": "…"}, read from standard input or from an environment variable, never from '
        "the command line. The store has to be in Japan: on the portal's list, or declared in STORAGE_HOSTS. Its "
        "bucket is made where it is missing."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug", help="its name in the place log, for good: such as sakura-tokyo")
        parser.add_argument("endpoint", help="https://…")
        parser.add_argument("bucket")
        parser.add_argument("--public-endpoint", help="as browsers and machines reach it, where it differs")
        parser.add_argument("--region", default="jp-north-1", help="as the store calls it (default: jp-north-1)")
        parser.add_argument("--name-ja", default="", help="for people; default: its place")
        parser.add_argument("--name-en", default="")
        parser.add_argument("--credentials-in", metavar="VARIABLE", help="environment variable with the JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        if not slug_re.match(options["slug"]):
            raise CommandError("The name may have letters, digits, hyphens and underscores.")
        try:
            site = sites.add(
                options["slug"],
                endpoint=options["endpoint"],
                public_endpoint=options["public_endpoint"] or options["endpoint"],
                bucket=options["bucket"],
                region=options["region"],
                names=(options["name_ja"], options["name_en"]),
                credentials=_credentials(options["credentials_in"]),
            )
        except sites.SiteRefused as refused:
            raise CommandError(str(refused)) from refused
        except StorageUnavailable as problem:
            raise CommandError(f"Nothing was stored: the store does not answer as it should ({problem}).") from problem
        self.stdout.write(f"{site.slug} ({site.name_en}) is ready.")


def _credentials(variable: str | None) -> dict[str, str]:
    """No message repeats what was given: it may hold a secret."""
    text = os.environ.get(variable, "") if variable else sys.stdin.read()
    try:
        given = json.loads(text)
    except ValueError:
        given = None
    if not isinstance(given, dict) or set(given) != {"access_key", "secret_key"}:
        raise CommandError('The keys must be one JSON object: {"access_key": "…", "secret_key": "…"}.')
    return {name: str(value) for name, value in given.items()}
