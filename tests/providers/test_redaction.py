from __future__ import annotations

import base64
import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.providers.redaction import without

SECRET = 'a "quoted" päss/wörd\nof two lines+'


def test_secrets_are_taken_out_longest_first() -> None:
    assert without("token secret-long and secret", ["secret", "secret-long", ""]) == "token […] and […]"


def test_short_values_are_words_like_others() -> None:
    assert without("GPU 1 of 8", ["1", "GPU", ""]) == "GPU 1 of 8"


@pytest.mark.parametrize(
    "quoted",
    [
        SECRET,
        " ".join(SECRET.split()),
        json.dumps(SECRET)[1:-1],
        json.dumps(SECRET, ensure_ascii=False)[1:-1],
        quote(SECRET, safe=""),
        "".join(rf"\u{ord(letter):04x}" for letter in SECRET),
        base64.b64encode(SECRET.encode()).decode().rstrip("="),
        base64.b32encode(SECRET.encode()).decode().rstrip("="),
        SECRET.encode().hex(),
        SECRET.splitlines()[1],
    ],
    ids=[
        "plain",
        "one line",
        "JSON",
        "JSON in letters",
        "address",
        "escaped",
        "base64",
        "base32",
        "hex",
        "one of its lines",
    ],
)
def test_a_secret_is_known_in_every_form(quoted: str) -> None:
    assert without(f"refused: {quoted}.", [SECRET]) == "refused: […]."


@given(st.text(), st.lists(st.text()))
def test_any_secret_is_gone_from_any_text(text: str, secrets: list[str]) -> None:
    left = without(text + "".join(secrets), secrets)
    assert not [secret for secret in secrets if len(secret) >= 4 and "[…]" not in secret and secret in left]
