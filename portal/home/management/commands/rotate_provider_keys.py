from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from allauth.mfa.models import Authenticator
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from portal.accounts.models import RegistryLogin
from portal.audit.recording import record
from portal.catalog.models import ProviderAccount
from portal.core.sealing import CannotOpen, resealed
from portal.datasets.models import StorageSite
from portal.jobs.models import Job

# What allauth keeps sealed of a second factor (portal.accounts.adapters), by its kind of authenticator.
SEALED_OF_A_FACTOR = ("secret", "seed")


class Command(BaseCommand):
    help = (
        "Seals every stored secret with the newest of CREDENTIALS_KEYS: provider credentials, registry logins, the "
        "keys of storage sites, the secrets of jobs that have not ended, second factors. Safe beside running jobs and "
        "to repeat. Afterwards the old keys can go."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        kinds = {
            "provider accounts": _accounts(),
            "registry logins": _logins(),
            "storage sites": _sites(),
            "jobs": _jobs(),
            "second factors": _factors(),
        }
        lost: list[str] = []
        for name, rows in kinds.items():
            count = 0
            for unopened in rows:
                if unopened:
                    lost.append(unopened)
                else:
                    count += 1
            self.stdout.write(f"{name}: {count} sealed anew")
        with transaction.atomic():
            record("provider_keys.rotated", "settings:CREDENTIALS_KEYS", actor="operator", detail={"lost": lost[:20]})
        if lost:
            raise CommandError(
                f"{len(lost)} could not be opened with any of CREDENTIALS_KEYS and stay as they are: "
                f"{', '.join(lost[:20])}. Put the key back that sealed them, and run this again."
            )


def _accounts() -> Iterator[str]:
    """Nothing for each that is sealed anew, its name for each that no key opens."""
    for pk in ProviderAccount.objects.order_by("pk").values_list("pk", flat=True):
        yield _account(pk)


@transaction.atomic
def _account(pk: int) -> str:
    """One row at a time, locked: add_provider_account may be at work beside this."""
    account = ProviderAccount.objects.select_for_update().get(pk=pk)
    try:
        account.sealed_credentials = resealed(account.sealed_credentials)
    except CannotOpen:
        return str(account)
    account.save(update_fields=["sealed_credentials"])
    return ""


def _logins() -> Iterator[str]:
    for pk, sealed in RegistryLogin.objects.order_by("pk").values_list("pk", "sealed_password"):
        try:
            anew = resealed(sealed)
        except CannotOpen:
            yield f"registry login #{pk}"
            continue
        # One that was replaced meanwhile has been sealed with the newest key.
        RegistryLogin.objects.filter(pk=pk, sealed_password=sealed).update(sealed_password=anew)
        yield ""


def _sites() -> Iterator[str]:
    for pk, slug, sealed in StorageSite.objects.exclude(sealed_credentials="").values_list(
        "pk", "slug", "sealed_credentials"
    ):
        try:
            anew = resealed(sealed)
        except CannotOpen:
            yield f"storage site {slug}"
            continue
        # One that was given new keys meanwhile has been sealed with the newest.
        StorageSite.objects.filter(pk=pk, sealed_credentials=sealed).update(sealed_credentials=anew)
        yield ""


def _jobs() -> Iterator[str]:
    jobs = Job.objects.exclude(sealed_secrets="").order_by("pk")
    for pk, code, sealed in jobs.values_list("pk", "code", "sealed_secrets"):
        try:
            anew = resealed(sealed)
        except CannotOpen:
            yield code
            continue
        # A job that has ended meanwhile has none any more.
        Job.objects.filter(pk=pk, sealed_secrets=sealed).update(sealed_secrets=anew)
        yield ""


def _factors() -> Iterator[str]:
    for pk in Authenticator.objects.exclude(type=Authenticator.Type.WEBAUTHN).values_list("pk", flat=True):
        yield _factor(pk)


@transaction.atomic
def _factor(pk: int) -> str:
    factor = Authenticator.objects.select_for_update().get(pk=pk)
    sealed = {name: factor.data[name] for name in SEALED_OF_A_FACTOR if isinstance(factor.data.get(name), str)}
    try:
        factor.data |= {name: resealed(text) for name, text in sealed.items()}
    except CannotOpen:
        return f"second factor #{pk}"
    factor.save(update_fields=["data"])
    return ""
