"""Where the store is. Only what is known of an endpoint is said; the list grows with the contracts.

Source: PROVIDERS.md 3.2 (Sakura's OpenAPI 1.5.0, read 2026-11-23).
"""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

from django.conf import settings
from django.utils.translation import gettext_lazy as _

_IN_JAPAN = {
    "s3.isk01.sakurastorage.jp": _("Japan (Sakura Internet, Ishikari)"),
    "s3.tky01.sakurastorage.jp": _("Japan (Sakura Internet, Tokyo)"),
    "s3.arc02.sakurastorage.jp": _("Japan (Sakura Internet, Tokyo)"),
}


def storage_place() -> str:
    """For people: the place where it is known, else the store's address."""
    host = urlsplit(settings.S3_ENDPOINT).hostname or ""
    if host in _IN_JAPAN:
        return str(_IN_JAPAN[host])
    if _is_this_computer(host):
        return str(_("this computer (demo)"))
    return host


def _is_this_computer(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
