from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable

import pytest
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from portal.accounts.models import Project, User
from portal.datasets import residency
from portal.datasets.residency import JobObject
from portal.jobs.models import Artifact, Job
from tests.factories import ArtifactFactory, JobFactory

pytestmark = [pytest.mark.django_db]
Sign = Callable[..., Client]


@pytest.fixture
def job(project: Project, member: User) -> Job:
    """Two objects there, and one that has left."""
    made = JobFactory(project=project, submitted_by=member, state="succeeded")
    now, folder = timezone.now(), f"t/{made.organization.code}/jobs/{made.code}/x"
    result = ArtifactFactory(job=made, path="結果.csv")
    residency.job_objects_arrived(
        made.code,
        made.organization.code,
        [
            JobObject("manifest-1", "manifest", f"{folder}/manifest", 20, "1" * 64, now),
            JobObject("log-1", "log", f"{folder}/log", 30, "2" * 64, now),
            JobObject("sent-files-1", "sent-files", f"{folder}/output.tar.gz", 40, "", now),
            JobObject("a-1", result.path, result.storage_key, result.size_bytes, result.sha256, now),
        ],
    )
    came = residency.arrivals_of(made.code, [f"{folder}/manifest"])
    residency.left(came.values(), at=timezone.now())
    return made


def command(job: Job) -> str:
    said = io.StringIO()
    call_command("residency_report", job.code, "--json", stdout=said)
    return said.getvalue()


def test_page_csv_and_json_tell_the_same_as_the_command(client_of: Sign, job: Job, viewer: User) -> None:
    client, url = client_of(viewer, "en"), f"/jobs/{job.code}/residency"
    as_json = b"".join(client.get(f"{url}.json").streaming_content).decode()  # type: ignore[attr-defined]
    as_csv = b"".join(client.get(f"{url}.csv").streaming_content).decode("utf-8-sig")  # type: ignore[attr-defined]
    page = client.get(f"{url}/")
    stays = json.loads(as_json)["stays"]
    shown = [residency.as_texts(stay) for stay in page.context["stays"]]
    assert (as_json, shown, json.loads(as_json)["job"]) == (command(job), stays, job.code)
    assert [(stay["file"], stay["left_at"] is None) for stay in stays] == [
        ("a-1", True), ("log-1", True), ("manifest-1", False), ("sent-files-1", True),
    ]  # fmt: skip
    rows = list(csv.DictReader(io.StringIO(as_csv)))
    assert rows == [{name: "" if v is None else str(v) for name, v in stay.items()} for stay in stays]
    words = page.content.decode()
    labels = ("結果.csv", "Log of run 1", "Command, variables and secrets for run 1", "SHA-256 not computed")
    assert [words.count(label) for label in labels] == [1, 1, 1, 1]


def test_the_report_is_made_of_the_log_alone(job: Job) -> None:
    before = command(job)
    Artifact.objects.all().delete()
    Job.objects.all().delete()
    assert (command(job), len(json.loads(before)["stays"])) == (before, 4)


def test_a_job_that_the_log_does_not_know_says_why(client_of: Sign, project: Project, member: User) -> None:
    client = client_of(member, "en")
    ended, begun = (JobFactory(project=project, submitted_by=member, state=s) for s in ("succeeded", "running"))
    said = [client.get(f"/jobs/{one.code}/residency/").content.decode() for one in (ended, begun)]
    assert ["ended before the place log had objects of jobs" in page for page in said] == [True, False]
    assert ["has nothing of this job yet" in page for page in said] == [False, True]
