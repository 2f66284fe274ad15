"""The object store. The only file that speaks S3; everyone else passes keys, bytes and presigned addresses.

Keys are ours and plain ASCII (t/<organization code>/<...>): people's file names live in the database and come back
with the download. Presigned addresses use S3_PUBLIC_ENDPOINT, which browsers and providers' machines can reach; the
portal itself talks to S3_ENDPOINT. Every function may be called from any thread.

Every function takes the store to ask as `at`: the primary one of the settings unless given. None has a client for an
endpoint that is not known to be in Japan (places.py).

Checksums are sent only where an operation needs one (`when_required`): Sakura's store refuses the newer default
(manual, "Object storage: AWS CLI and SDK", read 2026-11-23).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.utils.http import content_disposition_header

from portal.datasets.places import place_of

MIB = 1024 * 1024
PIECE_BYTES = MIB
STREAM_PART_BYTES = 16 * MIB
PARTS_MAX = 10_000


class StorageError(Exception):
    """Anything that kept the store from doing what was asked."""


class StorageUnavailable(StorageError):
    """The store did not answer, or not in a usable way. Ask again later; nothing is known to have changed."""


class NotInStorage(StorageError):
    """There is no such object or upload."""


class StorageRefused(StorageError):
    """The parts do not make an object: one is missing, too small, or not the one that was sent."""


class OutsideJapan(StorageUnavailable):
    """The endpoint is on no list of stores in Japan: nothing is sent there, and nothing asked."""


@dataclass(frozen=True)
class Store:
    """One bucket of one store, and the keys to it."""

    endpoint: str
    public_endpoint: str
    region: str
    bucket: str
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)


def primary() -> Store:
    return Store(
        settings.S3_ENDPOINT,
        settings.S3_PUBLIC_ENDPOINT,
        settings.S3_REGION,
        settings.S3_BUCKET,
        settings.S3_ACCESS_KEY,
        settings.S3_SECRET_KEY,
    )


@dataclass(frozen=True)
class Stored:
    size_bytes: int
    sha256: str  # hex


@dataclass(frozen=True)
class StoredPart:
    number: int  # from 1
    size_bytes: int
    etag: str


@dataclass(frozen=True)
class PresignedPart:
    """An address for one PUT of one part, with the headers that are part of its signature."""

    url: str
    headers: dict[str, str]


@dataclass(frozen=True)
class PresignedForm:
    """A form that a browser may post once with a file in its last field, `file`."""

    url: str
    fields: dict[str, str]


@dataclass(frozen=True)
class OpenUpload:
    key: str
    upload_id: str
    started_at: datetime


# --- addresses for browsers and machines: no call to the store ---


def presigned_get(
    key: str, *, expires_s: int, download_name: str = "", content_type: str = "", at: Store | None = None
) -> str:
    """With a name the answer is an attachment of that name (RFC 6266), whatever its letters."""
    store = at or primary()
    params = {"Bucket": store.bucket, "Key": key}
    if download_name:
        params["ResponseContentDisposition"] = _attachment(download_name)
    if content_type or download_name:
        params["ResponseContentType"] = content_type or "application/octet-stream"
    return _presign(store, "get_object", params, expires_s)


def presigned_put(key: str, *, expires_s: int) -> str:
    store = primary()
    return _presign(store, "put_object", {"Bucket": store.bucket, "Key": key}, expires_s)


def presigned_part(
    key: str, upload_id: str, number: int, *, size_bytes: int, sha256: str, expires_s: int
) -> PresignedPart:
    """Length and SHA-256 (hex) are signed: another length is refused, other bytes where the store knows checksums."""
    store = primary()
    digest = base64.b64encode(bytes.fromhex(sha256)).decode()
    url = _presign(
        store,
        "upload_part",
        {
            "Bucket": store.bucket,
            "Key": key,
            "UploadId": upload_id,
            "PartNumber": number,
            "ContentLength": size_bytes,
            "ChecksumAlgorithm": "SHA256",
            "ChecksumSHA256": digest,
        },
        expires_s,
    )
    return PresignedPart(url, {"x-amz-checksum-sha256": digest, "x-amz-sdk-checksum-algorithm": "SHA256"})


def presigned_form(key: str, *, max_bytes: int, redirect_to: str, expires_s: int) -> PresignedForm:
    """A plain HTML upload: at most `max_bytes`, then the store sends the browser on to `redirect_to`."""
    store = primary()
    made = _public(store).generate_presigned_post(
        store.bucket,
        key,
        Fields={"success_action_redirect": redirect_to},
        Conditions=[{"success_action_redirect": redirect_to}, ["content-length-range", 0, max_bytes]],
        ExpiresIn=expires_s,
    )
    return PresignedForm(made["url"], made["fields"])


# --- objects ---


def put_bytes(
    key: str, data: bytes, content_type: str = "application/octet-stream", *, at: Store | None = None
) -> None:
    with _asking(at) as (client, bucket):
        client.put_object(Bucket=bucket, Key=key, Body=data, ContentType=content_type)


def put_stream(key: str, pieces: Iterable[bytes]) -> Stored:
    """Memory stays at a few parts, whatever the length. When `pieces` raises, nothing is left under the key."""
    parts = _in_parts(pieces)
    first, second = next(parts, b""), next(parts, None)
    if second is None:
        put_bytes(key, first)
        return Stored(len(first), hashlib.sha256(first).hexdigest())
    upload_id = create_upload(key)
    whole, size, sent = hashlib.sha256(), 0, []
    try:
        for number, part in enumerate(chain((first, second), parts), start=1):
            whole.update(part)
            size += len(part)
            sent.append(send_part(key, upload_id, number, part))
        complete_upload(key, upload_id, sent)
    except BaseException:
        abort_upload(key, upload_id, quietly=True)
        raise
    return Stored(size, whole.hexdigest())


def send_part(key: str, upload_id: str, number: int, part: bytes, *, at: Store | None = None) -> StoredPart:
    """With its SHA-256, so that the store refuses what the network garbled."""
    with _asking(at) as (client, bucket):
        answer = client.upload_part(
            Bucket=bucket,
            Key=key,
            UploadId=upload_id,
            PartNumber=number,
            Body=part,
            ChecksumAlgorithm="SHA256",
            ChecksumSHA256=base64.b64encode(hashlib.sha256(part).digest()).decode(),
        )
    return StoredPart(number, len(part), answer["ETag"])


def read(
    key: str, *, start: int = 0, length: int | None = None, at: Store | None = None, in_haste: bool = False
) -> bytes:
    """Raises NotInStorage. Beyond the end there are no bytes, and that is not an error. `in_haste`: a person waits, so
    a store that says nothing for 5 s is away."""
    if length == 0:
        return b""
    with _asking(at, in_haste=in_haste) as (client, bucket):
        try:
            answer = client.get_object(Bucket=bucket, Key=key, **_range(start, length))
        except _client_error() as refused:
            if _status(refused) == 416:
                return b""
            raise
        return bytes(answer["Body"].read())


def pieces(key: str, *, start: int = 0, at: Store | None = None) -> Iterator[bytes]:
    """The object from `start` on, about 1 MiB at a time. A connection that breaks is taken up where it broke, a few
    times."""
    position, breaks, etag = start, 0, ""
    while True:
        try:
            with _asking(at) as (client, bucket):
                same = {"IfMatch": etag} if etag else {}
                try:
                    answer = client.get_object(Bucket=bucket, Key=key, **_range(position, None), **same)
                except _client_error() as refused:
                    if _status(refused) == 416:  # empty, or the break was after the last byte
                        return
                    raise
                etag = answer["ETag"]
                for piece in answer["Body"].iter_chunks(PIECE_BYTES):
                    yield piece
                    position, breaks = position + len(piece), 0
                return
        except StorageUnavailable:
            breaks += 1
            if not position or breaks > 3:
                raise


def copy(source: str, key: str) -> None:
    """Within the primary store, at most 5 GiB: S3 copies no more at once. Raises NotInStorage."""
    with _asking() as (client, bucket):
        client.copy_object(Bucket=bucket, Key=key, CopySource={"Bucket": bucket, "Key": source})


def copy_part(source: str, key: str, upload_id: str, number: int, *, start: int, length: int) -> None:
    """A piece of `source`, at most 5 GiB, as a part of an upload. Raises NotInStorage when either is no more."""
    with _asking() as (client, bucket):
        client.upload_part_copy(
            Bucket=bucket,
            Key=key,
            UploadId=upload_id,
            PartNumber=number,
            CopySource={"Bucket": bucket, "Key": source},
            CopySourceRange=f"bytes={start}-{start + length - 1}",
        )


def measure(pieces: Iterable[bytes]) -> Stored:
    """Of bytes that go by: `measure(pieces(key))` is what the store holds now, read from the first to the last."""
    whole, size = hashlib.sha256(), 0
    for piece in pieces:
        whole.update(piece)
        size += len(piece)
    return Stored(size, whole.hexdigest())


def size_of(key: str, *, at: Store | None = None) -> int | None:
    """None when there is no such object."""
    try:
        with _asking(at) as (client, bucket):
            return int(client.head_object(Bucket=bucket, Key=key)["ContentLength"])
    except NotInStorage:
        return None


def delete(key: str, *, at: Store | None = None) -> None:
    """Nothing there is also fine."""
    try:
        with _asking(at) as (client, bucket):
            client.delete_object(Bucket=bucket, Key=key)
    except NotInStorage:
        pass


# --- uploads in parts ---


def create_upload(key: str, *, content_type: str = "application/octet-stream", at: Store | None = None) -> str:
    with _asking(at) as (client, bucket):
        made = client.create_multipart_upload(Bucket=bucket, Key=key, ContentType=content_type)
    return str(made["UploadId"])


def parts_of(key: str, upload_id: str, *, at: Store | None = None) -> list[StoredPart]:
    """The parts the store holds, by number: this list is the truth about an upload. Raises NotInStorage."""
    found: list[StoredPart] = []
    with _asking(at) as (client, bucket):
        pages = client.get_paginator("list_parts").paginate(Bucket=bucket, Key=key, UploadId=upload_id)
        for page in pages:
            for part in page.get("Parts", []):
                found.append(StoredPart(part["PartNumber"], part["Size"], part["ETag"]))
    return found


def complete_upload(key: str, upload_id: str, parts: list[StoredPart], *, at: Store | None = None) -> None:
    """Raises NotInStorage when the upload is no more (also: completed before), StorageRefused for wrong parts."""
    with _asking(at) as (client, bucket):
        client.complete_multipart_upload(
            Bucket=bucket,
            Key=key,
            UploadId=upload_id,
            MultipartUpload={"Parts": [{"PartNumber": part.number, "ETag": part.etag} for part in parts]},
        )


def abort_upload(key: str, upload_id: str, *, quietly: bool = False, at: Store | None = None) -> None:
    """The store forgets the parts. An upload that is no more is fine; `quietly` leaves an outage to the sweep."""
    try:
        with _asking(at) as (client, bucket):
            client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload_id)
    except NotInStorage:
        pass
    except StorageError:
        if not quietly:
            raise


def open_uploads(*, at: Store | None = None) -> Iterator[OpenUpload]:
    """Every unfinished upload of the bucket, ours or left behind by a crash."""
    with _asking(at) as (client, bucket):
        for page in client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix="t/"):
            for upload in page.get("Uploads", []):
                yield OpenUpload(upload["Key"], upload["UploadId"], upload["Initiated"])


# --- the bucket ---


def ensure_bucket(*, at: Store | None = None) -> None:
    """Make the bucket if it is not there, and let browsers on the portal's own address send parts to it."""
    with _asking(at) as (client, bucket):
        try:
            client.head_bucket(Bucket=bucket)
        except _client_error() as refused:
            if _status(refused) != 404:
                raise
            client.create_bucket(Bucket=bucket)
        client.put_bucket_cors(
            Bucket=bucket,
            CORSConfiguration={
                "CORSRules": [
                    {
                        "AllowedOrigins": _portal_origins(),
                        "AllowedMethods": ["PUT", "GET"],
                        "AllowedHeaders": ["content-type", "x-amz-checksum-sha256", "x-amz-sdk-checksum-algorithm"],
                        "ExposeHeaders": ["ETag"],
                        "MaxAgeSeconds": 3600,
                    }
                ]
            },
        )


def _portal_origins() -> list[str]:
    address = urlsplit(settings.PORTAL_URL)
    hosts = [address.netloc]
    twins = {"localhost": "127.0.0.1", "127.0.0.1": "localhost"}
    if not settings.PRODUCTION and address.hostname in twins:
        hosts.append(address.netloc.replace(address.hostname, twins[address.hostname], 1))
    return [f"{address.scheme}://{host}" for host in hosts]


# --- inside ---

_clients: dict[tuple[Store, str, bool], Any] = {}
_making = Lock()


def _public(store: Store) -> Any:
    return _client(store, store.public_endpoint)


def _client(store: Store, endpoint: str, in_haste: bool = False) -> Any:
    """One per store, endpoint and process: clients may be shared between threads, making one may not."""
    kind = (store, endpoint, in_haste)
    known = _clients.get(kind)
    if known is None:
        with _making:
            known = _clients.get(kind)
            if known is None:
                known = _clients[kind] = _make_client(*kind)
    return known


def _make_client(store: Store, endpoint: str, in_haste: bool) -> Any:
    if place_of(endpoint) is None:
        raise OutsideJapan(f"{endpoint} is on no list of stores in Japan")
    import boto3  # here: 25 MB that a process without a first use never pays
    from botocore.config import Config

    return boto3.session.Session().client(
        "s3",
        endpoint_url=endpoint,
        region_name=store.region,
        aws_access_key_id=store.access_key,
        aws_secret_access_key=store.secret_key,
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": "path"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            # Three tries are over before the lease of a hand-over (45 s), whose worker can then say what it waits for.
            connect_timeout=3,
            read_timeout=5 if in_haste else 12,
            retries={"mode": "standard", "total_max_attempts": 1 if in_haste else 3},
            max_pool_connections=16,
            proxies={},  # none from the environment
        ),
    )


def _client_error() -> type[Exception]:
    from botocore.exceptions import ClientError

    refused: type[Exception] = ClientError
    return refused


def _status(refused: Any) -> int:
    return int(refused.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


@contextmanager
def _asking(at: Store | None = None, *, in_haste: bool = False) -> Iterator[tuple[Any, str]]:
    """Client and bucket, for calls to the store: its errors become ours."""
    store = at or primary()
    client = _client(store, store.endpoint, in_haste)
    from botocore.exceptions import BotoCoreError, ClientError  # imported with the first client

    try:
        yield client, store.bucket
    except ClientError as refused:
        code = str(refused.response.get("Error", {}).get("Code", ""))
        if code in ("InvalidPart", "InvalidPartOrder", "EntityTooSmall", "BadDigest", "InvalidDigest"):
            raise StorageRefused(code) from refused
        if code in ("NoSuchKey", "NoSuchUpload") or (_status(refused) == 404 and code != "NoSuchBucket"):
            raise NotInStorage(code) from refused
        raise StorageUnavailable(f"{refused.operation_name}: {code}") from refused
    except BotoCoreError as failed:
        raise StorageUnavailable(type(failed).__name__) from failed


def _presign(store: Store, operation: str, params: dict[str, Any], expires_s: int) -> str:
    return str(_public(store).generate_presigned_url(operation, Params=params, ExpiresIn=expires_s))


def _attachment(name: str) -> str:
    printable = "".join(letter if letter.isprintable() else "_" for letter in name)
    return str(content_disposition_header(True, printable))


def _range(start: int, length: int | None) -> dict[str, str]:
    if not start and length is None:
        return {}
    return {"Range": f"bytes={start}-{'' if length is None else start + length - 1}"}


def _in_parts(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Parts of 16 MiB; they grow with their number so that 10,000 of them hold a terabyte."""
    waiting, number = bytearray(), 0
    for piece in pieces:
        waiting += piece
        wanted = STREAM_PART_BYTES * (1 + number // 1000)
        while len(waiting) >= wanted:
            yield bytes(waiting[:wanted])
            del waiting[:wanted]
            number += 1
    if waiting:
        yield bytes(waiting)
