from __future__ import annotations

import json
import os
import sys
from argparse import ArgumentTypeError
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from portal.accounts.models import Organization
from portal.audit.recording import record
from portal.catalog.models import Provider, ProviderAccount
from portal.catalog.provider_accounts import adapter_of
from portal.providers.errors import ProviderError
from portal.providers.registry import CONCURRENT_LIMITS, KINDS, option_names


class Command(BaseCommand):
    help = (
        "Adds the portal's account at a provider, or with --replace changes it. The credentials are one JSON object, "
        'such as {"token": "…", "secret": "…"}, read from standard input or from an environment variable, never from '
        "the command line."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("kind", help=f"how the provider is spoken to: {', '.join(KINDS)}")
        parser.add_argument("provider", help="whose machines these are: the provider's short name, such as sakura")
        parser.add_argument("endpoint", help="https://…, or host:port for slurm_ssh")
        parser.add_argument("--organization", metavar="CODE", help="for this one alone (o-…); else for everybody")
        parser.add_argument(
            "--option", action="append", default=[], metavar="NAME=VALUE", help="such as work_dir=/jobs"
        )
        parser.add_argument(
            "--concurrent-limit",
            type=_limit,
            metavar="N",
            help="jobs it runs at once, or none; more wait in the portal's line (sakura_dok: 1 unless given)",
        )
        parser.add_argument("--credentials-in", metavar="VARIABLE", help="environment variable with the JSON object")
        parser.add_argument("--replace", action="store_true", help="change the account that is there")
        parser.add_argument("--check", action="store_true", help="ask the provider, and store only what it accepts")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["kind"] not in KINDS:
            raise CommandError(f"There is no kind {options['kind']}. Kinds: {', '.join(KINDS)}.")
        provider = Provider.objects.filter(slug=options["provider"]).first()
        if provider is None:
            known = ", ".join(Provider.objects.order_by("position").values_list("slug", flat=True))
            raise CommandError(
                f"There is no provider {options['provider']}. Providers: {known or 'run prepare first'}."
            )
        organization = None
        if code := options["organization"]:
            organization = Organization.objects.filter(code=code).first()
            if organization is None:
                raise CommandError(f"There is no organization {code}.")
        account = ProviderAccount.objects.filter(
            provider=provider, kind=options["kind"], organization=organization
        ).first()
        if account and not options["replace"]:
            raise CommandError("This account is there already. --replace gives it this endpoint and these credentials.")
        account = account or ProviderAccount(
            provider=provider,
            kind=options["kind"],
            organization=organization,
            concurrent_limit=CONCURRENT_LIMITS.get(options["kind"]),
        )
        if (limit := options["concurrent_limit"]) is not None:
            account.concurrent_limit = limit or None
        account.endpoint = options["endpoint"]
        if options["option"]:  # new credentials alone leave them as they are
            account.options = _pairs(options["option"])
            account.emulated = account.options.pop("emulated", "false") == "true"
            _refuse_unknown(account)
        if account.emulated and settings.PRODUCTION:
            raise CommandError("An emulator is for demos: it cannot be added in production.")
        account.set_credentials(_credentials(options["credentials_in"]))
        try:
            adapter = adapter_of(account)  # says which of the credentials are missing
            if options["check"]:
                self.stdout.write(f"The provider answers: {adapter.check()}")
        except ProviderError as problem:
            raise CommandError(f"Nothing was stored: {problem.summary}") from problem
        with transaction.atomic():
            account.save()
            record(
                "provider_account.set",
                f"provider_account:{account.pk}",
                actor="operator",
                chain=organization.code if organization else "",
            )
        self.stdout.write(f"{account} at {provider.name_en} is ready.")


def _pairs(given: list[str]) -> dict[str, str]:
    pairs = [pair.partition("=") for pair in given]
    if wrong := [name for name, sign, _value in pairs if not (name and sign)]:
        raise CommandError(f"--option is NAME=VALUE, not {wrong[0]!r}.")
    return {name: value for name, _sign, value in pairs}


def _refuse_unknown(account: ProviderAccount) -> None:
    """A misspelt option would be kept and never looked at. An emulator has one more, which the status page shows."""
    known = option_names(account.kind) | ({"sandbox"} if account.emulated else set())
    if unknown := sorted(set(account.options) - known):
        raise CommandError(f"{account.kind} has no option {unknown[0]}. Options: {', '.join(sorted(known))}.")


def _limit(given: str) -> int:
    """0 stands for none."""
    if given == "none":
        return 0
    if given.isascii() and given.isdigit() and 1 <= int(given) <= 10_000:
        return int(given)
    raise ArgumentTypeError("a number of jobs from 1 to 10000, or none")


def _credentials(variable: str | None) -> dict[str, str]:
    """No message repeats what was given: it may hold a secret."""
    if variable:
        text = os.environ.get(variable, "")
        if not text:
            raise CommandError(f"The environment variable {variable} is empty.")
    else:
        if sys.stdin.isatty():
            sys.stderr.write("The credentials as one JSON object, then Ctrl-D:\n")
        text = sys.stdin.read()
    try:
        given = json.loads(text)
    except ValueError:
        given = None
    if not isinstance(given, dict) or not given or not all(isinstance(value, str) for value in given.values()):
        raise CommandError('The credentials must be one JSON object of texts, such as {"token": "…", "secret": "…"}.')
    return given
