from __future__ import annotations

import hashlib
from collections.abc import Callable
from html import unescape
from typing import Any
from uuid import uuid4

import pytest
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone

from portal.accounts.models import Project, User
from portal.audit.models import AuditEvent
from portal.datasets import storage, tasks
from portal.datasets.models import DataFile, Dataset, DatasetVersion, StorageAllowance
from portal.jobs.models import Artifact, Job, JobEvent
from tests.factories import ArtifactFactory, JobFactory

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("storage_ready")]
Sign = Callable[..., Client]
FILES = {"counts.csv": b"gpu,120\n", "summary.json": b"{}"}


@pytest.fixture
def job(project: Project, member: User) -> Job:
    return JobFactory(project=project, submitted_by=member, state="succeeded", name="語数")


@pytest.fixture
def left(job: Job) -> dict[str, Artifact]:
    return {path: artifact(job, path, data) for path, data in FILES.items()}


def artifact(job: Job, path: str, data: bytes) -> Artifact:
    key = f"t/test/{uuid4()}"
    storage.put_bytes(key, data)
    sha256 = hashlib.sha256(data).hexdigest()
    return ArtifactFactory(job=job, path=path, size_bytes=len(data), sha256=sha256, storage_key=key)


def text_of(answer: HttpResponse) -> str:
    return unescape(answer.content.decode())


def keep(client: Client, job: Job, **said: Any) -> HttpResponse:
    return client.post(f"/jobs/{job.code}/artifacts/keep/", {"dataset_name": "結果", **said})


def carry_on() -> None:
    """What workers do meanwhile."""
    for file in DataFile.objects.to_verify():
        tasks.verify_file(file.pk)
    for dataset in Dataset.objects.filter(version_wanted_by__isnull=False):
        tasks.make_wanted_version(dataset.pk)


def test_files_that_are_not_what_was_sent_are_told_on_the_page(client_of: Sign, job: Job, viewer: User) -> None:
    client = client_of(viewer, "en")
    empty = text_of(client.get(f"/jobs/{job.code}/artifacts/"))
    detail = {"count": 1, "paths": ["out/<b>.txt"]}
    JobEvent.objects.create(job=job, kind="data", reason="results_damaged", by="portal:collection", detail=detail)
    job.touch()
    said = text_of(client.get(f"/jobs/{job.code}/artifacts/"))
    sentence = "1 file was not what had been sent there, and was removed: out/<b>.txt"
    words = (sentence, "This job left no files", "No files of this job could be saved.")
    assert [[word in page for word in words] for page in (empty, said)] == [[False, True, False], [True, False, True]]


def test_an_artifact_of_before_says_that_it_was_not_read_back(client_of: Sign, job: Job, viewer: User) -> None:
    artifact(job, "before.txt", b"b")
    Artifact.objects.filter(pk=artifact(job, "now.txt", b"n").pk).update(verified_at=timezone.now())
    page = text_of(client_of(viewer, "en").get(f"/jobs/{job.code}/artifacts/"))
    said = [row.count("Not read back") for row in page.split('<th scope="row">')[1:]]
    assert said == [1, 0]


def test_an_artifact_is_looked_at_in_a_frame_without_origin(
    client_of: Sign, job: Job, left: dict[str, Artifact], viewer: User
) -> None:
    client, url = client_of(viewer), f"/jobs/{job.code}/artifacts/{left['counts.csv'].pk}/preview/"

    page, frame = client.get(url), client.get(f"{url}content/")

    assert ('<iframe class="preview" sandbox' in text_of(page), left["counts.csv"].sha256 in text_of(page)) == (
        True,
        True,
    )
    assert "frame-src 'self'" in page["Content-Security-Policy"]
    assert ('<th scope="col">gpu</th>' in text_of(frame), "sandbox" in frame["Content-Security-Policy"]) == (True, True)
    assert list(AuditEvent.objects.values_list("act", "subject", "actor")) == [
        ("artifact.previewed", f"job:{job.code}", f"user:{viewer.pk}")
    ]


def test_all_artifacts_become_a_version_of_a_new_dataset_and_outlive_the_job(
    client_of: Sign, job: Job, left: dict[str, Artifact], member: User
) -> None:
    answer = keep(client_of(member), job, everything="on")
    before = set(DataFile.objects.values_list("state", flat=True))
    waiting = text_of(client_of(member, "en").get(answer["Location"]))
    carry_on()
    for one in left.values():
        storage.delete(one.storage_key)

    dataset = Dataset.objects.get()
    files = DataFile.objects.order_by("name")
    assert (answer["Location"], dataset.name, dataset.project) == (f"/datasets/{dataset.code}/", "結果", job.project)
    assert (before, "Being copied from a job’s artifacts" in waiting) == ({"verifying"}, True)
    assert [(f.name, f.state, f.sha256, b"".join(storage.pieces(f.storage_key))) for f in files] == [
        (path, "ready", left[path].sha256, data) for path, data in FILES.items()
    ]
    assert list(DatasetVersion.objects.values_list("dataset", "number", "file_count")) == [(dataset.pk, 1, 2)]
    kept = AuditEvent.objects.get(act="dataset.kept")
    assert kept.detail == {"from": f"job:{job.code}", "files": 2, "size_bytes": 10}
    assert StorageAllowance.objects.get(project=job.project).used_bytes == 10


def test_chosen_ones_are_added_to_a_dataset_that_is_there(
    client_of: Sign, job: Job, left: dict[str, Artifact], member: User
) -> None:
    client = client_of(member)
    form = client.get(f"/jobs/{job.code}/artifacts/keep/?file={left['summary.json'].pk}").context
    keep(client, job, artifacts=[left["summary.json"].pk])
    carry_on()
    keep(client, job, artifacts=[left["counts.csv"].pk])
    carry_on()

    assert form["chosen"] == {str(left["summary.json"].pk)}
    versions = DatasetVersion.objects.order_by("number").values_list("number", "file_count")
    assert (Dataset.objects.count(), list(versions)) == (1, [(1, 1), (2, 2)])


@pytest.mark.parametrize("between", [lambda: None, carry_on])
def test_the_same_kept_twice_is_there_once(
    client_of: Sign, job: Job, left: dict[str, Artifact], member: User, between: Callable[[], None]
) -> None:
    client = client_of(member)
    first = keep(client, job, everything="on")
    between()
    second = keep(client, job, everything="on")
    carry_on()

    assert (first["Location"], DataFile.objects.count()) == (second["Location"], 2)
    assert AuditEvent.objects.filter(act="dataset.kept").count() == 1
    assert DatasetVersion.objects.count() == 1


def test_a_later_result_takes_the_place_of_an_earlier_one(
    client_of: Sign, job: Job, left: dict[str, Artifact], project: Project, member: User
) -> None:
    client, again = client_of(member), JobFactory(project=project)
    newer = artifact(again, "counts.csv", b"gpu,121\n")
    for done in (job, again):
        keep(client, done, everything="on")
        carry_on()

    draft = DataFile.objects.draft().ready().order_by("name")
    assert list(draft.values_list("name", "sha256")) == [
        ("counts.csv", newer.sha256),
        ("summary.json", left["summary.json"].sha256),
    ]
    assert [v.number for v in DatasetVersion.objects.order_by("number")] == [1, 2]


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({}, "Choose at least one file."),
        ({"artifacts": ["999999"]}, "A chosen file is no longer there."),
        ({"everything": "on", "dataset_name": ""}, "Enter the name of a dataset."),
        ({"everything": "on", "dataset_name": "x" * 101}, "The dataset name can have up to 100 characters."),
        ({"everything": "on", "dataset_name": "a\u202eb"}, "invisible control characters"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(
    client_of: Sign, job: Job, left: dict[str, Artifact], member: User, said: dict[str, Any], sentence: str
) -> None:
    answer = keep(client_of(member, "en"), job, **said)
    assert (answer.status_code, sentence in text_of(answer), DataFile.objects.count()) == (422, True, 0)


def test_more_than_the_project_may_store_is_refused_whole(
    client_of: Sign, job: Job, left: dict[str, Artifact], member: User
) -> None:
    StorageAllowance.objects.create(project=job.project, limit_bytes=9)

    answer = keep(client_of(member, "en"), job, everything="on")

    assert (answer.status_code, "can store up to" in text_of(answer)) == (422, True)
    assert (DataFile.objects.count(), Dataset.objects.count()) == (0, 0)


def test_a_job_that_left_nothing_has_nothing_to_keep(client_of: Sign, job: Job, member: User) -> None:
    assert client_of(member).get(f"/jobs/{job.code}/artifacts/keep/")["Location"] == f"/jobs/{job.code}/artifacts/"


def test_who_may_not_upload_is_not_offered_it(
    client_of: Sign, job: Job, left: dict[str, Artifact], member: User, viewer: User
) -> None:
    offered = ["artifacts/keep/" in text_of(client_of(u).get(f"/jobs/{job.code}/artifacts/")) for u in (member, viewer)]
    assert offered == [True, False]
