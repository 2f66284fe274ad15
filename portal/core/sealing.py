"""Secrets at rest: sealed with the newest of CREDENTIALS_KEYS, opened with any of them."""

import json
from collections.abc import Mapping
from functools import cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured


class CannotOpen(Exception):
    """None of the keys in CREDENTIALS_KEYS opens this secret."""


@cache
def _box(keys: tuple[str, ...]) -> MultiFernet:
    try:
        return MultiFernet([Fernet(key) for key in keys])
    except ValueError:
        raise ImproperlyConfigured(
            "CREDENTIALS_KEYS must be Fernet keys, comma-separated (cryptography.fernet.Fernet.generate_key())."
        ) from None


def seal(values: Mapping[str, str]) -> str:
    return _box(tuple(settings.CREDENTIALS_KEYS)).encrypt(json.dumps(dict(values)).encode()).decode()


def unseal(sealed: str) -> dict[str, str]:
    """The values given to `seal`; {} for "". Raises CannotOpen."""
    if not sealed:
        return {}
    try:
        opened = _box(tuple(settings.CREDENTIALS_KEYS)).decrypt(sealed.encode())
    except InvalidToken:
        raise CannotOpen("None of the keys in CREDENTIALS_KEYS opens this secret.") from None
    values: dict[str, str] = json.loads(opened)
    return values


def resealed(sealed: str) -> str:
    """The same secret under the newest key; "" for "". Raises CannotOpen."""
    if not sealed:
        return ""
    try:
        return _box(tuple(settings.CREDENTIALS_KEYS)).rotate(sealed.encode()).decode()
    except InvalidToken:
        raise CannotOpen("None of the keys in CREDENTIALS_KEYS opens this secret.") from None
