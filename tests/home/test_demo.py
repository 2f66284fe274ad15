from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from portal.accounts.models import Membership, Organization, Project, User
from portal.billing.models import Credit, Issuer
from portal.catalog.models import ProviderAccount
from portal.home import demo
from tests.factories import ProviderFactory


@pytest.fixture
def folder(db: None, settings: Any, tmp_path: Path) -> Path:
    settings.PORTAL_DATA, settings.EMULATORS_DIR = tmp_path, tmp_path / "emulators"
    ProviderFactory(slug="sakura")
    return tmp_path


def emulator(folder: Path, **changes: Any) -> None:
    given = {
        "kind": "sakura_dok", "endpoint": "http://127.0.0.1:20001", "credentials": {"token": "a", "secret": "b"},
        "options": {"emulated": "true", "sandbox": "none"},
    }  # fmt: skip
    path = folder / "emulators" / "sakura_dok" / "access.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**given, **changes}))


def counts() -> list[int]:
    return [model.objects.count() for model in (User, Organization, Project, Membership, Credit, ProviderAccount)]


def test_three_people_can_sign_in_with_what_is_written_for_this_account_alone(folder: Path) -> None:
    demo.seed()
    path = folder / "demo-logins.json"
    logins = json.loads(path.read_text())
    assert [(login["role"], login["email"]) for login in logins] == [
        ("owner", "owner@demo.example"),
        ("member", "engineer@demo.example"),
        ("billing", "accountant@demo.example"),
    ]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for login in logins:
        answer = Client().post("/account/login/", {"login": login["email"], "password": login["password"]})
        assert (answer.status_code, answer["Location"]) == (302, "/")


def test_the_demos_invoices_are_of_companies_that_say_they_are_invented(folder: Path) -> None:
    demo.seed()
    demo.seed()
    issuer = Issuer.objects.get()
    assert issuer.name.startswith("架空の発行会社（デモ") and issuer.registration_number.startswith("T")


def test_again_changes_nothing_and_what_a_visitor_changed_stays(folder: Path) -> None:
    emulator(folder)
    demo.seed()
    first, logins = counts(), (folder / "demo-logins.json").read_text()
    User.objects.filter(email="owner@demo.example").update(family_name="別名")
    call_command("seed_demo")
    assert (counts(), (folder / "demo-logins.json").read_text()) == (first, logins)
    assert User.objects.get(email="owner@demo.example").family_name == "別名"


def test_lost_logins_are_written_anew_for_the_same_people(folder: Path) -> None:
    demo.seed()
    first = counts()
    (folder / "demo-logins.json").unlink()
    demo.seed()
    login = json.loads((folder / "demo-logins.json").read_text())[0]
    assert counts() == first
    assert User.objects.get(email=login["email"]).check_password(login["password"])


def test_an_account_follows_its_emulator(folder: Path) -> None:
    emulator(folder)
    demo.seed()
    sealed = ProviderAccount.objects.get().sealed_credentials
    demo.seed()
    same = ProviderAccount.objects.get().sealed_credentials == sealed
    emulator(folder, endpoint="http://127.0.0.1:20002", credentials={"token": "c", "secret": "d"})
    demo.seed()
    account = ProviderAccount.objects.get()
    assert (same, account.endpoint, account.credentials(), account.options, account.emulated) == (
        True,
        "http://127.0.0.1:20002",
        {"token": "c", "secret": "d"},
        {"sandbox": "none"},
        True,
    )


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (
            "slurm_ssh",
            "The emulator slurm_ssh is for highreso, which the catalog does not have:"
            " add it to PROVIDERS in portal/catalog/seed.py.",
        ),
        ("fourth", "The emulator fourth has no provider: name it in PROVIDER_OF in portal/home/demo.py."),
    ],
)
def test_an_emulator_whose_provider_has_no_row_is_one_sentence(folder: Path, kind: str, sentence: str) -> None:
    emulator(folder, kind=kind)
    with pytest.raises(CommandError) as refused:
        call_command("seed_demo")
    assert (str(refused.value), ProviderAccount.objects.count()) == (sentence, 0)


def test_none_of_it_exists_in_production(folder: Path, settings: Any) -> None:
    settings.PRODUCTION = True
    emulator(folder)
    with pytest.raises(CommandError, match="do not exist in production"):
        call_command("seed_demo")
    assert (counts(), (folder / "demo-logins.json").exists()) == ([0] * 6, False)
