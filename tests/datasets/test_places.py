from typing import Any

import pytest
from django.utils import translation

from portal.datasets.places import storage_place


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
