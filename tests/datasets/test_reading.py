from __future__ import annotations

import pytest

from portal.datasets.reading import UNENDED, Reader, readers_of
from portal.jobs.models import JobInput
from portal.jobs.states import FINAL, JobState
from tests.factories import DataFileFactory, DatasetFactory, JobFactory


def test_every_state_but_the_final_ones_reads() -> None:
    assert set(UNENDED) == {state.value for state in set(JobState) - FINAL}


@pytest.mark.django_db
def test_readers_are_named_once_and_those_of_others_not_at_all() -> None:
    dataset = DatasetFactory()
    files = [DataFileFactory(dataset=dataset) for _ in range(2)]
    job, foreign = JobFactory(project=dataset.project, name="train"), JobFactory(name="secret")
    ended, elsewhere = JobFactory(project=dataset.project, state="failed"), JobFactory(project=dataset.project)
    for reader in (job, foreign, ended):
        for file in files:
            JobInput.objects.create(job=reader, data_file=file, path=file.path, size_bytes=5, sha256="")
    JobInput.objects.create(job=elsewhere, data_file=DataFileFactory(), path="x", size_bytes=5, sha256="")
    readers = readers_of(dataset)
    assert sorted(map(str, readers)) == ["", f"train ({job.code})"]
    assert set(readers) == {Reader(job.code, "train"), Reader("", "")}
