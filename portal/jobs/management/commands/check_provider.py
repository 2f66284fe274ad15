from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import QuerySet
from django.utils import timezone

from portal.catalog.models import Offering, OfferingKind, ProviderAccount
from portal.catalog.pricing import per_gpu_hour, prices_at
from portal.catalog.provider_accounts import account_of, adapter_of
from portal.datasets import storage
from portal.jobs import claims
from portal.jobs.staging import ADDRESS_S
from portal.providers.conformance import (
    Bench,
    Finding,
    Promise,
    Result,
    Target,
    all_promises,
    begin,
    examine,
    score,
    table,
    to_json,
)
from portal.providers.conformance.report import line
from portal.providers.errors import ProviderError
from portal.providers.registry import KINDS, make_adapter

TIME_LIMIT_S = 600  # of a sample job; DOK knows no shorter one


class Command(BaseCommand):
    help = (
        "Holds the adapter of a provider to its promises, with the account that is stored and small jobs on its "
        "cheapest plan, some eighty of a few seconds each. They are real, and a real provider charges for them; where "
        "it can, they are deleted at the end. Those at DOK ask the portal whether they may run, as all jobs do there: "
        "its web server has to be up, unless MACHINES_URL is none. "
        "Ends with 1 when a promise is broken."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug", help="the provider's short name, such as sakura")
        parser.add_argument("--kind", help="which account, where the provider has several kinds")
        parser.add_argument("--organization", metavar="CODE", help="this one's own account (o-…) instead of the shared")
        parser.add_argument("--plan", metavar="OFFERING", help="the offering to use instead of the cheapest (its slug)")
        parser.add_argument("--only", metavar="WORD", help="only promises with these words in area, name or sentence")
        parser.add_argument("--slow", action="store_true", help="those too that wait for a time limit to pass")
        parser.add_argument("--wait", type=float, default=600, metavar="SECONDS", help="how long a job may take")
        parser.add_argument("--json", type=Path, metavar="FILE", help="default: check-SLUG-DATE.json here")

    def handle(self, *args: Any, **options: Any) -> None:
        now = timezone.localtime()
        file = options["json"] or Path(f"check-{options['slug']}-{now:%Y%m%d-%H%M}.json")
        account = _account(options["slug"], options["kind"], options["organization"])
        offering = _offering(account, options["plan"])
        chosen = [
            one for one in all_promises() if (options["slow"] or not one.slow) and _has(one, options["only"] or "")
        ]
        if not chosen:
            raise CommandError(f"No promise has {options['only']!r} in its area, name or sentence.")
        _try_to_write(file)
        self.stdout.write(f"{account} at {account.provider.name_en}, {offering.slug}: {len(chosen)} promises\n\n")
        store = _Store()
        try:
            adapter_of(account)  # says in one sentence what is not set up
            bench = Bench(account_of(account), make_adapter, _target(offering), store, wait_s=options["wait"])
        except ProviderError as problem:
            raise CommandError(problem.summary) from problem
        findings: list[Finding] = []
        about = {"account": str(account), "offering": offering.slug, "at": now.isoformat(timespec="seconds")}
        stopped = False
        try:
            if not options["only"]:  # a few promises submit the few jobs that they need
                begin(bench, chosen)
            for finding in examine(bench, chosen):
                findings.append(finding)
                self.stdout.write(line(finding))
                self.stdout.flush()
        except ProviderError as problem:
            raise CommandError(f"No job could be handed over: {problem.summary}") from problem
        except KeyboardInterrupt:  # what has been paid for is kept
            stopped = True
            about["stopped_after"] = f"{len(findings)} of {len(chosen)} promises"
        finally:
            if findings:
                file.write_text(to_json(findings, **about), encoding="utf-8")
            bench.close()
            store.clear()
        if stopped:
            kept = f" Evidence: {file}" if findings else ""
            raise CommandError(f"Stopped after {about['stopped_after']}.{kept}", returncode=130)
        self.stdout.write(f"\n{table(findings).splitlines()[-1]}\nEvidence: {file}")
        if broken := score(findings)["broken"]:
            names = "\n".join(f"  {line(finding)}" for finding in findings if finding.result is Result.BROKEN)
            raise CommandError(f"{broken} broken:\n{names}", returncode=1)


def _try_to_write(file: Path) -> None:
    """Before jobs have cost something. Leaves what is there as it is."""
    is_new = not file.exists()
    try:
        with file.open("a"):
            pass
    except OSError as problem:
        raise CommandError(f"{file} cannot be written: {problem.strerror}.") from problem
    if is_new:
        file.unlink()


class _Store:
    """The portal's own store, by presigned addresses: what jobs use."""

    def __init__(self) -> None:
        self._prefix = f"checks/{secrets.token_hex(8)}"
        self._keys: set[str] = set()

    def put(self, path: str, data: bytes) -> str:
        storage.put_bytes(self._key(path), data)
        return storage.presigned_get(self._key(path), expires_s=ADDRESS_S)

    def put_url(self, path: str) -> str:
        return storage.presigned_put(self._key(path), expires_s=ADDRESS_S)

    def claim_url(self, path: str) -> str:
        return claims.address_of_check(f"{self._prefix}/{path}".replace("/", "."))

    def get(self, path: str) -> bytes | None:
        try:
            return storage.read(self._key(path))
        except storage.NotInStorage:
            return None

    def clear(self) -> None:
        for key in self._keys:
            storage.delete(key)

    def _key(self, path: str) -> str:
        key = f"{self._prefix}/{path}"
        self._keys.add(key)
        return key


def _has(promise: Promise, words: str) -> bool:
    """Also what the table prints, as it stands there."""
    return words.casefold() in f"{promise.area} {promise.name} {promise.sentence}".casefold()


def _account(slug: str, kind: str | None, organization: str | None) -> ProviderAccount:
    """The shared one, or the organization's own."""
    if kind and kind not in KINDS:
        raise CommandError(f"There is no kind {kind}. Kinds: {', '.join(KINDS)}.")
    everyones = ProviderAccount.objects.filter(provider__slug=slug, active=True).select_related("provider")
    if kind:
        everyones = everyones.filter(kind=kind)
    found = list(
        everyones.filter(organization__code=organization) if organization else everyones.filter(organization=None)
    )
    kinds = sorted({account.kind for account in found})
    if not found:
        whose = f" of {organization}" if organization else ""
        raise CommandError(
            f"There is no active account{whose} at {slug}{f' of the kind {kind}' if kind else ''}. "
            + _instead(everyones, organization)
        )
    if len(kinds) > 1:
        raise CommandError(f"{slug} has accounts of several kinds: choose with --kind {' or '.join(kinds)}.")
    return found[0]


def _instead(accounts: QuerySet[ProviderAccount], organization: str | None) -> str:
    codes = sorted(set(accounts.exclude(organization=None).values_list("organization__code", flat=True)))
    if codes and not organization:
        return f"Organizations have their own: choose with --organization {' or '.join(map(str, codes))}."
    return "manage.py add_provider_account makes one."


def _offering(account: ProviderAccount, slug: str | None) -> Offering:
    offerings = Offering.objects.filter(
        provider=account.provider, adapter=account.kind, kind=OfferingKind.JOB, active=True
    ).exclude(plan="")
    if slug:
        offerings = offerings.filter(slug=slug)
    prices = {price.offering_id: price for price in prices_at(timezone.now()).filter(offering__in=offerings)}
    found = [offering for offering in offerings if offering.pk in prices]
    if not found:
        raise CommandError(
            "The catalog has no priced job offering for this account" + (f" named {slug}." if slug else ".")
        )
    return min(
        found, key=lambda offering: per_gpu_hour(prices[offering.pk], gpus=offering.gpus_min) * offering.gpus_min
    )


def _target(offering: Offering) -> Target:
    return Target(
        plan=offering.plan,
        gpu_type=offering.gpu_model.lower(),
        image="docker.io/library/python:3.11-slim" if offering.containers else "",
        gpus=offering.gpus_min,
        gpus_max=offering.gpus_max,
        gpus_step=offering.gpus_step,
        gpus_per_node=offering.gpus_per_node,
        architecture=offering.architecture if offering.architecture_confirmed else "",
        time_limit_s=TIME_LIMIT_S,
    )
