from __future__ import annotations

import hashlib

import pytest

from portal.accounts.models import User
from portal.datasets import drafts, manifests, residency, storage
from portal.datasets.models import DatasetVersion
from tests.factories import DataFileFactory, DatasetFactory

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("storage_ready")]


def test_the_manifest_is_the_documented_bytes_and_its_hash_is_theirs(member: User) -> None:
    dataset = DatasetFactory()
    a, b = hashlib.sha256(b"a").hexdigest(), hashlib.sha256(b"b").hexdigest()
    for name, digest in (("日本.csv", a), ("train/b.txt", b), ("train-1", a), ('quote".txt', b), ("B", a)):
        DataFileFactory(dataset=dataset, name=name, sha256=digest)
    version = drafts.make_version(dataset, by=member)
    due = manifests.to_write()
    written = [manifests.write(version.pk) for _ in range(2)]
    version.refresh_from_db()
    stored = storage.read(version.manifest_key)

    assert stored.decode() == (
        f'{{"path":"B","size":5,"sha256":"{a}"}}\n'
        f'{{"path":"quote\\".txt","size":5,"sha256":"{b}"}}\n'
        f'{{"path":"train-1","size":5,"sha256":"{a}"}}\n'
        f'{{"path":"train/b.txt","size":5,"sha256":"{b}"}}\n'
        f'{{"path":"日本.csv","size":5,"sha256":"{a}"}}\n'
    )
    assert (due, written, manifests.to_write()) == ([version.pk], [True, False], [])
    assert (version.state, version.manifest_sha256, version.file_count, version.size_bytes) == (
        "ready", hashlib.sha256(stored).hexdigest(), 5, 25,
    )  # fmt: skip
    assert version.manifest_key == f"t/{dataset.organization.code}/versions/{dataset.code}/1"
    (stay,) = residency.report(dataset.code)
    assert (stay.file, stay.name, stay.site, stay.key, stay.size_bytes, stay.sha256) == (
        "v-1", "manifest-v1.jsonl", "primary", version.manifest_key, len(stored), version.manifest_sha256,
    )  # fmt: skip
    assert (stay.arrived_at, stay.left_at) == (stay.verified_at, None)


def test_a_manifest_that_comes_back_with_other_bytes_is_not_ready(
    member: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = DatasetFactory()
    DataFileFactory(dataset=dataset)
    version = drafts.make_version(dataset, by=member)
    monkeypatch.setattr(storage, "pieces", lambda key: [b"other"])

    with pytest.raises(storage.StorageUnavailable):
        manifests.write(version.pk)
    version.refresh_from_db()
    assert (version.state, list(residency.report(dataset.code))) == ("making", [])


def test_many_files_are_read_some_at_a_time(member: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifests, "PAGE", 2)
    monkeypatch.setattr(manifests, "PIECE_BYTES", 100)
    dataset = DatasetFactory()
    names = sorted(["x" * 240 + tail for tail in ("", "aaaaaaab", "aaaaaaaa", "aaaaaa", "z")] + ["w", "y"])
    for name in names:
        DataFileFactory(dataset=dataset, name=name)
    version = drafts.make_version(dataset, by=member)
    manifests.write(version.pk)

    lines = storage.read(DatasetVersion.objects.get().manifest_key).decode().splitlines()
    assert lines == [manifests.line_of(n, 5, hashlib.sha256(b"words").hexdigest()).decode()[:-1] for n in names]
