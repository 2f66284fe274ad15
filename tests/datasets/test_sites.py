from __future__ import annotations

import io
import json
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, transaction

from portal.datasets import sites, storage
from portal.datasets.models import StorageSite
from portal.datasets.storage import OutsideJapan
from tests.factories import DataFileFactory

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("storage_ready")]


def test_the_settings_stores_are_sites_and_one_that_is_taken_out_is_switched_off(
    second_site: StorageSite, settings: Any
) -> None:
    def told() -> list[tuple[str, str, str, bool, bool]]:
        rows = StorageSite.objects.order_by("pk")
        return list(rows.values_list("slug", "name_en", "bucket", "is_primary", "enabled"))

    primary = ("primary", "Demo store A (this computer)", settings.S3_BUCKET, True, True)
    assert told() == [primary, ("second", "Second store", second_site.bucket, False, True)]
    settings.STORAGE_SITES = []
    sites.follow_settings()
    assert told() == [primary, ("second", "Second store", second_site.bucket, False, False)]
    with pytest.raises(sites.NotConfigured):
        sites.store_of(second_site)


def test_a_site_knows_its_place_from_the_list(settings: Any) -> None:
    tokyo = "https://s3.tky01.sakurastorage.jp"
    row = {"slug": "tokyo", "endpoint": tokyo, "public_endpoint": tokyo, "bucket": "b", "region": "jp-east-1"}
    settings.STORAGE_SITES = [row]
    sites.follow_settings()
    site = StorageSite.objects.get(slug="tokyo")
    assert (site.name_ja, site.name_en, site.provider, site.prefecture_en, site.country) == (
        "国内（さくらインターネット 東京）", "Japan (Sakura Internet, Tokyo)", "sakura", "Tokyo", "JP",
    )  # fmt: skip


def test_a_site_abroad_is_refused_by_the_code_and_by_the_database(settings: Any) -> None:
    abroad = "https://s3.us-east-1.amazonaws.com"
    settings.STORAGE_SITES = [{"slug": "us", "endpoint": abroad, "public_endpoint": abroad, "bucket": "b"}]
    with pytest.raises(OutsideJapan):
        sites.follow_settings()
    facts = {"name_ja": "x", "name_en": "x", "region": "r", "public_endpoint": abroad, "bucket": "b"}
    for slug, country in (("us", "US"), ("unsaid", "")):
        with pytest.raises(IntegrityError, match="site_in_japan"), transaction.atomic():
            StorageSite.objects.create(slug=slug, country=country, endpoint=abroad, **facts)
    # Staff's row that somebody changed by hand: no client is made for its endpoint.
    site = StorageSite(slug="hand", endpoint=abroad, **facts)
    site.set_credentials({"access_key": "a", "secret_key": "b"})
    site.save()
    with pytest.raises(OutsideJapan):
        storage.put_bytes("t/test/x", b"x", at=sites.store_of(site))


def add(monkeypatch: pytest.MonkeyPatch, *args: str, keys: str = "") -> str:
    store = storage.primary()
    given = keys or json.dumps({"access_key": store.access_key, "secret_key": store.secret_key})
    monkeypatch.setattr("sys.stdin", io.StringIO(given))
    said = io.StringIO()
    call_command("add_storage_site", *args, stdout=said)
    return said.getvalue()


def test_staff_add_a_site_by_a_command(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    here, bucket = settings.S3_ENDPOINT, f"{settings.S3_BUCKET}-staff"
    assert add(monkeypatch, "annex", here, bucket, "--name-en", "Annex") == "annex (Annex) is ready.\n"
    site = StorageSite.objects.get(slug="annex")
    storage.put_bytes("t/test/annex", b"x", at=sites.store_of(site))
    assert storage.primary().secret_key not in site.sealed_credentials

    refusals = []
    for args, keys in (
        (("annex", "https://s3.us-east-1.amazonaws.com", bucket), ""),
        (("primary", here, bucket), ""),
        (("annex", here, bucket), '{"access_key": "a"}'),
        (("a b", here, bucket), ""),
    ):
        with pytest.raises(CommandError) as refused:
            add(monkeypatch, *args, keys=keys)
        refusals.append(str(refused.value))
    assert refusals == [
        "https://s3.us-east-1.amazonaws.com is on no list of stores in Japan. Declare where it is in STORAGE_HOSTS"
        " (README.md).",
        "The site primary comes from the settings and is changed there.",
        'The keys must be one JSON object: {"access_key": "…", "secret_key": "…"}.',
        "The name may have letters, digits, hyphens and underscores.",
    ]


def test_a_site_that_holds_copies_is_not_moved(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    here, bucket = settings.S3_ENDPOINT, f"{settings.S3_BUCKET}-staff"
    add(monkeypatch, "annex", here, bucket)
    file = DataFileFactory()
    StorageSite.objects.get(slug="annex").copies.create(
        file=file, storage_key=file.storage_key, size_bytes=5, sha256=file.sha256
    )
    with pytest.raises(CommandError, match="holds copies at"):
        add(monkeypatch, "annex", here, f"{bucket}-2")


def test_a_site_that_does_not_answer_is_remembered_until_it_does(second_site: StorageSite, settings: Any) -> None:
    row = settings.STORAGE_SITES[0]
    settings.STORAGE_SITES = [{**row, "endpoint": "http://127.0.0.1:9"}]
    sites.look(second_site)
    second_site.refresh_from_db()
    since = second_site.failing_since
    sites.look(second_site)
    second_site.refresh_from_db()
    assert since is not None and second_site.failing_since == since
    settings.STORAGE_SITES = [row]
    sites.look(second_site)
    second_site.refresh_from_db()
    assert second_site.failing_since is None
