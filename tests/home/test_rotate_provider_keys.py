"""`manage.py rotate_provider_keys`: after it the old key is of no use to anybody."""

from __future__ import annotations

import io
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from cryptography.fernet import Fernet
from django.core.management import CommandError, call_command

from portal.audit.models import AuditEvent
from portal.core.sealing import CannotOpen, seal, unseal
from portal.datasets.models import StorageSite
from tests.factories import JobFactory, ProviderAccountFactory, RegistryLoginFactory, UserFactory

OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()

pytestmark = pytest.mark.django_db


def rotate() -> str:
    said = io.StringIO()
    call_command("rotate_provider_keys", stdout=said)
    return said.getvalue()


@pytest.fixture
def sealed_before(settings: Any) -> tuple[Any, ...]:
    settings.CREDENTIALS_KEYS = [OLD]
    account = ProviderAccountFactory(sealed_credentials=seal({"token": "t"}))
    job = JobFactory(sealed_secrets=seal({"HF_TOKEN": "h"}))
    JobFactory(sealed_secrets="")
    factor = Authenticator.objects.create(
        user=UserFactory(), type=Authenticator.Type.TOTP, data={"secret": seal({"secret": "s"})}
    )
    login = RegistryLoginFactory(sealed_password=seal({"password": "p"}))
    here = "http://127.0.0.1:9"
    site = StorageSite(slug="annex", country="", region="r", bucket="b", endpoint=here, public_endpoint=here)
    site.set_credentials({"access_key": "a", "secret_key": "k"})
    site.save()
    settings.CREDENTIALS_KEYS = [NEW, OLD]
    return account, job, factor, login, site


def test_every_secret_opens_with_the_new_key_alone(settings: Any, sealed_before: tuple[Any, ...]) -> None:
    assert rotate().splitlines() == [
        "provider accounts: 1 sealed anew", "registry logins: 1 sealed anew", "storage sites: 1 sealed anew",
        "jobs: 1 sealed anew", "second factors: 1 sealed anew",
    ]  # fmt: skip
    settings.CREDENTIALS_KEYS = [NEW]
    account, job, factor, login, site = sealed_before
    for row in sealed_before:
        row.refresh_from_db()
    opened = account.credentials(), unseal(job.sealed_secrets), unseal(factor.data["secret"])
    assert (*opened, unseal(login.sealed_password), site.credentials()) == (
        {"token": "t"}, {"HF_TOKEN": "h"}, {"secret": "s"}, {"password": "p"}, {"access_key": "a", "secret_key": "k"},
    )  # fmt: skip
    assert AuditEvent.objects.get(act="provider_keys.rotated").detail == {"lost": []}


def test_what_no_key_opens_stays_as_it_is_and_is_named(settings: Any, sealed_before: tuple[Any, ...]) -> None:
    account, job, *_others = sealed_before
    before = account.sealed_credentials
    settings.CREDENTIALS_KEYS = [NEW]
    with pytest.raises(CommandError, match="5 could not be opened") as problem:
        rotate()
    account.refresh_from_db()
    assert (account.sealed_credentials, job.code in str(problem.value)) == (before, True)
    with pytest.raises(CannotOpen):
        account.credentials()
