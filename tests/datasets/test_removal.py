from __future__ import annotations

import pytest
from django.utils import translation

from portal.accounts.access import NotPermitted
from portal.accounts.models import Project, User
from portal.audit.models import AuditEvent
from portal.datasets.models import DataFile, Dataset, Leftover
from portal.datasets.removal import RemovalRefused, delete_dataset, delete_file
from portal.jobs.models import JobInput
from tests.factories import DataFileFactory, DatasetFactory, JobFactory


@pytest.fixture
def file(project: Project) -> DataFile:
    return DataFileFactory(dataset=DatasetFactory(project=project), name="words.txt", upload_id="u-1")


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


def test_only_an_empty_dataset_is_deleted(file: DataFile, member: User) -> None:
    with pytest.raises(RemovalRefused):
        delete_dataset(file.dataset, by=member)
    before = told()
    empty = DatasetFactory(project=file.dataset.project, name="空")
    pk = empty.pk
    delete_dataset(empty, by=member)
    empty.pk = pk
    delete_dataset(empty, by=member)
    assert (before, told(), list(Dataset.objects.all())) == (
        [],
        [("dataset.deleted", f"user:{member.pk}", {"name": "空"})],
        [file.dataset],
    )


@pytest.mark.parametrize("role", ["viewer", "billing", "stranger"])
def test_those_who_may_not_upload_delete_nothing(request: pytest.FixtureRequest, file: DataFile, role: str) -> None:
    by = request.getfixturevalue(role)
    for act in (lambda: delete_file(file, by=by), lambda: delete_dataset(file.dataset, by=by)):
        with pytest.raises(NotPermitted):
            act()
    assert (DataFile.objects.count(), Dataset.objects.count(), told()) == (1, 1, [])
