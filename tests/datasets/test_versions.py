from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client

from portal.accounts.access import NotPermitted
from portal.accounts.models import Project, User
from portal.datasets import storage, tasks, versions
from portal.datasets.drafts import NothingNew, VersionRefused
from portal.datasets.models import DataFile, Dataset, DatasetVersion
from tests.factories import DataFileFactory, DatasetFactory

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("storage_ready")]


@pytest.fixture
def dataset(project: Project) -> Dataset:
    return DatasetFactory(project=project)


def arriving(dataset: Dataset, name: str = "late.txt") -> DataFile:
    key = f"t/test/{uuid4()}"
    storage.put_bytes(key, b"words")
    return DataFileFactory(
        dataset=dataset, name=name, storage_key=key, state="verifying", sha256="", ready_at=None, size_bytes=5
    )


def test_a_version_is_made_now_or_when_all_is_verified(dataset: Dataset, member: User) -> None:
    DataFileFactory(dataset=dataset)
    late = arriving(dataset)
    with pytest.raises(VersionRefused):
        versions.make(dataset, by=member)
    wished = versions.make_when_verified(dataset, by=member, note="一晩分")
    before = DatasetVersion.objects.count()
    tasks.verify_file(late.pk)
    made = DatasetVersion.objects.get()

    assert (wished, before, made.number, made.state, made.file_count, made.note) == (None, 0, 1, "ready", 2, "一晩分")
    dataset.refresh_from_db()
    with pytest.raises(NothingNew):
        versions.make_when_verified(dataset, by=member)
    DataFileFactory(dataset=dataset)
    second = versions.make_when_verified(dataset, by=member)
    assert second is not None and (second.number, second.state) == (2, "making")


def test_a_large_draft_is_left_to_a_worker(dataset: Dataset, member: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "AT_ONCE", 1)
    for _ in range(2):
        DataFileFactory(dataset=dataset)
    assert versions.make(dataset, by=member) is None
    tasks.make_wanted_version(dataset.pk)
    assert list(DatasetVersion.objects.values_list("number", "state", "file_count")) == [(1, "ready", 2)]


def test_the_sweep_finds_what_no_message_told(dataset: Dataset, member: User, settings: Any) -> None:
    DataFileFactory(dataset=dataset)
    versions.make(dataset, by=member)
    endpoint, settings.S3_ENDPOINT = settings.S3_ENDPOINT, "http://127.0.0.1:9"
    tasks.write_manifest(DatasetVersion.objects.get().pk)
    still = DatasetVersion.objects.get().state
    settings.S3_ENDPOINT = endpoint
    tasks.write_manifest(DatasetVersion.objects.get().pk)
    assert (still, DatasetVersion.objects.get().state) == ("making", "ready")


@pytest.mark.parametrize("role", ["viewer", "billing", "stranger"])
def test_those_who_may_not_upload_make_none(request: pytest.FixtureRequest, dataset: Dataset, role: str) -> None:
    DataFileFactory(dataset=dataset)
    for make in (versions.make, versions.make_when_verified):
        with pytest.raises(NotPermitted):
            make(dataset, by=request.getfixturevalue(role))
    assert DatasetVersion.objects.count() == 0


def test_what_the_browser_is_told(client_of: Callable[..., Client], dataset: Dataset, member: User) -> None:
    client, url = client_of(member, "en"), f"/datasets/{dataset.code}/versions/"

    def ask(**said: str) -> tuple[int, dict[str, Any]]:
        answer = client.post(url, said, headers={"accept": "application/json"})
        return answer.status_code, answer.json()

    page = f"/datasets/{dataset.code}/"
    answers = [ask(), ask(note="x" * 201)]
    DataFileFactory(dataset=dataset)
    late = arriving(dataset)
    answers += [ask(), ask(wait="1")]
    tasks.verify_file(late.pk)
    answers += [ask(wait="1")]
    DataFileFactory(dataset=dataset)
    answers += [ask(wait="1", note="  more   words ")]
    assert answers == [
        (422, {"error": "There are no verified files to make a version of."}),
        (422, {"error": "A note can have up to 200 characters. Shorten it."}),
        (422, {"error": "“late.txt” has not been uploaded and verified yet. Wait for it, or cancel its upload."}),
        (200, {"state": "waiting", "number": 1, "url": page}),
        (200, {"state": "unchanged", "number": 1, "url": page}),
        (200, {"state": "made", "number": 2, "url": page}),
    ]
    assert list(DatasetVersion.objects.order_by("number").values_list("note", flat=True)) == ["", "more words"]
    without_script = client.post(url, {})
    assert (without_script.status_code, without_script["Location"]) == (302, page)
