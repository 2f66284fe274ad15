"""Where stores are. Data goes to no endpoint but those in this list, those that the operator declares in STORAGE_HOSTS
(with a place in Japan, and where that is written), and, in a demo, those on this computer.

Source: PROVIDERS.md 3.2 (Sakura's OpenAPI 1.5.0, read 2026-11-23).
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, register
from django.core.exceptions import ImproperlyConfigured
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.utils.translation import override

RESIDENCY = "residency"  # the tag of the system check


@dataclass(frozen=True)
class Place:
    """`country` is empty for this computer: nobody knows where a demo runs."""

    words: str | Promise
    country: str = "JP"
    provider: str = ""  # the slug of who runs it, where it is a member
    prefecture_ja: str = ""
    prefecture_en: str = ""
    source: str = ""

    def words_in(self, language: str) -> str:
        with override(language):
            return str(self.words)


_SAKURA = "manual.sakura.ad.jp, sacloud-sdk-go api/object-storage (OpenAPI 1.5.0), 2026-11-23"
PERMITTED = {
    "s3.isk01.sakurastorage.jp": Place(
        _("Japan (Sakura Internet, Ishikari)"), "JP", "sakura", "北海道石狩市", "Ishikari, Hokkaido", _SAKURA
    ),
    "s3.tky01.sakurastorage.jp": Place(_("Japan (Sakura Internet, Tokyo)"), "JP", "sakura", "東京都", "Tokyo", _SAKURA),
    "s3.arc02.sakurastorage.jp": Place(_("Japan (Sakura Internet, Tokyo)"), "JP", "sakura", "東京都", "Tokyo", _SAKURA),
}
_HERE = Place(_("this computer (demo)"), country="")


def place_of(endpoint: str) -> Place | None:
    """None: no data may go there."""
    host = urlsplit(endpoint).hostname or ""
    if host in PERMITTED:
        return PERMITTED[host]
    for row in settings.STORAGE_HOSTS:
        if row["host"].lower() == host:
            provider = row.get("provider", "")
            return Place(row["place"], "JP", provider, row["place"], row.get("place_en", row["place"]), row["source"])
    return _HERE if not settings.PRODUCTION and _is_this_computer(host) else None


def storage_place() -> str:
    """For people: the place where it is known, else the store's address."""
    place = place_of(settings.S3_ENDPOINT)
    return str(place.words) if place else urlsplit(settings.S3_ENDPOINT).hostname or ""


@register(RESIDENCY)
def stores_are_in_japan(**_: object) -> list[CheckMessage]:
    """Every endpoint of the settings. Those of sites that staff added are looked at when they are used."""
    endpoints = {"S3_ENDPOINT": settings.S3_ENDPOINT, "S3_PUBLIC_ENDPOINT": settings.S3_PUBLIC_ENDPOINT}
    for site in settings.STORAGE_SITES:
        endpoints[f"STORAGE_SITES, {site['slug']}, endpoint"] = site["endpoint"]
        endpoints[f"STORAGE_SITES, {site['slug']}, public_endpoint"] = site["public_endpoint"]
    return [
        Error(
            f"{name}: {endpoint} is on no list of stores in Japan, so no data may go there.",
            hint="Use a store in Japan; declare where it is, and where that is written, in STORAGE_HOSTS (README.md).",
            id="datasets.E001",
        )
        for name, endpoint in endpoints.items()
        if place_of(endpoint) is None
    ]


def refuse_to_start_abroad() -> None:
    """Raises ImproperlyConfigured with what the system check says."""
    if problems := stores_are_in_japan():
        raise ImproperlyConfigured("\n".join(f"{problem.msg} {problem.hint}" for problem in problems))


def _is_this_computer(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
