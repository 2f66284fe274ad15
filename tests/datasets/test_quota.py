from __future__ import annotations

import hashlib
import importlib
import io
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from django.apps import apps
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.utils import timezone, translation

from portal.accounts.models import Project, User
from portal.audit.models import AuditEvent
from portal.datasets import checks, cleaning, migrations, quota, storage, uploading
from portal.datasets.models import DataFile, Dataset, Leftover, StorageAllowance, StoredBytes
from portal.datasets.quota import PLAIN_MAX_BYTES, OverQuota
from portal.datasets.removal import delete_file
from portal.datasets.uploading import FileToSend, StoredObject
from portal.datasets.verification import verify
from tests.datasets.sending import begin, complete, send
from tests.factories import DataFileFactory, DatasetFactory

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("storage_ready")]
NOT_READY = {"sha256": "", "ready_at": None}


@pytest.fixture
def client(client_of: Callable[..., Client], member: User) -> Client:
    return client_of(member, "en")


def used(project: Project) -> int:
    """By the sum, which must be what the files say."""
    assert verify() == []
    return quota.allowance_of(project).used_bytes


def limit(project: Project, limit_bytes: int) -> None:
    quota.set_limit(project, limit_bytes, by="operator")


def test_an_upload_holds_its_size_from_the_beginning_until_it_is_deleted(
    client: Client, project: Project, member: User
) -> None:
    made = begin(client, project=project.code).json()
    begun = used(project)
    begin(client, project=project.code)  # the same file again
    send(client, made, b"words")
    complete(client, made, b"words")
    verifying, file = used(project), DataFile.objects.get()
    checks.verify(file.pk)
    ready = used(project)
    for _time in range(2):
        delete_file(file, by=member)
    assert (begun, verifying, ready, used(project)) == (5, 5, 5, 0)


def test_cancelled_failed_and_silent_uploads_give_back_what_they_held(client: Client, project: Project) -> None:
    cancelled = begin(client, project=project.code, name="a").json()
    silent = DataFile.objects.get(code=begin(client, project=project.code, name="b").json()["file"])
    failing = begin(client, project=project.code, name="c", sha256="0" * 64).json()
    send(client, failing, b"words")
    complete(client, failing, b"words")
    sums = [used(project)]
    for _time in range(2):
        client.post(cancelled["urls"]["cancel"])
    sums.append(used(project))
    for _time in range(2):
        cleaning.give_up_silent_uploads(silent.active_at + 2 * cleaning.SILENCE)
    sums.append(used(project))
    assert [checks.verify(DataFile.objects.get(code=failing["file"]).pk) for _ in range(2)] == ["failed", None]
    assert [*sums, used(project)] == [15, 10, 5, 0]


def test_a_plain_form_holds_the_most_it_may_be_until_it_has_arrived(client: Client, project: Project) -> None:
    client.post("/datasets/form/", {"project": project.code, "dataset_name": "plain", "name": "w.txt"})
    file = DataFile.objects.get()
    begun = used(project)
    storage.put_bytes(file.storage_key, b"words")
    for _time in range(2):
        client.get(f"/datasets/files/{file.code}/posted/")
    assert (begun, used(project)) == (PLAIN_MAX_BYTES, 5)
    client.post("/datasets/form/", {"project": project.code, "dataset_name": "plain", "name": "v.txt"})
    client.post(f"/datasets/files/{DataFile.objects.latest('pk').code}/cancel/")
    assert used(project) == 5


def test_what_does_not_fit_is_refused_with_the_next_step_and_nothing_is_stored(
    client: Client, client_of: Callable[..., Client], project: Project, member: User
) -> None:
    DataFileFactory(dataset=DatasetFactory(project=project), size_bytes=1_500)
    limit(project, 2_000)
    fits = begin(client, b"x" * 500, project=project.code)
    refused = begin(client, b"x", project=project.code, name="one.txt", dataset_name="new")
    plain = client.post("/datasets/form/", {"project": project.code, "dataset_name": "new", "name": "w.txt"})
    sentence = (
        "The project “llm-jp-tuning” can store up to 2.0 KB. 2.0 KB of it are used or reserved, and this file needs"
        " {}. Delete what is no longer needed, or ask the portal's office for more."
    )
    assert (fits.status_code, refused.status_code, refused.json()) == (201, 422, {"error": sentence.format("1 B")})
    assert (plain.status_code, plain.context["form"].non_field_errors()) == (422, [sentence.format("100.0 MB")])
    assert (Dataset.objects.filter(name="new").count(), DataFile.objects.count(), used(project)) == (0, 2, 2_000)
    japanese = begin(client_of(member), b"x", project=project.code, name="one.txt").json()["error"]
    assert "2.0 KB" in japanese and "llm-jp-tuning" in japanese and "store" not in japanese


def test_a_plain_file_larger_than_was_held_is_refused_where_it_does_not_fit(project: Project, member: User) -> None:
    file = uploading.begin_plain(project, name="w.txt", by=member)
    limit(project, PLAIN_MAX_BYTES)
    with pytest.raises(OverQuota), transaction.atomic():
        quota.arrived(file, size_bytes=PLAIN_MAX_BYTES + 1)
    assert used(project) == PLAIN_MAX_BYTES


def test_the_first_to_ask_counts_what_is_there(project: Project, settings: Any) -> None:
    dataset = DatasetFactory(project=project)
    for state, part_size in (("ready", 8), ("verifying", 8), ("uploading", 8), ("failed", 8), ("abandoned", 8)):
        DataFileFactory(dataset=dataset, size_bytes=7, state=state, part_size_bytes=part_size)
    DataFileFactory(dataset=dataset, size_bytes=0, state="uploading", part_size_bytes=0)
    other = DataFileFactory(size_bytes=1_000)  # of another project
    settings.STORAGE_LIMIT_BYTES = 5
    file = DataFile.objects.filter(dataset=dataset, state="ready").get()
    file.delete()
    quota.give_back(DataFile(dataset=dataset, state="ready", size_bytes=7))
    rows = StorageAllowance.objects.values_list("project", "limit_bytes", "used_bytes")
    assert list(rows) == [(project.pk, PLAIN_MAX_BYTES + 21, PLAIN_MAX_BYTES + 14)]
    quota.recount(other.dataset.project_id)
    assert rows.get(project=other.dataset.project) == (other.dataset.project_id, 1_000, 1_000)
    assert verify() == []


@pytest.mark.parametrize("state", ["uploading", "verifying", "ready", "failed", "abandoned"])
@pytest.mark.parametrize("part_size", [0, 8])
def test_one_file_counts_as_the_sum_counts_it(project: Project, state: str, part_size: int) -> None:
    file = DataFileFactory(
        dataset=DatasetFactory(project=project), size_bytes=7, state=state, part_size_bytes=part_size
    )
    assert quota.recount(project.pk).used_bytes == quota.held_of(file)


def test_the_database_itself_refuses_more_than_the_limit(project: Project) -> None:
    limit(project, 10)
    with pytest.raises(IntegrityError), transaction.atomic():
        StorageAllowance.objects.update(used_bytes=11)


@pytest.mark.django_db(transaction=True)
def test_forty_uploads_at_once_at_a_limit_for_seven_give_exactly_seven(
    project: Project, member: User, settings: Any
) -> None:
    settings.STORAGE_LIMIT_BYTES = 7 * 1_000 + 999  # nobody has made the row yet
    together = threading.Barrier(10)
    results: list[str] = []
    turn, numbers = threading.Lock(), iter(range(40))

    def upload() -> None:
        together.wait()
        try:
            while True:
                with turn:
                    number = next(numbers, None)
                if number is None:
                    return
                sent = FileToSend(name=f"{number}.bin", size_bytes=1_000)
                with translation.override("en"):
                    try:
                        uploading.begin(project, sent=sent, by=member, dataset_name=f"d{number % 3}")
                        results.append("begun")
                    except OverQuota:
                        results.append("refused")
        finally:
            connection.close()

    threads = [threading.Thread(target=upload) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == ["begun"] * 7 + ["refused"] * 33
    assert (DataFile.objects.count(), used(project)) == (7, 7_000)


@pytest.mark.django_db(transaction=True)
def test_uploads_that_begin_while_others_are_cancelled_lose_no_byte(project: Project, member: User) -> None:
    together = threading.Barrier(8)

    def begin_and_cancel(number: int) -> None:
        together.wait()
        try:
            for round_ in range(12):
                file = uploading.begin_plain(project, name=f"{number}-{round_}", by=member, dataset_name=f"d{number}")
                if round_:  # the first of each stays
                    uploading.cancel(file, by=member)
        finally:
            connection.close()

    threads = [threading.Thread(target=begin_and_cancel, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (DataFile.objects.count(), used(project)) == (8, 8 * PLAIN_MAX_BYTES)


def test_staff_set_the_limit_by_a_command(project: Project) -> None:
    def said(*words: str) -> str:
        out = io.StringIO()
        call_command("set_storage_limit", *words, stdout=out)
        return out.getvalue()

    quota.reserve(DataFileFactory(dataset=DatasetFactory(project=project), size_bytes=2_000_000_000))
    assert said(project.code, "2.5") == f"{project.code}: 2,000,000,000 of 2,500,000,000 bytes are used.\n"
    assert said(project.code) == f"{project.code}: 2,000,000,000 of 2,500,000,000 bytes are used.\n"
    assert list(AuditEvent.objects.values_list("act", "actor", "subject", "chain", "detail")) == [
        ("storage.limit_changed", "operator", f"project:{project.code}", project.organization.code,
         {"from_bytes": 10**12, "to_bytes": 2_500_000_000})
    ]  # fmt: skip
    for words in ((project.code, "1.9"), (project.code, "-1"), (project.code, "much"), (project.code, "nan"), ("p-0",)):
        with pytest.raises(CommandError):
            said(*words)
    assert quota.allowance_of(project).limit_bytes == 2_500_000_000


def test_what_was_there_before_there_were_limits_is_counted_once(project: Project, settings: Any) -> None:
    for state, part_size in (("ready", 8), ("verifying", 8), ("uploading", 8), ("uploading", 0), ("failed", 8)):
        DataFileFactory(dataset__project=project, size_bytes=7, state=state, part_size_bytes=part_size)
    settings.STORAGE_LIMIT_BYTES = 5
    for name in ("count_storage", "count_stored_bytes", "count_storage", "count_stored_bytes"):
        file = next(Path(migrations.__path__[0]).glob(f"*_{name}.py"))
        module = importlib.import_module(f"{migrations.__name__}.{file.stem}")
        module.count(apps, SimpleNamespace(connection=connection))
    rows = StorageAllowance.objects.values_list("project", "limit_bytes", "used_bytes")
    assert list(rows) == [(project.pk, PLAIN_MAX_BYTES + 21, PLAIN_MAX_BYTES + 21)]
    assert verify() == []


def test_leftovers_hold_nothing(project: Project) -> None:
    Leftover.objects.create(storage_key="t/x", due_at=timezone.now())
    assert used(project) == 0


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("act", ["begin", "begin_plain", "keep"])
def test_what_begins_while_a_days_first_bytes_arrive_waits_in_no_ring(project: Project, member: User, act: str) -> None:
    """The day's row of metered bytes refers to the project, and the allowance is locked when that is checked."""
    first = uploading.begin(project, sent=FileToSend(name="a.bin", size_bytes=5), by=member, dataset_name="d")
    acts: dict[str, Callable[[], object]] = {
        "begin": lambda: uploading.begin(project, sent=FileToSend("b.bin", 5), by=member, dataset_name="d"),
        "begin_plain": lambda: uploading.begin_plain(project, name="b.bin", by=member, dataset_name="d"),
        "keep": lambda: uploading.keep(
            project, objects=[StoredObject("b.bin", 5, "0" * 64, "t/x")], origin="job:x", by=member, dataset_name="d"
        ),
    }
    failed: list[Exception] = []

    def other() -> None:
        try:
            acts[act]()
        except Exception as why:
            failed.append(why)
        finally:
            connection.close()

    beside = threading.Thread(target=other)
    with transaction.atomic():
        DataFile.objects.filter(pk=first.pk).update(state="verifying")
        quota.arrived(first, size_bytes=5)
        beside.start()
        while not _somebody_waits_for_a_lock():
            pass
    beside.join()
    assert (failed, DataFile.objects.count()) == ([], 2)


@pytest.mark.django_db(transaction=True)
def test_sixteen_clients_begin_and_complete_at_once_in_a_project_where_nothing_was(
    project: Project, member: User
) -> None:
    together = threading.Barrier(16)
    failed: list[Exception] = []

    def client(number: int) -> None:
        data = f"words {number:02}".encode()
        digest = hashlib.sha256(data).hexdigest()
        together.wait()
        try:
            sent = FileToSend(name=f"{number}.txt", size_bytes=len(data), sha256=digest)
            file = uploading.begin(project, sent=sent, by=member, dataset_name=f"d{number % 4}")
            part = uploading.addresses(file, {1: digest})[1]
            assert httpx.put(part.url, headers=part.headers, content=data, timeout=60).status_code == 200
            uploading.complete(file, parts_sha256="")
        except Exception as why:
            failed.append(why)
        finally:
            connection.close()

    threads = [threading.Thread(target=client, args=[number]) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (failed, quota.allowance_of(project).used_bytes) == ([], 16 * 8)
    assert list(StoredBytes.objects.values_list("closing_bytes", flat=True)) == [16 * 8]


def _somebody_waits_for_a_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT 1 FROM pg_locks WHERE NOT granted)")
        return bool(cursor.fetchone()[0])
