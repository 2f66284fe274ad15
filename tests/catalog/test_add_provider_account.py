"""`manage.py add_provider_account`: how production gets its accounts at providers."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from portal.accounts.models import Organization
from portal.audit.models import AuditEvent
from portal.catalog.models import ProviderAccount
from portal.providers.base import Account
from tests.factories.catalog import ProviderFactory
from tests.providers.emulated import emulator as emulator_process

DOK = ("sakura_dok", "sakura", "https://dok.example.jp/")
SECRETS = {"token": "t-1", "secret": "s-1"}


@pytest.fixture(autouse=True)
def sakura(db: None) -> None:
    ProviderFactory()


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    return lambda text: monkeypatch.setattr("sys.stdin", io.StringIO(text))


def add(*arguments: str) -> str:
    said = io.StringIO()
    call_command("add_provider_account", *arguments, stdout=said)
    return said.getvalue()


def refusal(*arguments: str) -> str:
    with pytest.raises(CommandError) as refused:
        add(*arguments)
    assert "s-1" not in str(refused.value)
    return str(refused.value)


def test_credentials_from_standard_input_are_sealed(typed: Callable[[str], None], organization: Organization) -> None:
    typed(json.dumps(SECRETS))
    said = add(*DOK, "--organization", organization.code, "--option", "terms_version=3")

    account = ProviderAccount.objects.get()
    assert said == f"{account} at SAKURA internet is ready.\n"
    assert (account.kind, account.provider.slug, account.endpoint, account.organization, account.options) == (
        *DOK, organization, {"terms_version": "3"},
    )  # fmt: skip
    assert (account.credentials(), account.active, account.emulated) == (SECRETS, True, False)
    assert "s-1" not in account.sealed_credentials
    event = AuditEvent.objects.get(chain=organization.code)
    assert (event.act, event.subject) == ("provider_account.set", f"provider_account:{account.pk}")


def test_credentials_from_a_variable_and_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOK", json.dumps(SECRETS))
    add(*DOK, "--credentials-in", "DOK", "--option", "terms_version=3")
    assert refusal(*DOK, "--credentials-in", "DOK") == (
        "This account is there already. --replace gives it this endpoint and these credentials."
    )

    monkeypatch.setenv("DOK", json.dumps({"token": "t-2", "secret": "s-2"}))
    add(*DOK[:2], "https://new.example.jp/", "--credentials-in", "DOK", "--replace")

    account = ProviderAccount.objects.get()
    assert (account.endpoint, account.credentials(), account.options) == (
        "https://new.example.jp/", {"token": "t-2", "secret": "s-2"}, {"terms_version": "3"},
    )  # fmt: skip


def test_dok_runs_one_job_at_once_unless_the_contract_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOK", json.dumps(SECRETS))
    limits = []
    for arguments in ((), ("--concurrent-limit", "4", "--replace"), ("--replace",), ("--concurrent-limit", "none")):
        again = () if not arguments or "--replace" in arguments else ("--replace",)
        add(*DOK, "--credentials-in", "DOK", *arguments, *again)
        limits.append(ProviderAccount.objects.get().concurrent_limit)
    assert limits == [1, 4, 4, None]
    for wrong in ("0", "-1", "many", "10001"):
        assert "a number of jobs from 1 to 10000, or none" in refusal(*DOK, f"--concurrent-limit={wrong}")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "The credentials must be one JSON object"),
        ('{"token": "s-1"', "The credentials must be one JSON object"),
        ('["s-1"]', "The credentials must be one JSON object"),
        ('{"token": 1}', "The credentials must be one JSON object"),
        ('{"token": "s-1"}', "Nothing was stored: the account's credentials lack 'secret'"),
    ],
)
def test_credentials_that_do_not_do(text: str, words: str, typed: Callable[[str], None]) -> None:
    typed(text)
    assert refusal(*DOK).startswith(words)
    assert not ProviderAccount.objects.exists()


def test_what_does_not_exist_is_named(typed: Callable[[str], None]) -> None:
    assert refusal("aws", *DOK[1:]) == "There is no kind aws. Kinds: sakura_dok, slurm_rest, slurm_ssh."
    assert refusal("sakura_dok", "aws", DOK[2]) == "There is no provider aws. Providers: sakura."
    assert refusal(*DOK, "--organization", "o-none") == "There is no organization o-none."
    assert refusal(*DOK, "--option", "x") == "--option is NAME=VALUE, not 'x'."


def test_an_option_that_nobody_reads_is_refused(typed: Callable[[str], None]) -> None:
    typed(json.dumps(SECRETS))
    assert [refusal(*DOK, "--option", f"{name}=1") for name in ("term_version", "work_dir", "sandbox")] == [
        f"sakura_dok has no option {name}. Options: own_id, terms_version."
        for name in ("term_version", "work_dir", "sandbox")
    ]
    assert not ProviderAccount.objects.exists()
    assert "is ready" in add(*DOK, "--option", "emulated=true", "--option", "sandbox=none")
    assert ProviderAccount.objects.get().options == {"sandbox": "none"}


def test_an_emulator_is_refused_in_production(settings: Any, typed: Callable[[str], None]) -> None:
    settings.PRODUCTION = True
    typed(json.dumps(SECRETS))
    assert refusal(*DOK, "--option", "emulated=true") == "An emulator is for demos: it cannot be added in production."


def test_check_asks_the_provider(emulator: Callable[[str], Account], typed: Callable[[str], None]) -> None:
    real = emulator("sakura_dok")
    typed(json.dumps({**real.credentials, "secret": "s-1"}))
    assert refusal(*DOK[:2], real.endpoint, "--check").startswith("Nothing was stored: DOK refuses the credentials")
    assert not ProviderAccount.objects.exists()

    typed(json.dumps(dict(real.credentials)))
    said = add(*DOK[:2], real.endpoint, "--check").splitlines()
    assert (said[0].startswith("The provider answers: "), len(said)) == (True, 2)
    assert ProviderAccount.objects.get().credentials() == real.credentials


def test_an_endpoint_that_can_be_none_is_one_sentence(typed: Callable[[str], None]) -> None:
    typed(json.dumps(SECRETS))
    assert refusal(*DOK[:2], f"https://{'a' * 64}.jp/", "--check") == (
        "Nothing was stored: the endpoint has no host name that can be looked up"
    )
    typed(json.dumps({"user": "u", "private_key": "s-1", "known_hosts": ""}))
    assert refusal("slurm_ssh", "sakura", "localhost:²", "--check") == (
        "Nothing was stored: the endpoint must be host:port"
    )


def test_check_agrees_to_terms_only_when_their_version_is_given(typed: Callable[[str], None]) -> None:
    with emulator_process("sakura_dok", "--terms-not-agreed") as running:
        real = running.account
        typed(json.dumps(dict(real.credentials)))
        assert refusal(*DOK[:2], real.endpoint, "--check") == (
            "Nothing was stored: nobody has agreed to DOK's terms of service for this account: read them, then give"
            " the version that you agree to as the option terms_version"
        )
        typed(json.dumps(dict(real.credentials)))
        wrong = refusal(*DOK[:2], real.endpoint, "--check", "--option", "terms_version=0.1")
        assert wrong.startswith("Nothing was stored: DOK has no terms of the version in the option terms_version")
        assert not ProviderAccount.objects.exists()

        typed(json.dumps(dict(real.credentials)))
        said = add(*DOK[:2], real.endpoint, "--check", "--option", "terms_version=1.0")
        assert said.startswith("The provider answers: ")
        assert running.adapter().find("jga-none") == []  # before, it answered nothing but 403
        typed(json.dumps(dict(real.credentials)))
        assert "is ready" in add(*DOK[:2], real.endpoint, "--check", "--replace")  # agreed once, for good
