"""Two to five jobs side by side."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from portal.accounts.models import Project, User
from portal.jobs.models import Job
from portal.jobs.states import JobState
from tests.factories import ArtifactFactory, JobFactory, PriceFactory


def url_of(*jobs: Job | str) -> str:
    return "/jobs/compare/?" + "&".join(f"job={job}" for job in jobs)


def lines(response: Any) -> dict[str, tuple[list[str], bool]]:
    return {line.label: (line.cells, line.differs) for group in response.context["groups"] for line in group.lines}


def test_what_differs_is_marked_and_the_rest_is_told_too(
    client_of: Callable[..., Client], member: User, project: Project
) -> None:
    price = PriceFactory()
    one = JobFactory(
        project=project, price=price, submitted_by=member, state=JobState.SUCCEEDED, script="print(1)",
        script_name="main.py", environment={"B": "2", "A": "1"}, exit_code=0, gpus=1, gpu_seconds=120, cost=34,
        submitted_at=datetime(2026, 11, 9, 0, 0, tzinfo=UTC), started_at=datetime(2026, 11, 9, 0, 1, tzinfo=UTC),
        ended_at=datetime(2026, 11, 9, 0, 3, tzinfo=UTC),
    )  # fmt: skip
    two = JobFactory(
        project=project, price=price, submitted_by=member, state=JobState.FAILED, failure="out_of_memory",
        script="print(2)", script_name="main.py", environment={"A": "1", "B": "2"}, exit_code=1, gpus=4,
        gpu_seconds=480, cost=134, submitted_at=datetime(2026, 11, 9, 0, 0, tzinfo=UTC),
        started_at=datetime(2026, 11, 9, 0, 1, tzinfo=UTC), ended_at=datetime(2026, 11, 9, 0, 3, tzinfo=UTC),
    )  # fmt: skip

    response = client_of(member, language="en").get(url_of(two, one))

    told = lines(response)
    assert {label for label, (_cells, differs) in told.items() if differs} == {
        "Script", "GPUs", "State", "Why it failed", "Exit code", "GPU time", "Cost (tax incl.)",
    }  # fmt: skip
    assert [told[label][0] for label in ("GPUs", "State", "Exit code", "Run time", "Cost (tax incl.)")] == [
        ["4", "1"], ["Failed", "Completed"], ["1", "0"], ["2 min", "2 min"], ["¥134", "¥34"],
    ]  # fmt: skip
    assert told["Environment variables"] == (["A=1\nB=2", "A=1\nB=2"], False)
    page = response.content.decode()
    assert len(re.findall(r'<span class="tag">Differs</span>', page)) == 7
    assert re.findall(r'<th scope="col"><a href="/jobs/([^/]+)/">', page) == [two.code, one.code]


def test_artifacts_are_compared_by_path_size_and_checksum(
    client_of: Callable[..., Client], member: User, project: Project
) -> None:
    jobs = [JobFactory(project=project) for _job in range(3)]
    for path, sums in (
        ("all equal", "aaa"), ("all different", "aab"), ("one", "a  "), ("two equal", "aa "), ("two different", "ab "),
    ):  # fmt: skip
        for job, letter in zip(jobs, sums, strict=True):
            if letter != " ":
                ArtifactFactory(job=job, path=path, sha256=letter * 64, size_bytes=1000)
    ArtifactFactory(path="of others")

    response = client_of(member, language="en").get(url_of(*jobs))

    assert [(file.path, file.sizes, file.verdict, file.is_equal) for file in response.context["artifacts"]] == [
        ("all different", ["1.0 KB", "1.0 KB", "1.0 KB"], "Different", False),
        ("all equal", ["1.0 KB", "1.0 KB", "1.0 KB"], "Equal", True),
        ("one", ["1.0 KB", "", ""], "Only in one", False),
        ("two different", ["1.0 KB", "1.0 KB", ""], "Only in some, there different", False),
        ("two equal", ["1.0 KB", "1.0 KB", ""], "Only in some, there equal", False),
    ]


def test_of_very_many_artifacts_the_rest_is_counted(
    client_of: Callable[..., Client], member: User, project: Project
) -> None:
    jobs = [JobFactory(project=project) for _job in range(2)]
    for n in range(203):
        ArtifactFactory(job=jobs[n % 2], path=f"{n:03}.txt")
    response = client_of(member, language="en").get(url_of(*jobs))
    assert (len(response.context["artifacts"]), response.context["left_out"]) == (200, 3)
    assert "3 more paths are not shown." in response.content.decode()


@pytest.mark.parametrize(
    ("count", "sentence"),
    [
        (0, "Choose at least 2 jobs in the list to compare them."),
        (1, "Choose at least 2 jobs in the list to compare them."),
        (6, "At most 5 jobs can stand side by side. Choose fewer in the list."),
    ],
)
def test_too_few_or_too_many_are_told_in_a_sentence(
    count: int, sentence: str, client_of: Callable[..., Client], member: User, project: Project
) -> None:
    price = PriceFactory()
    jobs = [JobFactory(project=project, price=price) for _job in range(count)]
    response = client_of(member, language="en").get(url_of(*jobs))
    assert (response.status_code, sentence in response.content.decode(), "groups" in response.context) == (
        200, True, False,
    )  # fmt: skip


def test_the_same_job_twice_is_one(client_of: Callable[..., Client], member: User, project: Project) -> None:
    job = JobFactory(project=project)
    assert client_of(member).get(url_of(job, job)).context["is_few"]


def test_a_job_of_others_or_none_does_not_exist(
    client_of: Callable[..., Client], member: User, project: Project
) -> None:
    mine, theirs = JobFactory(project=project), JobFactory()
    client = client_of(member)
    assert [client.get(url_of(mine, other)).status_code for other in (theirs, "J-gone", "%00", "")] == [404] * 4


def test_five_take_no_more_statements_than_two(
    client_of: Callable[..., Client], member: User, project: Project
) -> None:
    jobs = [JobFactory(project=project) for _job in range(5)]
    for job in jobs:
        ArtifactFactory(job=job)
    client, counts = client_of(member), []
    client.get(url_of(*jobs))
    for some in (jobs[:2], jobs):
        with CaptureQueriesContext(connection) as asked:
            assert client.get(url_of(*some)).status_code == 200
        counts.append(len(asked))
    assert counts[0] == counts[1] <= 10
