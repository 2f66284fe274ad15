from __future__ import annotations

import hashlib
import os
from datetime import timedelta
from uuid import uuid4

import pytest
from django.utils import timezone

from portal.audit.models import AuditEvent
from portal.datasets import adoption, storage
from portal.datasets.checks import verify
from portal.datasets.models import DataFile, Leftover
from portal.datasets.storage import MIB
from tests.factories import DataFileFactory

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("storage_ready")]


def source_of(data: bytes) -> str:
    key = f"t/test/{uuid4()}"
    storage.put_bytes(key, data)
    return key


def to_adopt(data: bytes, copy_from: str, **changes: object) -> DataFile:
    fields = {
        "state": "verifying",
        "sha256": "",
        "ready_at": None,
        "storage_key": f"t/test/{uuid4()}",
        "size_bytes": len(data),
        "declared_sha256": hashlib.sha256(data).hexdigest(),
        "copy_from": copy_from,
    }
    return DataFileFactory(**{**fields, **changes})


def fetched(file: DataFile) -> bytes:
    file.refresh_from_db()
    return b"".join(storage.pieces(file.storage_key))


@pytest.fixture
def in_small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adoption, "AT_ONCE_BYTES", 5 * MIB)


@pytest.mark.parametrize("data", [b"", b"words"])
def test_a_copy_outlives_what_it_was_copied_from(data: bytes) -> None:
    source = source_of(data)
    file = to_adopt(data, source)

    verdict = verify(file.pk)
    storage.delete(source)

    assert (fetched(file), verdict, file.state, file.copy_from) == (data, "ready", "ready", "")
    assert list(AuditEvent.objects.values_list("act", flat=True)) == ["file.verified"]


def test_a_large_one_is_copied_in_parts_and_its_lease_renewed(in_small_pieces: None) -> None:
    data = os.urandom(12 * MIB + 7)
    file = to_adopt(data, source_of(data))
    renewed: list[int] = []

    adoption.fetch(file, renew=lambda: renewed.append(1))

    assert (fetched(file) == data, file.copy_from, file.upload_id, len(renewed)) == (True, "", "", 3)
    assert [upload.key for upload in storage.open_uploads() if upload.key == file.storage_key] == []


@pytest.mark.parametrize("parts_before", [0, 1, 2, 3])
def test_what_a_killed_worker_has_copied_stays_copied(
    in_small_pieces: None, parts_before: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    data = os.urandom(12 * MIB + 7)
    file = to_adopt(data, source_of(data))
    left = [parts_before]

    def until_killed() -> None:
        left[0] -= 1
        if left[0] <= 0:
            raise Killed

    if parts_before:
        with pytest.raises(Killed):
            adoption.fetch(file, renew=until_killed)
    copied: list[int] = []
    copy_part = storage.copy_part

    def counted(source: str, key: str, upload_id: str, number: int, *, start: int, length: int) -> None:
        copied.append(number)
        copy_part(source, key, upload_id, number, start=start, length=length)

    monkeypatch.setattr(storage, "copy_part", counted)

    verdict = verify(file.pk)

    assert (verdict, fetched(file) == data) == ("ready", True)
    assert copied == [number for number in (1, 2, 3) if number > parts_before]


def test_a_worker_killed_after_the_last_part_was_joined_is_no_loss(in_small_pieces: None) -> None:
    data = os.urandom(6 * MIB)
    file = to_adopt(data, source_of(data))
    adoption.fetch(file, renew=lambda: None)
    DataFile.objects.filter(pk=file.pk).update(copy_from=source_of(data), upload_id="joined-before")

    assert (verify(file.pk), fetched(file) == data) == ("ready", True)


def test_an_upload_that_the_store_forgot_is_opened_anew(in_small_pieces: None) -> None:
    data = os.urandom(6 * MIB)
    file = to_adopt(data, source_of(data), upload_id="forgotten")

    with pytest.raises(storage.StorageUnavailable):
        verify(file.pk)
    file.refresh_from_db()
    seen = (file.state, file.upload_id, file.checked_until)

    assert (seen, verify(file.pk), fetched(file) == data) == (("verifying", "", None), "ready", True)


def test_other_bytes_than_the_artifact_had_are_no_file() -> None:
    file = to_adopt(b"words", source_of(b"WORDS"))
    verdict = verify(file.pk)
    file.refresh_from_db()
    assert (verdict, file.failure, list(Leftover.objects.values_list("storage_key", flat=True))) == (
        "failed", "checksum", [file.storage_key],
    )  # fmt: skip


def test_a_source_that_is_gone_is_said(in_small_pieces: None) -> None:
    files = [to_adopt(bytes(size), f"t/test/{uuid4()}", name="a.bin") for size in (5, 6 * MIB)]
    verdicts = [verify(file.pk) for file in files]
    files[0].refresh_from_db()
    assert verdicts == ["failed", "failed"]
    assert files[0].failure_text == "「a.bin」のコピー元は、もう保管先にありません。"


def test_a_file_deleted_while_it_is_copied_leaves_no_bytes() -> None:
    file = to_adopt(b"words", source_of(b"words"))
    DataFile.objects.filter(pk=file.pk).delete()

    adoption.fetch(file, renew=lambda: None)

    assert list(Leftover.objects.values_list("storage_key", flat=True)) == [file.storage_key]


def test_a_file_that_another_worker_has_is_left_to_it() -> None:
    file = to_adopt(b"words", source_of(b"words"), checked_until=timezone.now() + timedelta(minutes=1))
    assert (verify(file.pk), storage.size_of(file.storage_key)) == (None, None)
