from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings as django_settings
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from portal.accounts.models import Project, User
from portal.audit.models import AuditEvent
from portal.datasets import certificates, cleaning, copies, copying, drafts, manifests, residency, sites, storage, tasks
from portal.datasets.models import (
    Copy,
    DataFile,
    Dataset,
    DeletionCertificate,
    DeletionEntry,
    Leftover,
    PlaceEvent,
    StorageSite,
)
from portal.datasets.places import storage_place
from portal.datasets.removal import delete_dataset
from portal.datasets.sites import store_of
from tests.factories import DataFileFactory, DatasetFactory, DeletionCertificateFactory

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("storage_ready")]


@pytest.fixture
def dataset(project: Project) -> Dataset:
    return DatasetFactory(project=project, name="売上", folder="売上")


def stored(dataset: Dataset, name: str, data: bytes = b"words") -> DataFile:
    key = f"t/test/{uuid4()}"
    storage.put_bytes(key, data)
    return DataFileFactory(dataset=dataset, name=name, storage_key=key, part_size_bytes=8)


def sending(dataset: Dataset, name: str) -> DataFile:
    key = f"t/test/{uuid4()}"
    return DataFileFactory(
        dataset=dataset, name=name, storage_key=key, part_size_bytes=8, state="uploading", sha256="", ready_at=None,
        upload_id=storage.create_upload(key),
    )  # fmt: skip


def test_it_names_every_object_and_part_and_is_complete_when_the_store_has_confirmed_all(
    dataset: Dataset, member: User
) -> None:
    whole, parts = stored(dataset, "a.csv"), sending(dataset, "b.csv")
    certificate = delete_dataset(dataset, by=member, reason="end of the study")

    tasks.certify_deletions()
    tasks.certify_deletions()

    certificate.refresh_from_db()
    place = {"site": storage_place(), "endpoint": django_settings.S3_ENDPOINT}
    names = ("file_code", "path", "size_bytes", "sha256", "site", "endpoint", "storage_key", "upload_id")
    entries = list(certificate.entries.order_by("pk"))
    assert [{name: getattr(entry, name) for name in names} for entry in entries] == [
        {"file_code": file.code, "path": f"売上/{file.name}", "size_bytes": 5, "sha256": file.sha256, **place,
         "storage_key": file.storage_key, "upload_id": file.upload_id}
        for file in (whole, parts)
    ]  # fmt: skip
    assert [certificate.at <= e.removed_at <= e.confirmed_at <= certificate.completed_at for e in entries] == [True] * 2
    assert (storage.size_of(whole.storage_key), Leftover.objects.count()) == (None, 0)
    assert [upload for upload in storage.open_uploads() if upload.key == parts.storage_key] == []
    lines = list(certificates.lines_of(certificate))
    digest = hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()
    detail = {"certificate": certificate.code, "entries": 2, "size_bytes": 10, "entries_sha256": digest}
    told = AuditEvent.objects.filter(act="dataset.removed").values_list("actor", "subject", "detail")
    assert (certificate.entries_sha256, list(told)) == (
        digest, [("portal:removal", f"dataset:{dataset.code}", detail)],
    )  # fmt: skip
    assert json.loads(lines[0])["confirmed_at"] == entries[0].confirmed_at.isoformat().replace("+00:00", "Z")


def test_it_waits_for_a_store_that_is_away_and_for_one_that_still_has_the_object(
    dataset: Dataset, member: User, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = stored(dataset, "a.csv")
    certificate = delete_dataset(dataset, by=member, reason="x")
    endpoint = settings.S3_ENDPOINT
    settings.S3_ENDPOINT = "http://127.0.0.1:9"
    tasks.certify_deletions()
    settings.S3_ENDPOINT = endpoint
    away = (certificates.complete(certificate.pk, timezone.now()), Leftover.objects.count())
    with monkeypatch.context() as store:
        store.setattr(storage, "delete", lambda key: None)  # says yes and does nothing
        tasks.certify_deletions()
    lying = (certificates.complete(certificate.pk, timezone.now()), Leftover.objects.count())
    unconfirmed = list(certificate.entries.values_list("removed_at", "confirmed_at"))
    tasks.certify_deletions()
    certificate.refresh_from_db()
    assert (away, lying, unconfirmed) == ((False, 1), (False, 1), [(None, None)])
    assert (certificate.completed_at is not None, storage.size_of(file.storage_key)) == (True, None)


def test_it_names_every_copy_and_waits_for_its_site(dataset: Dataset, member: User, second_site: StorageSite) -> None:
    copied, wanted = stored(dataset, "a.csv"), stored(dataset, "b.csv")
    dataset.keepings.create(site=second_site, added_by=member, planned=True)
    while copies.place_unplaced():
        pass
    Copy.objects.filter(site=second_site, file=wanted).update(not_before=timezone.now() + timedelta(hours=1))
    copying.work(second_site, for_s=30)
    certificate = delete_dataset(dataset, by=member, reason="end of the study")

    tasks.certify_deletions()
    certificate.refresh_from_db()
    before = (certificate.completed_at, certificate.entries.filter(confirmed_at=None).count())
    copying.work(second_site, for_s=30)
    tasks.certify_deletions()

    certificate.refresh_from_db()
    named = certificate.entries.filter(confirmed_at__isnull=False).order_by("pk").values_list("file_code", "site")
    there = [storage.size_of(copied.storage_key, at=at) for at in (None, store_of(second_site))]
    assert (before, certificate.completed_at is not None, there) == ((None, 2), True, [None, None])
    assert list(named) == [
        (file.code, place) for file in (copied, wanted) for place in (storage_place(), "第二ストレージ")
    ]
    left = PlaceEvent.objects.get(file_code=copied.code, site="second", act="left")
    assert certificate.entries.get(file_code=copied.code, copy_site="second").confirmed_at == left.at


def test_many_files_are_listed_batch_by_batch_each_once(
    dataset: Dataset, member: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificates, "BATCH", 2)
    files = [stored(dataset, f"{n}.csv") for n in range(5)]
    certificate = delete_dataset(dataset, by=member, reason="x")
    more = [certificates.list_files(certificate.pk) for _ in range(4)]
    assert more == [True, True, False, False]
    assert list(certificate.entries.order_by("pk").values_list("file_code", flat=True)) == [f.code for f in files]
    assert Leftover.objects.count() == 5


def test_a_plain_form_that_may_still_be_sent_is_waited_for(dataset: Dataset, member: User) -> None:
    file = DataFileFactory(dataset=dataset, state="uploading", sha256="", ready_at=None, part_size_bytes=0)
    certificate = delete_dataset(dataset, by=member, reason="x")
    certificates.carry_on(timezone.now())
    storage.put_bytes(file.storage_key, b"late")
    for minutes in (14, 15):
        cleaning.remove_leftovers(certificate.at + timedelta(minutes=minutes))
        assert (storage.size_of(file.storage_key), certificates.complete(certificate.pk, timezone.now())) == (
            (4, False) if minutes == 14 else (None, True)
        )


def test_an_empty_dataset_has_an_empty_certificate(dataset: Dataset, member: User) -> None:
    certificate = delete_dataset(dataset, by=member, reason="x")
    tasks.certify_deletions()
    certificate.refresh_from_db()
    assert certificate.completed_at and certificate.entries_sha256 == hashlib.sha256(b"").hexdigest()


def test_the_sweep_finds_what_no_message_told(dataset: Dataset, member: User) -> None:
    stored(dataset, "a.csv")
    certificate = delete_dataset(dataset, by=member, reason="x")
    tasks.sweep()  # tells a worker; there is none, so it is done by hand
    tasks.certify_deletions()
    certificate.refresh_from_db()
    assert certificate.completed_at is not None


@pytest.mark.parametrize("changes", [{"completed_at": timezone.now()}, {"entries_sha256": "0" * 64}])
def test_the_database_keeps_an_unlisted_certificate_open(
    dataset: Dataset, member: User, changes: dict[str, Any]
) -> None:
    certificate = delete_dataset(dataset, by=member, reason="x")
    closed = {"completed_at": timezone.now(), **changes}
    with pytest.raises(IntegrityError), transaction.atomic():
        DeletionCertificate.objects.filter(pk=certificate.pk).update(**closed)
    entry = DeletionEntry(certificate=certificate, path="x", size_bytes=1, confirmed_at=timezone.now())
    with pytest.raises(IntegrityError), transaction.atomic():
        entry.save()


def test_pages_and_file_say_what_is_stored(dataset: Dataset, member: User, client_of: Any) -> None:
    file, client = stored(dataset, "a.csv"), client_of(member, "en")
    page = client.get(f"/datasets/{dataset.code}/delete/").content.decode()
    assert "1 file (5 B) is removed from the storage for everybody, for good." in page
    refused = client.post(f"/datasets/{dataset.code}/delete/", {"reason": " "})
    assert (refused.status_code, Dataset.objects.kept().count()) == (422, 1)
    url = client.post(f"/datasets/{dataset.code}/delete/", {"reason": "end of\tthe study"})["Location"]
    assert "Not complete yet" in client.get(url).content.decode()
    tasks.certify_deletions()
    page, listed = client.get(url).content.decode(), client.get("/datasets/certificates/").content.decode()
    certificate = DeletionCertificate.objects.get()
    assert "Complete since" in page and file.storage_key in page and "end of the study" in page
    assert "every 3s" not in page and certificate.code in listed and "Complete" in listed
    told = json.loads(b"".join(client.get(f"{url}json/").streaming_content))
    assert (told["dataset"], told["reason"], told["complete"], told["entries_sha256"], told["entries"]) == (
        {"code": dataset.code, "name": "売上"}, "end of the study", True, certificate.entries_sha256,
        [json.loads(line) for line in certificates.lines_of(certificate)],
    )  # fmt: skip
    shown = client.get(f"/datasets/{dataset.code}/").content.decode()
    assert "This dataset was deleted on" in shown and file.sha256 in shown and "data-upload" not in shown
    assert dataset.code not in client.get("/datasets/").content.decode()
    assert client.get(f"/datasets/{dataset.code}/delete/")["Location"] == f"/datasets/{dataset.code}/"


def test_nobody_elses_certificate_is_seen(
    dataset: Dataset, member: User, viewer: User, stranger: User, client_of: Any
) -> None:
    delete_dataset(dataset, by=member, reason="x")
    url = f"/datasets/certificates/{DeletionCertificate.objects.get().code}/"
    clients: list[Client] = [client_of(user) for user in (member, viewer, stranger)]
    assert [client.get(url).status_code for client in clients] == [200, 404, 404]
    assert [client.get("/datasets/certificates/").status_code for client in clients] == [200, 403, 200]
    assert list(clients[2].get("/datasets/certificates/").context["rows"]) == []


def test_lists_of_certificates_and_entries_need_the_same_few_statements(
    project: Project, member: User, client_of: Any
) -> None:
    client, counts = client_of(member), []
    big = DeletionCertificateFactory(dataset__project=project)
    urls = ("/datasets/certificates/", f"/datasets/certificates/{big.code}/")
    for rows in (1, 25, 40):
        for _missing in range(rows - DeletionCertificate.objects.count()):
            DeletionCertificateFactory(dataset__project=project)
        DeletionEntry.objects.bulk_create(
            DeletionEntry(certificate=big, path=f"{n}", size_bytes=1) for n in range(rows - big.entries.count())
        )
        for url in urls:
            client.get(url)
            with CaptureQueriesContext(connection) as asked:
                assert client.get(url).status_code == 200
            counts.append(len(asked))
    assert counts == [counts[0], counts[1]] * 3 and max(counts) <= 10, counts


def test_the_place_log_knows_every_entry_and_that_it_left(
    dataset: Dataset, member: User, client_of: Callable[..., Client]
) -> None:
    stored(dataset, "a.csv")
    manifests.write(drafts.make_version(dataset, by=member).pk)
    while copies.place_unplaced():
        pass
    client = client_of(member, "en")
    page = f"/datasets/{dataset.code}/residency/"
    before = client.get(page).content.decode()
    certificate = delete_dataset(dataset, by=member, reason="x")
    tasks.certify_deletions()
    copying.work(sites.primary_site(), for_s=30)
    tasks.certify_deletions()

    certificate.refresh_from_db()
    stays = list(residency.report(dataset.code))
    assert sorted((stay.key, stay.left_at is not None) for stay in stays) == sorted(
        (entry.storage_key, entry.confirmed_at is not None) for entry in certificate.entries.all()
    )
    assert (len(stays), certificate.completed_at is not None) == (2, True)
    assert [("Manifest of version 1" in said) for said in (before, client.get(page).content.decode())] == [True, True]


def test_a_fresh_certificate_says_that_it_is_being_listed_and_nothing_else(
    dataset: Dataset, member: User, client_of: Callable[..., Client]
) -> None:
    stored(dataset, "a.csv")
    certificate = delete_dataset(dataset, by=member, reason="x")
    page = client_of(member, "en").get(f"/datasets/certificates/{certificate.code}/").content.decode()

    assert "the entries are being listed, then removed and confirmed." in page
    assert [words for words in ("0 of 0", "held no files", "(0 B)") if words in page] == []


def test_sites_are_named_in_the_language_of_the_reader(
    dataset: Dataset, member: User, second_site: StorageSite, client_of: Callable[..., Client]
) -> None:
    stored(dataset, "a.csv")
    dataset.keepings.create(site=second_site, added_by=member, planned=True)
    while copies.place_unplaced():
        pass
    certificate = delete_dataset(dataset, by=member, reason="x")
    tasks.certify_deletions()
    page = client_of(member, "en").get(f"/datasets/certificates/{certificate.code}/").content.decode()

    names = ("Second store", "第二ストレージ", "this computer (demo)", "このコンピューター")
    assert [name in page for name in names] == [True, False, True, False]
