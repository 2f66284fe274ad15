"""The sites and how each is reached. Rows of the settings' stores follow the settings; staff's own stay theirs."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now

from portal.audit.recording import record
from portal.core.sealing import CannotOpen
from portal.datasets import storage
from portal.datasets.models import Copy, CopyState, StorageSite
from portal.datasets.places import Place, place_of
from portal.datasets.storage import Store

PRIMARY = "primary"


class SiteRefused(Exception):
    """This cannot be a site; the message says why."""


class NotConfigured(storage.StorageUnavailable):
    """The site's keys are neither in the settings nor in the database."""


def follow_settings() -> None:
    """The primary site and those of STORAGE_SITES as the settings have them; one that is no longer there is switched
    off, and its copies stay where they are. Raises OutsideJapan."""
    wanted = {PRIMARY: _primary_facts(), **{row["slug"]: _facts(row) for row in settings.STORAGE_SITES}}
    with transaction.atomic():
        for slug, facts in wanted.items():
            StorageSite.objects.update_or_create(slug=slug, defaults=facts)
        StorageSite.objects.filter(sealed_credentials="").exclude(slug__in=wanted).update(enabled=False)


def primary_site() -> StorageSite:
    """Its row, made where `prepare` has not been yet."""
    known = StorageSite.objects.filter(is_primary=True).first()
    return known or StorageSite.objects.get_or_create(slug=PRIMARY, defaults=_primary_facts())[0]


def primary_by_settings() -> StorageSite:
    """As its row is or will be, not stored: no query. Raises OutsideJapan."""
    return StorageSite(slug=PRIMARY, **_primary_facts())


def store_of(site: StorageSite) -> Store:
    """Raises NotConfigured."""
    if site.is_primary:
        return storage.primary()
    if site.sealed_credentials:
        try:
            keys = site.credentials()
        except CannotOpen as closed:
            raise NotConfigured(site.slug) from closed
    else:
        keys = next((row for row in settings.STORAGE_SITES if row["slug"] == site.slug), {})
    if not keys:
        raise NotConfigured(site.slug)
    return Store(
        keys.get("endpoint") or site.endpoint,
        keys.get("public_endpoint") or site.public_endpoint,
        site.region,
        site.bucket,
        keys["access_key"],
        keys["secret_key"],
    )


def add(
    slug: str, *, endpoint: str, public_endpoint: str, bucket: str, region: str, names: tuple[str, str],
    credentials: dict[str, str],
) -> StorageSite:  # fmt: skip
    """A site of staff's: its bucket is made, and only then is it stored. Names are Japanese and English, or empty.

    Raises SiteRefused, StorageUnavailable.
    """
    if slug == PRIMARY or any(row["slug"] == slug for row in settings.STORAGE_SITES):
        raise SiteRefused(f"The site {slug} comes from the settings and is changed there.")
    for given in (endpoint, public_endpoint):
        if place_of(given) is None:
            raise SiteRefused(
                f"{given} is on no list of stores in Japan. Declare where it is in STORAGE_HOSTS (README.md)."
            )
    facts = _facts(
        {
            "endpoint": endpoint,
            "public_endpoint": public_endpoint,
            "bucket": bucket,
            "region": region,
            "name_ja": names[0],
            "name_en": names[1],
        }
    )
    known = StorageSite.objects.filter(slug=slug).first()
    if known and (known.endpoint, known.bucket) != (endpoint, bucket) and _holds_something(known):
        raise SiteRefused(f"The site {slug} holds copies at {known.endpoint}. Give the new store a name of its own.")
    site = known or StorageSite(slug=slug)
    for name, value in facts.items():
        setattr(site, name, value)
    site.set_credentials(credentials)
    storage.ensure_bucket(at=store_of(site))
    with transaction.atomic():
        site.save()
        record("storage_site.set", f"storage_site:{slug}", actor="operator", detail={"endpoint": endpoint})
    return site


def answered(site: StorageSite) -> None:
    if site.failing_since:
        StorageSite.objects.filter(pk=site.pk).update(failing_since=None)


def did_not_answer(site: StorageSite) -> None:
    """Others are asked first until it answers again."""
    StorageSite.objects.filter(pk=site.pk, failing_since=None).update(failing_since=Now())


def look(site: StorageSite) -> None:
    """Ask it for anything, and remember whether it answered."""
    try:
        storage.size_of("health", at=store_of(site))
    except storage.StorageUnavailable:
        did_not_answer(site)
    else:
        answered(site)


def _holds_something(site: StorageSite) -> bool:
    return Copy.objects.filter(site=site).exclude(state=CopyState.GONE).exists()


def _primary_facts() -> dict[str, Any]:
    store = storage.primary()
    facts = _facts(
        {
            "endpoint": store.endpoint,
            "public_endpoint": store.public_endpoint,
            "bucket": store.bucket,
            "region": store.region,
        }
    )
    if not facts["country"]:
        facts |= {"name_ja": "デモ用ストレージA（このコンピューター）", "name_en": "Demo store A (this computer)"}
    return {**facts, "is_primary": True}


def _facts(row: dict[str, str]) -> dict[str, Any]:
    place = place_of(row["endpoint"])
    if place is None or place_of(row["public_endpoint"]) is None:
        raise storage.OutsideJapan(f"{row['endpoint']} is on no list of stores in Japan")
    names = {f"name_{language}": row.get(f"name_{language}") or _words(place, language) for language in ("ja", "en")}
    return {
        **names,
        "provider": place.provider,
        "region": row.get("region", ""),
        "prefecture_ja": place.prefecture_ja,
        "prefecture_en": place.prefecture_en,
        "country": place.country,
        "endpoint": row["endpoint"],
        "public_endpoint": row["public_endpoint"],
        "bucket": row["bucket"],
        "enabled": True,
    }


def _words(place: Place, language: str) -> str:
    return place.words_in(language)[:80]
