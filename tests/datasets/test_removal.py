from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
from django.db import connection, transaction
from django.utils import translation

from portal.accounts.access import NotPermitted
from portal.accounts.models import Project, User
from portal.audit.models import AuditEvent
from portal.datasets import quota, reading, uploading
from portal.datasets.models import DataFile, Dataset, Leftover
from portal.datasets.reading import UNENDED, StillRead
from portal.datasets.removal import RemovalRefused, delete_dataset, delete_file
from portal.datasets.verification import verify
from portal.jobs.models import Job, JobInput
from tests.factories import DataFileFactory, DatasetFactory, JobFactory


@pytest.fixture
def file(project: Project) -> DataFile:
    return DataFileFactory(dataset=DatasetFactory(project=project), name="words.txt", upload_id="u-1")


pytestmark = pytest.mark.django_db


def told() -> list[tuple[str, str, dict[str, str]]]:
    return list(AuditEvent.objects.values_list("act", "actor", "detail"))


def test_a_deleted_file_leaves_its_bytes_to_be_removed_and_a_record(file: DataFile, member: User) -> None:
    key, detail = file.storage_key, {"name": "words.txt", "dataset": file.dataset.code, "sha256": file.sha256}
    delete_file(file, by=member)
    delete_file(DataFile(pk=file.pk or 1, dataset=file.dataset), by=member)  # again: nothing happens
    assert (DataFile.objects.count(), list(Leftover.objects.values_list("storage_key", "upload_id"))) == (
        0,
        [(key, "u-1")],
    )
    assert told() == [("file.deleted", f"user:{member.pk}", detail)]


def test_the_input_of_a_job_stays_with_its_bytes(file: DataFile, member: User) -> None:
    job = JobFactory(project=file.dataset.project)
    JobInput.objects.create(job=job, data_file=file, path=file.path, size_bytes=5, sha256=file.sha256)
    with pytest.raises(RemovalRefused) as refused, translation.override("en"):
        delete_file(file, by=member)
    assert refused.value.messages == [
        "“words.txt” is the input of a job and stays as the record of what that job read."
    ]
    assert (DataFile.objects.count(), Leftover.objects.count(), told()) == (1, 0, [])


def test_a_dataset_goes_with_everything_in_it_and_its_rows_stay_as_the_record(project: Project, member: User) -> None:
    dataset = DatasetFactory(project=project, name="売上", folder="売上")
    empty = {"dataset": dataset, "sha256": "", "ready_at": None}
    ready = DataFileFactory(dataset=dataset, name="a.csv")
    sending = DataFileFactory(**empty, state="uploading", part_size_bytes=8, upload_id="u-1")
    verifying = DataFileFactory(**empty, state="verifying", part_size_bytes=8)
    failed = DataFileFactory(**empty, state="failed", failure="size", part_size_bytes=8)
    other = DataFileFactory(dataset=DatasetFactory(project=project))
    quota.recount(project.pk)

    certificate, again = (delete_dataset(dataset, by=member, reason="end of the study") for _ in range(2))

    dataset.refresh_from_db()
    states = DataFile.objects.order_by("pk").values_list("pk", "state", "removed_at")
    gone = [(file.pk, "removed", dataset.removed_at) for file in (ready, sending, verifying, failed)]
    assert (certificate, list(states)) == (again, [*gone, (other.pk, "ready", None)])
    assert (certificate.at, certificate.by, certificate.reason, certificate.cause, certificate.dataset_name) == (
        dataset.removed_at, member, "end of the study", "person", "売上",
    )  # fmt: skip
    assert (quota.allowance_of(project).used_bytes, verify()) == (5, [])
    detail = {"name": "売上", "reason": "end of the study", "cause": "person", "certificate": certificate.code}
    assert told() == [("dataset.deleted", f"user:{member.pk}", detail)]
    # Its name and folder are free again, and nothing goes into what is gone.
    assert uploading.begin_plain(project, name="b.csv", by=member, dataset_name="売上").dataset.folder == "売上"
    with pytest.raises(uploading.UploadRefused):
        uploading.begin_plain(project, name="c.csv", by=member, dataset=dataset)
    delete_file(ready, by=member)  # the record is not deleted
    assert DataFile.objects.filter(pk=ready.pk).count() == 1


@pytest.mark.parametrize("state", UNENDED)
def test_a_dataset_that_a_job_still_reads_is_kept_and_the_job_named(file: DataFile, member: User, state: str) -> None:
    job = JobFactory(project=file.dataset.project, name="train", state=state)
    foreign = JobFactory(state=state)
    for reader in (job, foreign):
        JobInput.objects.create(job=reader, data_file=file, path=file.path, size_bytes=5, sha256=file.sha256)
    with pytest.raises(StillRead) as refused, translation.override("en"):
        delete_dataset(file.dataset, by=member, reason="x")
    assert refused.value.messages == [
        f"Jobs that have not ended read this dataset: train ({job.code}), a job of another organization."
        " Wait for their end, or stop them first."
    ]
    file.refresh_from_db()
    assert (file.state, Dataset.objects.kept().count(), told()) == ("ready", 1, [])
    Job.objects.update(state="succeeded")
    delete_dataset(file.dataset, by=member, reason="x")
    assert Dataset.objects.kept().count() == 0


@pytest.mark.django_db(transaction=True)
def test_a_job_that_is_being_submitted_is_waited_for(file: DataFile, member: User) -> None:
    """Deletion begins between the submit's look at its inputs and its commit: it must see the job."""
    outcomes: list[str] = []

    def delete() -> None:
        try:
            with translation.override("en"):
                delete_dataset(file.dataset, by=member, reason="x")
            outcomes.append("deleted")
        except StillRead:
            outcomes.append("refused")
        finally:
            connection.close()

    deleting = threading.Thread(target=delete)
    with transaction.atomic():
        reading.hold([file.pk])
        assert DataFile.objects.filter(pk=file.pk, state="ready").exists()
        deleting.start()
        _until(lambda: _waiting_for_a_lock() == 1)
        job = JobFactory(project=file.dataset.project)
        JobInput.objects.create(job=job, data_file=file, path=file.path, size_bytes=5, sha256=file.sha256)
    deleting.join()
    assert (outcomes, Dataset.objects.kept().count()) == (["refused"], 1)


@pytest.mark.django_db(transaction=True)
def test_a_submit_that_comes_after_a_deletion_finds_no_file(file: DataFile, member: User) -> None:
    found: list[bool] = []

    def submit() -> None:
        try:
            with transaction.atomic():
                reading.hold([file.pk])
                found.append(DataFile.objects.filter(pk=file.pk, state="ready").exists())
        finally:
            connection.close()

    submitting = threading.Thread(target=submit)
    with transaction.atomic():
        delete_dataset(file.dataset, by=member, reason="x")
        submitting.start()
        _until(lambda: _waiting_for_a_lock() == 1)
    submitting.join()
    assert found == [False]


def _waiting_for_a_lock() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return int(cursor.fetchone()[0])


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("role", ["viewer", "billing", "stranger"])
def test_those_who_may_not_upload_delete_nothing(request: pytest.FixtureRequest, file: DataFile, role: str) -> None:
    by = request.getfixturevalue(role)
    for act in (lambda: delete_file(file, by=by), lambda: delete_dataset(file.dataset, by=by, reason="x")):
        with pytest.raises(NotPermitted):
            act()
    assert (DataFile.objects.count(), Dataset.objects.count(), told()) == (1, 1, [])
