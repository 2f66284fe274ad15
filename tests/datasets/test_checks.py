from __future__ import annotations

import hashlib
from typing import Any
from uuid import uuid4

import pytest

from portal.audit.models import AuditEvent
from portal.datasets import storage
from portal.datasets.checks import verify
from portal.datasets.models import DataFile, Leftover
from tests.factories import DataFileFactory

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("storage_ready")]
WHOLE = hashlib.sha256(b"words").hexdigest()


def over_parts(data: bytes, part: int) -> str:
    pieces = [data[at : at + part] for at in range(0, len(data), part)]
    return hashlib.sha256(b"".join(hashlib.sha256(piece).digest() for piece in pieces)).hexdigest()


def uploaded(data: bytes | None = b"words", **changes: Any) -> DataFile:
    key = f"t/test/{uuid4()}"
    if data is not None:
        storage.put_bytes(key, data)
    empty = {"state": "verifying", "sha256": "", "ready_at": None, "storage_key": key, "size_bytes": 5}
    return DataFileFactory(**{**empty, **changes})


@pytest.mark.parametrize("part", [1, 2, 4, 5, 6, 0])
def test_what_was_declared_is_compared_with_the_bytes_in_the_store(part: int) -> None:
    declared = {"declared_parts_sha256": over_parts(b"words", part)} if part else {}
    file = uploaded(part_size_bytes=part, declared_sha256=WHOLE, **declared)
    verdict = verify(file.pk)
    file.refresh_from_db()
    assert (verdict, file.state, file.sha256, file.failure, file.ready_at is None, file.checked_until) == (
        "ready", "ready", WHOLE, "", False, None,
    )  # fmt: skip
    assert list(AuditEvent.objects.values_list("act", "actor", "detail")) == [
        ("file.verified", "portal:verify", {"sha256": WHOLE, "size_bytes": 5})
    ]
    assert Leftover.objects.count() == 0


@pytest.mark.parametrize(
    ("data", "changes", "failure"),
    [
        (b"word", {}, "size"),
        (b"WORDS", {"declared_sha256": WHOLE}, "checksum"),
        (b"words", {"part_size_bytes": 2, "declared_parts_sha256": over_parts(b"words", 4)}, "checksum"),
        (b"words", {"part_size_bytes": 2, "declared_parts_sha256": over_parts(b"wordz", 2)}, "checksum"),
        (None, {}, "lost"),
    ],
)
def test_what_differs_fails_and_its_bytes_go(data: bytes | None, changes: dict[str, Any], failure: str) -> None:
    file = uploaded(data, **changes)
    verdict = verify(file.pk)
    file.refresh_from_db()
    assert (verdict, file.state, file.failure, file.ready_at) == ("failed", "failed", failure, None)
    assert list(Leftover.objects.values_list("storage_key", flat=True)) == [file.storage_key]
    assert AuditEvent.objects.get().act == "file.failed"


@pytest.mark.parametrize("state", ["uploading", "ready", "failed", "abandoned"])
def test_only_a_completed_upload_is_checked(state: str) -> None:
    ready = {} if state != "ready" else {"sha256": WHOLE, "ready_at": "2026-11-01T00:00Z"}
    file = uploaded(state=state, **ready)
    assert (verify(file.pk), verify(0), AuditEvent.objects.count()) == (None, None, 0)


def test_an_outage_leaves_the_file_to_the_next_one_who_looks(settings: Any) -> None:
    file = uploaded()
    endpoint = settings.S3_ENDPOINT
    settings.S3_ENDPOINT = "http://127.0.0.1:9"
    with pytest.raises(storage.StorageUnavailable):
        verify(file.pk)
    settings.S3_ENDPOINT = endpoint
    assert (list(DataFile.objects.to_verify()), verify(file.pk)) == ([file], "ready")
