from typing import Any

import pytest
from django.utils import translation

from portal.datasets.places import place_of, storage_place, stores_are_in_japan


@pytest.mark.parametrize(
    ("endpoint", "place"),
    [
        ("https://s3.isk01.sakurastorage.jp", "Japan (Sakura Internet, Ishikari)"),
        ("https://S3.TKY01.sakurastorage.jp:443/x", "Japan (Sakura Internet, Tokyo)"),
        ("https://s3.isk01.sakurastorage.jp.example.com", "s3.isk01.sakurastorage.jp.example.com"),
        ("http://127.0.0.1:9000", "this computer (demo)"),
        ("http://[::1]:9000", "this computer (demo)"),
        ("http://localhost:9000", "this computer (demo)"),
        ("http://10.0.0.7:9000", "10.0.0.7"),
        ("", ""),
    ],
)
def test_only_what_is_known_of_the_store_is_said(settings: Any, endpoint: str, place: str) -> None:
    settings.S3_ENDPOINT = endpoint
    with translation.override("en"):
        assert storage_place() == place


DECLARED = {"host": "S3.osaka.example.jp", "place": "大阪府堺市", "source": "契約書 2026-11-01", "provider": "kddi"}


@pytest.mark.parametrize(
    ("endpoint", "country"),
    [
        ("https://s3.isk01.sakurastorage.jp", "JP"),
        ("https://s3.osaka.example.jp:9000", "JP"),
        ("http://127.0.0.1:9000", ""),
        ("https://s3.isk01.sakurastorage.jp.example.com", None),
        ("https://s3.ap-northeast-1.amazonaws.com", None),
        ("http://10.0.0.7:9000", None),
        ("nonsense", None),
    ],
)
def test_data_goes_only_where_somebody_says_it_is_in_japan(settings: Any, endpoint: str, country: str | None) -> None:
    settings.STORAGE_HOSTS = [DECLARED]
    place = place_of(endpoint)
    assert (place.country if place else None) == country


def test_what_the_operator_declares_comes_with_its_source(settings: Any) -> None:
    settings.STORAGE_HOSTS = [DECLARED]
    place = place_of("https://s3.osaka.example.jp")
    assert place and (place.words, place.provider, place.source) == ("大阪府堺市", "kddi", "契約書 2026-11-01")


def test_in_production_this_computer_is_no_place(settings: Any) -> None:
    settings.PRODUCTION = True
    assert (place_of("http://127.0.0.1:9000"), place_of("http://localhost:9000")) == (None, None)


def test_the_system_check_names_each_endpoint_outside(settings: Any) -> None:
    assert stores_are_in_japan() == []
    abroad = "https://s3.eu-central-1.amazonaws.com"
    settings.S3_PUBLIC_ENDPOINT = abroad
    settings.STORAGE_SITES = [
        {"slug": "tokyo", "endpoint": "https://s3.tky01.sakurastorage.jp", "public_endpoint": abroad}
    ]
    found = [(problem.id, problem.msg.split(" is on")[0]) for problem in stores_are_in_japan()]
    assert found == [
        ("datasets.E001", f"S3_PUBLIC_ENDPOINT: {abroad}"),
        ("datasets.E001", f"STORAGE_SITES, tokyo, public_endpoint: {abroad}"),
    ]
