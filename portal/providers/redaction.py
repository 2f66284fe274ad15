"""Takes secrets out of what providers say: they quote what they refuse, in whatever form it reached them."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

_SHORTEST = 4  # a shorter value would take ordinary words apart
_SHORTEST_LINE = 8


def without(text: str, secrets: Iterable[str]) -> str:
    """The text with every secret taken out. Give it the whole text: a secret that was cut is not known again."""
    forms = {form for secret in secrets for form in _forms(secret) if len(form) >= _SHORTEST}
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, "[…]")
    return text


def _forms(secret: str) -> Iterator[str]:
    """The secret, and each of its lines: as it is, on one line, in JSON, in an address, in base64, base32, hex."""
    if len(secret) < _SHORTEST:
        return
    lines = (line.strip() for line in secret.splitlines())
    for value in {secret, " ".join(secret.split()), *(line for line in lines if len(line) >= _SHORTEST_LINE)}:
        yield value
        yield json.dumps(value)[1:-1]
        yield json.dumps(value, ensure_ascii=False)[1:-1]
        yield quote(value, safe="", errors="replace")
        yield quote_plus(value, errors="replace")
        yield "".join(f"\\u{unit:04x}" for unit in memoryview(value.encode("utf-16", "surrogatepass")).cast("H")[1:])
        raw = value.encode(errors="replace")
        yield base64.b64encode(raw).decode().rstrip("=")
        yield base64.urlsafe_b64encode(raw).decode().rstrip("=")
        yield base64.b32encode(raw).decode().rstrip("=")
        yield raw.hex()
        yield raw.hex().upper()
