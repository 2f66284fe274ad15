"""The demo's people and provider accounts. Refuses to run in production.

Everything is made once and left alone afterwards, so that what a visitor changed stays changed.
"""

from __future__ import annotations

import json
import secrets
from datetime import date
from pathlib import Path
from typing import Any

from allauth.account.models import EmailAddress
from django.conf import settings
from django.db import transaction

from portal.accounts.models import Membership, Organization, Project, User
from portal.accounts.roles import Role
from portal.billing import issuers
from portal.billing.credits import grant_trial
from portal.billing.models import Issuer
from portal.catalog.models import Provider, ProviderAccount
from portal.providers.registry import CONCURRENT_LIMITS

PROVIDER_OF = {"sakura_dok": "sakura", "slurm_rest": "kddi", "slurm_ssh": "highreso"}
PEOPLE = (
    ("owner@demo.example", "佐藤", "健", Role.OWNER),
    ("engineer@demo.example", "山田", "花子", Role.MEMBER),
    ("accountant@demo.example", "鈴木", "葵", Role.BILLING),
)


class NotHere(Exception):
    """Demo logins and emulators do not exist in production."""


class UnknownProvider(Exception):
    """An emulator is there whose provider the catalog does not have; its text says what to add where."""


def seed() -> None:
    """Raises NotHere, UnknownProvider."""
    if settings.PRODUCTION:
        raise NotHere
    for access in sorted(settings.EMULATORS_DIR.glob("*/access.json")):
        _connect(json.loads(access.read_text()))
    for member in Provider.objects.filter(slug__in=PROVIDER_OF.values()):
        _let_issue(member)
    _invite_people(settings.PORTAL_DATA / "demo-logins.json")


@transaction.atomic
def _connect(access: dict[str, Any]) -> None:
    """An emulator's keys and port may be new after its folder was emptied: the account follows."""
    kind = access["kind"]
    account = ProviderAccount.objects.filter(kind=kind, organization=None).first() or ProviderAccount(
        provider=_provider_of(kind), kind=kind, concurrent_limit=CONCURRENT_LIMITS.get(kind)
    )
    account.endpoint = access["endpoint"]
    account.options = {k: v for k, v in access["options"].items() if k != "emulated"}
    account.emulated = True
    if not account.pk or account.credentials() != access["credentials"]:
        account.set_credentials(access["credentials"])
    account.save()


def _provider_of(kind: str) -> Provider:
    slug = PROVIDER_OF.get(kind)
    if slug is None:
        raise UnknownProvider(f"The emulator {kind} has no provider: name it in PROVIDER_OF in portal/home/demo.py.")
    provider = Provider.objects.filter(slug=slug).first()
    if provider is None:
        raise UnknownProvider(
            f"The emulator {kind} is for {slug}, which the catalog does not have:"
            " add it to PROVIDERS in portal/catalog/seed.py."
        )
    return provider


def _let_issue(member: Provider) -> None:
    """Invoices of the demo are issued by invented companies: the members' own numbers are for the members to give."""
    if Issuer.objects.filter(member=member).exists():
        return
    twelve = f"{member.pk:012}"
    issuers.set_issuer(
        member,
        name=f"架空の発行会社（デモ、{member.short_ja}の代わり）",
        number=f"T{issuers.check_digit(twelve)}{twelve}",
        address="東京都千代田区デモ1-1-1",
        bank="デモ銀行 本店 普通 0000000（架空の口座です。振り込まないでください）",
        valid_from=date(2026, 1, 1),
        by="portal:demo",
    )


@transaction.atomic
def _invite_people(logins: Path) -> None:
    """One password for each person and installation, written where only this account's user can read it."""
    if logins.exists() and User.objects.filter(email=PEOPLE[0][0]).exists():
        return
    organization = Organization.objects.filter(name="株式会社ミライ言語研究所（デモ）").first()
    if organization is None:
        organization = Organization.objects.create(name="株式会社ミライ言語研究所（デモ）", kind="startup")
        Project.objects.create(organization=organization, name="llm-jp-tuning")
    written = []
    for email, family_name, given_name, role in PEOPLE:
        password = secrets.token_urlsafe(9)
        user = User.objects.filter(email=email).first() or User.objects.create_user(
            email, family_name=family_name, given_name=given_name
        )
        user.set_password(password)
        user.save()
        EmailAddress.objects.update_or_create(user=user, email=email, defaults={"verified": True, "primary": True})
        Membership.objects.get_or_create(user=user, organization=organization, project=None, defaults={"role": role})
        if role == Role.OWNER:
            grant_trial(organization, founder=user)
        written.append({"role": role.value, "email": email, "password": password})
    logins.touch(mode=0o600)
    logins.write_text(json.dumps(written, ensure_ascii=False, indent=1))
