from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.core import mail
from django.utils import translation

from portal.audit.models import AuditEvent
from portal.core.templatetags.formats import instant
from portal.datasets import storage
from portal.datasets.cleaning import (
    SILENCE,
    TOLD_AFTER,
    abort_unknown_uploads,
    give_up_silent_uploads,
    remove_leftovers,
    tell_of_silent_uploads,
)
from portal.datasets.models import DataFile, Leftover
from tests.factories import DataFileFactory, UserFactory

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("storage_ready")]
NOW = datetime(2026, 11, 24, 4, 7, tzinfo=UTC)


def uploading(**changes: Any) -> DataFile:
    empty = {"state": "uploading", "sha256": "", "ready_at": None, "upload_id": "u-1", "active_at": NOW}
    return DataFileFactory(**{**empty, **changes})


def test_an_upload_is_given_up_after_24_silent_hours_and_not_at_them() -> None:
    silent = uploading(active_at=NOW - SILENCE - timedelta(microseconds=1))
    others = [uploading(active_at=NOW - SILENCE), uploading(active_at=NOW - 2 * SILENCE, state="verifying")]
    given_up = [give_up_silent_uploads(NOW) for _ in range(2)]
    silent.refresh_from_db()
    assert (given_up, silent.state, silent.failure, silent.upload_id) == ([1, 0], "abandoned", "silent", "")
    assert list(Leftover.objects.values_list("storage_key", "upload_id")) == [(silent.storage_key, "u-1")]
    assert list(AuditEvent.objects.values_list("act", "subject")) == [("upload.abandoned", f"file:{silent.code}")]
    assert [DataFile.objects.get(pk=file.pk).state for file in others] == ["uploading", "verifying"]


def told() -> list[tuple[list[str], str]]:
    return [(sent.to, sent.subject) for sent in mail.outbox]


def test_people_are_told_once_of_each_silence_after_twelve_hours(db: None, settings: Any) -> None:
    anna, ken = UserFactory(email="anna@example.jp", language="en"), UserFactory(email="ken@example.jp")
    early = NOW - timedelta(hours=13)
    first = uploading(created_by=anna, active_at=early, name="a.csv", dataset__name="study")
    uploading(created_by=anna, active_at=NOW - TOLD_AFTER, name="b.csv")
    uploading(created_by=anna, active_at=NOW - TOLD_AFTER + timedelta(microseconds=1))
    uploading(created_by=anna, active_at=early, state="verifying")
    uploading(created_by=ken, active_at=NOW - SILENCE)  # too late to tell: it is given up
    uploading(created_by=ken, active_at=early, name="c.csv")
    uploading(created_by=UserFactory(is_active=False), active_at=early)

    assert [tell_of_silent_uploads(NOW) for _ in range(2)] == [2, 0]

    assert sorted(told()) == [
        (["anna@example.jp"], "2 unfinished uploads will be removed"),
        (["ken@example.jp"], "未完了のアップロード1件が削除されます"),
    ]
    translation.activate("en")
    body = next(sent.body for sent in mail.outbox if sent.to == ["anna@example.jp"])
    assert "- a.csv (5 B, study)\n- b.csv (5 B, " in body and "http://localhost:8000/datasets/" in body
    assert f"the first at {instant(early + SILENCE)}:" in body
    # Somebody went on, and it fell silent again.
    DataFile.objects.exclude(pk=first.pk).delete()
    DataFile.objects.filter(pk=first.pk).update(active_at=NOW + timedelta(hours=1))
    assert [tell_of_silent_uploads(NOW + timedelta(hours=hours)) for hours in (12, 13, 14)] == [0, 1, 0]


def test_a_mail_that_was_not_taken_is_sent_again(db: None, settings: Any) -> None:
    uploading(active_at=NOW - TOLD_AFTER)
    backend = settings.EMAIL_BACKEND
    settings.EMAIL_BACKEND, settings.EMAIL_HOST, settings.EMAIL_PORT = (
        "django.core.mail.backends.smtp.EmailBackend", "127.0.0.1", 9,
    )  # fmt: skip
    refused = tell_of_silent_uploads(NOW)
    settings.EMAIL_BACKEND = backend
    assert (refused, [tell_of_silent_uploads(NOW) for _ in range(2)]) == (0, [1, 0])


def test_bytes_go_when_their_time_has_come() -> None:
    keys = [f"t/test/{uuid4()}" for _ in range(3)]
    for key, due in zip(keys, (NOW, NOW + timedelta(seconds=1), NOW - timedelta(days=1)), strict=True):
        storage.put_bytes(key, b"x")
        Leftover.objects.create(storage_key=key, due_at=due)
    storage.delete(keys[2])  # gone already: fine
    assert (remove_leftovers(NOW), [storage.size_of(key) for key in keys]) == (2, [None, 1, None])
    assert list(Leftover.objects.values_list("storage_key", flat=True)) == [keys[1]]


def test_the_parts_of_an_upload_go_with_it() -> None:
    key = f"t/test/{uuid4()}"
    Leftover.objects.create(storage_key=key, upload_id=storage.create_upload(key), due_at=NOW)
    remove_leftovers(NOW)
    assert [upload for upload in storage.open_uploads() if upload.key == key] == []


def test_an_outage_keeps_the_list(settings: Any) -> None:
    Leftover.objects.create(storage_key="t/test/x", due_at=NOW)
    settings.S3_ENDPOINT = "http://127.0.0.1:9"
    with pytest.raises(storage.StorageUnavailable):
        remove_leftovers(NOW)
    assert Leftover.objects.count() == 1


def test_an_upload_that_somebody_wrote_down_is_left_to_its_row() -> None:
    key = f"t/test/{uuid4()}"
    uploading(storage_key=key, upload_id=storage.create_upload(key))
    abort_unknown_uploads(datetime.now(UTC) + SILENCE + timedelta(hours=1))
    assert [upload.key for upload in storage.open_uploads() if upload.key == key] == [key]
