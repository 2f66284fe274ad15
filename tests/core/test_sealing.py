from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.core.exceptions import ImproperlyConfigured

from portal.core.sealing import CannotOpen, resealed, seal, unseal

OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()


def test_what_is_sealed_is_read_back_and_shows_nothing() -> None:
    sealed = seal({"token": "canary", "名": "値"})
    assert ("canary" in sealed, unseal(sealed), unseal(""), seal({}) == "") == (
        False,
        {"token": "canary", "名": "値"},
        {},
        False,
    )


def test_what_is_no_key_is_named_by_its_setting(settings: Any) -> None:
    settings.CREDENTIALS_KEYS = ["junk"]
    with pytest.raises(ImproperlyConfigured, match="CREDENTIALS_KEYS must be Fernet keys"):
        seal({"token": "t"})


def test_the_same_secret_never_looks_the_same() -> None:
    assert seal({"token": "a"}) != seal({"token": "a"})


def test_old_keys_still_open_and_the_newest_seals(settings: Any) -> None:
    settings.CREDENTIALS_KEYS = [OLD]
    before = seal({"token": "a"})
    settings.CREDENTIALS_KEYS = [NEW, OLD]
    after = seal({"token": "b"})
    opened = [unseal(before), unseal(after)]
    settings.CREDENTIALS_KEYS = [NEW]
    assert (opened, unseal(after)) == ([{"token": "a"}, {"token": "b"}], {"token": "b"})
    with pytest.raises(CannotOpen):
        unseal(before)


def test_what_is_sealed_anew_needs_the_old_key_no_more(settings: Any) -> None:
    settings.CREDENTIALS_KEYS = [OLD]
    before = seal({"token": "a"})
    settings.CREDENTIALS_KEYS = [NEW, OLD]
    after = resealed(before)
    settings.CREDENTIALS_KEYS = [NEW]
    assert (unseal(after), resealed("")) == ({"token": "a"}, "")
    with pytest.raises(CannotOpen):
        resealed(before)


@pytest.mark.parametrize("change", [lambda text: text[:-4] + "AAA=", lambda text: text[:20], lambda text: "学習"])
def test_what_was_changed_does_not_open(change) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(CannotOpen):
        unseal(change(seal({"token": "a"})))
