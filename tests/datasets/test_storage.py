import hashlib
import os
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import httpx
import pytest

from portal.datasets import storage
from portal.datasets.models import StorageSite
from portal.datasets.sites import store_of
from portal.datasets.storage import MIB, NotInStorage, Stored, StoredPart

pytestmark = pytest.mark.usefixtures("storage_ready")


@pytest.fixture
def key() -> str:
    return f"t/test/{uuid4()}"


def test_what_is_put_is_read(key: str) -> None:
    storage.put_bytes(key, b"hello")

    read = [storage.read(key), storage.read(key, start=1, length=2), storage.read(key, start=9)]
    assert (read, storage.size_of(key), b"".join(storage.pieces(key))) == ([b"hello", b"el", b""], 5, b"hello")


def test_an_empty_object_is_an_object(key: str) -> None:
    storage.put_bytes(key, b"")

    assert (storage.read(key), b"".join(storage.pieces(key)), storage.size_of(key)) == (b"", b"", 0)


def test_what_is_not_there_is_told_apart_from_an_outage(key: str, settings: Any) -> None:
    assert storage.size_of(key) is None
    storage.delete(key)
    for ask in (lambda: storage.read(key), lambda: list(storage.pieces(key))):
        with pytest.raises(NotInStorage):
            ask()

    settings.S3_ENDPOINT = "http://127.0.0.1:9"
    started = time.monotonic()
    with pytest.raises(storage.StorageUnavailable):
        storage.size_of(key)
    assert time.monotonic() - started < 10


def test_a_stream_becomes_one_object_in_parts(key: str) -> None:
    data = os.urandom(33 * MIB + 5)

    stored = storage.put_stream(key, (data[at : at + 700_000] for at in range(0, len(data), 700_000)))

    assert stored == Stored(len(data), hashlib.sha256(data).hexdigest())
    assert storage.measure(storage.pieces(key)) == stored


def test_a_stream_that_breaks_leaves_nothing(key: str) -> None:
    def breaks() -> Iterator[bytes]:
        yield bytes(40 * MIB)
        raise RuntimeError("the machine is gone")

    with pytest.raises(RuntimeError):
        storage.put_stream(key, breaks())

    assert (storage.size_of(key), [u.key for u in storage.open_uploads() if u.key == key]) == (None, [])


def test_parts_are_bound_to_length_and_checksum(key: str) -> None:
    upload_id = storage.create_upload(key)
    part = os.urandom(1000)
    address = storage.presigned_part(
        key, upload_id, 1, size_bytes=1000, sha256=hashlib.sha256(part).hexdigest(), expires_s=60
    )

    statuses = [
        httpx.put(address.url, content=content, headers=headers).status_code
        for content, headers in (
            (part[:-1] + b"x", address.headers),
            (part[:-1], address.headers),
            (part, {}),
            (part, address.headers),
        )
    ]

    assert statuses == [400, 403, 403, 200]
    assert [(p.number, p.size_bytes) for p in storage.parts_of(key, upload_id)] == [(1, 1000)]


def test_an_upload_is_completed_or_forgotten(key: str) -> None:
    upload_id = storage.create_upload(key)
    part = storage.send_part(key, upload_id, 1, b"words")
    with pytest.raises(storage.StorageRefused):
        storage.complete_upload(key, upload_id, [StoredPart(1, 5, '"not-it"')])

    storage.complete_upload(key, upload_id, [part])

    assert storage.read(key) == b"words"
    with pytest.raises(NotInStorage):
        storage.parts_of(key, upload_id)
    other = storage.create_upload(key)
    storage.abort_upload(key, other)
    storage.abort_upload(key, other)
    with pytest.raises(NotInStorage):
        storage.parts_of(key, other)


def test_a_download_has_the_persons_name_for_the_file(key: str) -> None:
    storage.put_bytes(key, b"x")

    answers = [
        httpx.get(storage.presigned_get(key, expires_s=60, download_name=name))
        for name in ("words.txt", '売上 "2026".csv', "a\r\nSet-Cookie: b")
    ]

    assert [(a.headers["content-disposition"], a.headers["content-type"]) for a in answers] == [
        ('attachment; filename="words.txt"', "application/octet-stream"),
        ("attachment; filename*=utf-8''%E5%A3%B2%E4%B8%8A%20%222026%22.csv", "application/octet-stream"),
        ('attachment; filename="a__Set-Cookie: b"', "application/octet-stream"),
    ]


def test_nothing_is_asked_of_or_sent_to_a_store_that_is_not_known_to_be_in_japan(key: str, settings: Any) -> None:
    settings.S3_ENDPOINT = settings.S3_PUBLIC_ENDPOINT = "https://s3.us-east-1.amazonaws.com"

    for ask in (
        lambda: storage.put_bytes(key, b"x"),
        lambda: storage.size_of(key),
        lambda: storage.presigned_get(key, expires_s=60),
        lambda: storage.presigned_put(key, expires_s=60),
    ):
        with pytest.raises(storage.OutsideJapan):
            ask()


def test_each_store_has_its_own_objects(key: str, second_site: StorageSite) -> None:
    second = store_of(second_site)
    storage.put_bytes(key, b"here")
    storage.put_bytes(key, b"there", at=second)
    upload_id = storage.create_upload(key, at=second)
    part = storage.send_part(key, upload_id, 1, b"part", at=second)

    assert (storage.read(key), storage.read(key, at=second), storage.size_of(key, at=second)) == (b"here", b"there", 5)
    assert httpx.get(storage.presigned_get(key, expires_s=60, at=second)).content == b"there"
    assert storage.parts_of(key, upload_id, at=second) == [part]
    with pytest.raises(NotInStorage):
        storage.parts_of(key, upload_id)
    storage.complete_upload(key, upload_id, [part], at=second)
    storage.delete(key)
    assert (storage.size_of(key), b"".join(storage.pieces(key, at=second))) == (None, b"part")


def test_an_address_ends(key: str) -> None:
    storage.put_bytes(key, b"x")
    url = storage.presigned_get(key, expires_s=1)
    assert parse_qs(urlsplit(url).query)["X-Amz-Expires"] == ["1"]
    time.sleep(2.1)

    assert httpx.get(url).status_code == 403


def test_addresses_for_others_use_the_public_endpoint(key: str, settings: Any) -> None:
    settings.S3_PUBLIC_ENDPOINT = "https://store.example.jp"
    settings.STORAGE_HOSTS = [{"host": "store.example.jp", "place": "大阪府", "source": "contract"}]
    form = storage.presigned_form(key, max_bytes=9, redirect_to="https://portal.example.jp/", expires_s=60)

    urls = [storage.presigned_get(key, expires_s=60), storage.presigned_put(key, expires_s=60), form.url]

    assert {urlsplit(url).netloc for url in urls} == {"store.example.jp"}


def test_a_plain_form_is_bound_to_key_and_size_and_leads_back(key: str) -> None:
    back = "http://localhost:8000/datasets/files/f-1/posted/"
    form = storage.presigned_form(key, max_bytes=10, redirect_to=back, expires_s=60)

    def send(data: bytes, **fields: str) -> httpx.Response:
        return httpx.post(form.url, data={**form.fields, **fields}, files={"file": ("x.txt", data, "text/plain")})

    too_large, elsewhere, fits = send(b"x" * 11), send(b"x", key="t/other/1"), send(b"0123456789")

    late = httpx.post(
        (old := storage.presigned_form(key, max_bytes=10, redirect_to=back, expires_s=-60)).url,
        data=old.fields,
        files={"file": ("x.txt", b"words", "text/plain")},
    )

    assert (too_large.status_code, elsewhere.status_code, fits.status_code) == (400, 403, 303)
    assert ("EntityTooLarge" in too_large.text, "AccessDenied" in late.text) == (True, True), late.text
    assert fits.headers["location"].split("?")[0] == back
    assert storage.read(key) == b"0123456789"


def test_only_the_portals_pages_may_send_parts() -> None:
    def preflight(origin: str) -> str | None:
        headers = {
            "Origin": origin,
            "Access-Control-Request-Method": "PUT",
            "Access-Control-Request-Headers": "x-amz-checksum-sha256,x-amz-sdk-checksum-algorithm",
        }
        address = storage.presigned_put("t/test/cors", expires_s=60)
        return httpx.options(address, headers=headers).headers.get("access-control-allow-origin")

    origins = ["http://localhost:8000", "http://127.0.0.1:8000", "http://evil.example"]
    assert [preflight(origin) for origin in origins] == ["http://localhost:8000", "http://127.0.0.1:8000", None]
