from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from typing import Any

import pytest

from portal.providers.base import Account, Artifacts, Availability, MoreTime, PriceList, PrivateImages
from portal.providers.bootstrap import bootstrap_script
from portal.providers.errors import Misconfigured
from portal.providers.registry import (
    GIVES_TIME,
    KINDS,
    SENDS_RESULTS,
    TAKES_LOGINS,
    TELLS_AVAILABILITY,
    TELLS_PRICES,
    adapter_for,
    close_all,
    option_names,
)

ACCOUNT = Account("sakura_dok", "http://127.0.0.1:9", {"token": "canary-a", "secret": "canary-b"})


def test_one_account_has_one_adapter() -> None:
    same = adapter_for(ACCOUNT), adapter_for(replace(ACCOUNT, credentials=dict(ACCOUNT.credentials)))
    assert same[0] is same[1]
    assert adapter_for(replace(ACCOUNT, credentials={"token": "canary-a", "secret": "new"})) is not same[0]
    close_all()
    assert adapter_for(ACCOUNT) is not same[0]
    close_all()


def test_a_kind_that_nobody_speaks() -> None:
    with pytest.raises(Misconfigured, match="no adapter"):
        adapter_for(replace(ACCOUNT, kind="fax"))


def test_an_emulator_is_refused_in_production(settings: Any) -> None:
    settings.PORTAL_MODE = "production"
    with pytest.raises(Misconfigured, match="pretend"):
        adapter_for(replace(ACCOUNT, options={"emulated": "true"}))


def test_an_account_shows_no_credentials() -> None:
    assert "canary" not in repr(ACCOUNT)


def test_every_option_is_explained_beside_its_name() -> None:
    unexplained = {
        kind: [name for name in option_names(kind) if f"`{name}`" not in getattr(import_module(module), cls).__doc__]
        for kind, (module, cls) in KINDS.items()
    }
    assert unexplained == {kind: [] for kind in KINDS}


def test_the_variable_by_which_a_job_knows_its_id_is_sent_with_its_claim() -> None:
    variables = {getattr(import_module(module), name).id_variable for module, name in KINDS.values()} - {""}
    assert [name for name in sorted(variables) if f"${{{name}:-" not in bootstrap_script()] == []


def test_what_is_said_by_kind_is_what_the_adapters_can_do() -> None:
    classes = {kind: getattr(import_module(module), name) for kind, (module, name) in KINDS.items()}
    assert {kind for kind, one in classes.items() if issubclass(one, PriceList)} == TELLS_PRICES
    assert {kind for kind, one in classes.items() if issubclass(one, Availability)} == TELLS_AVAILABILITY
    assert {kind for kind, one in classes.items() if issubclass(one, PrivateImages)} == TAKES_LOGINS
    assert {kind for kind, one in classes.items() if issubclass(one, MoreTime)} == GIVES_TIME
    assert {kind for kind, one in classes.items() if not issubclass(one, Artifacts)} == SENDS_RESULTS
