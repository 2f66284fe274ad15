"""What slurmrestd answered (v0.0.38) and would answer (v0.0.40, v0.0.42), as ours: see recorded/README.md."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from portal.providers.base import Account, JobSpec, RemoteAvailability, RemoteJob, RemoteState
from portal.providers.errors import Misconfigured, NotFound, Rejected, Unavailable
from portal.providers.slurm_rest import SlurmRest
from portal.providers.slurm_rest.availability import free_by_partition
from portal.providers.slurm_rest.translation import accounted_job, remote_job
from tests.providers.answering import Answering, Asked, Reply, answering

RECORDED = Path(__file__).parent / "recorded"
VERSIONS = ("v0.0.38", "v0.0.40", "v0.0.42")
SUBMITTED = datetime.fromtimestamp(1_795_590_444, UTC)


def after(seconds: int) -> datetime:
    return SUBMITTED + timedelta(seconds=seconds)


JOBS = [
    RemoteJob("1", "jga-r-ok", RemoteState.SUCCEEDED, "", 0, after(0), after(3), after(4), 2),
    RemoteJob("2", "jga-r-none", RemoteState.FAILED, "BadConstraints", 129, after(0), None, after(0), None),
    RemoteJob("3", "jga-r-limit", RemoteState.TIMED_OUT, "TimeLimit", 143, after(1), after(3), after(90), 87),
    RemoteJob("4", "jga-r-exit", RemoteState.FAILED, "NonZeroExitCode", 3, after(1), after(3), after(3), 0),
    RemoteJob("5", "jga-r-killed", RemoteState.FAILED, "JobLaunchFailure", 137, after(1), after(3), after(3), 0),
    RemoteJob("6", "jga-r-cancelled", RemoteState.CANCELLED, "", 143, after(1), after(3), after(4), 1),
    RemoteJob("7", "jga-r-running", RemoteState.RUNNING, "", None, after(1), after(3), None, None),
    RemoteJob("8", "jga-r-pending", RemoteState.QUEUED, "Resources", None, after(1), None, None, None),
]
# Accounting gives no reasons, and of a bad end it knows the code only where a signal was seen.
_TOLD = {1: 0, 5: 137}
ACCOUNTED = [replace(job, reason="", exit_code=_TOLD.get(number)) for number, job in enumerate(JOBS, 1)]
ACCOUNTED[1] = replace(ACCOUNTED[1], gpu_seconds=0)
BY_PATH = {
    ("GET", "/slurm/{}/ping"): "ping",
    ("GET", "/slurm/{}/jobs"): "jobs",
    ("GET", "/slurm/{}/job/1"): "job_completed",
    ("GET", "/slurm/{}/job/4711"): "job_unknown",
    ("DELETE", "/slurm/{}/job/6"): "cancel",
    ("GET", "/slurm/{}/nodes"): "nodes",
    ("GET", "/slurmdb/{}/jobs"): "accounted_jobs",
    ("GET", "/slurmdb/{}/job/4711"): "accounted_unknown",
}


@pytest.mark.parametrize("version", VERSIONS)
def test_every_job_that_the_controller_tells(version: str) -> None:
    assert [remote_job(raw) for raw in body(version, "jobs")["jobs"]] == JOBS


@pytest.mark.parametrize("version", VERSIONS)
def test_every_job_that_accounting_tells(version: str) -> None:
    assert [accounted_job(raw) for raw in body(version, "accounted_jobs")["jobs"]] == ACCOUNTED


@pytest.mark.parametrize("version", VERSIONS)
def test_the_free_gpus_of_the_nodes(version: str) -> None:
    assert free_by_partition(body(version, "nodes")["nodes"]) == {"gpu": 6}


@pytest.mark.parametrize("version", VERSIONS)
def test_a_server_of_one_version_is_understood_whole(version: str) -> None:
    with serving(version) as server:
        adapter = adapter_of(server)
        assert adapter.check() == f"slurmrestd {version}, 8 jobs in sight, container runtime: none"
        assert adapter.submit(SPEC) == RemoteJob("1", "jga-r-ok", RemoteState.QUEUED)
        assert adapter.get("1") == JOBS[0]
        with pytest.raises(NotFound):
            adapter.get("4711")
        assert list(adapter.list_jobs("jga-r-", since=SUBMITTED)) == JOBS
        assert adapter.find("jga-r-exit") == [JOBS[3]]
        adapter.cancel("6")
        adapter.cancel("4711")
        used = {line.key: line.gpu_seconds for line in adapter.usage(since=SUBMITTED, until=after(3600))}
        assert used == {"jga-r-ok": 2, "jga-r-limit": 87, "jga-r-cancelled": 1}
        (free,) = adapter.availability()
        assert free == RemoteAvailability("gpu", 6, None, free.observed_at)
        adapter.close()
    asked = [one.path for one in server.asked]
    assert asked.count(f"/slurm/{version}/ping") == 1  # which version it speaks is asked once


@pytest.mark.parametrize("version", VERSIONS)
def test_a_job_that_no_machine_can_run_is_refused(version: str) -> None:
    with serving(version, submit="submit_impossible") as server, pytest.raises(Rejected) as told:
        adapter_of(server).submit(SPEC)
    assert (told.value.summary, told.value.failure, told.value.code) == (
        "Slurm has no such machine: Requested node configuration is not available",
        "no_capacity",
        "2014",
    )


@pytest.mark.parametrize(
    ("answer", "expected", "summary"),
    [
        (
            "submit_malformed",
            Rejected,
            'slurmrestd cannot read the request: Unknown key "no_such_key"; Failure during parsing',
        ),
        ("version_unknown", Misconfigured, "slurmrestd takes no jobs: slurmrestd does not know the path"),
    ],
)
def test_what_a_submission_meets_with_22_05(answer: str, expected: type[Exception], summary: str) -> None:
    with serving("v0.0.38", submit=answer) as server, pytest.raises(expected) as told:
        adapter_of(server).submit(SPEC)
    assert (type(told.value), str(told.value)) == (expected, summary)


@pytest.mark.parametrize("answer", ["token_expired", "token_forged"])
def test_a_token_that_is_not_valid_looks_like_a_controller_that_is_away(answer: str) -> None:
    with serving("v0.0.38", jobs=answer) as server, pytest.raises(Unavailable) as told:
        list(adapter_of(server).list_jobs("jga-", since=SUBMITTED))
    assert str(told.value) == (
        "slurmrestd could not ask its controller, or the token is not valid: "
        "Unspecified error Failed while looking for jobs"
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_every_answer_says_where_it_is_from(version: str) -> None:
    sources = {json.loads(path.read_text())["from"].split(" ")[0] for path in (RECORDED / version).glob("*.json")}
    assert sources == ({"recorded"} if version == "v0.0.38" else {"made"})


SPEC = JobSpec("jga-r-ok", "exit 0", "gpu", 2, 600, gpu_type="h200")


def body(version: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RECORDED / version / f"{name}.json").read_text())["body"]
    return found


@contextmanager
def serving(version: str, **instead: str) -> Iterator[Answering]:
    """A server that speaks this version alone; `submit` or `jobs` may be answered by another file."""
    names = {(method, path.format(version)): name for (method, path), name in BY_PATH.items()}
    names["POST", f"/slurm/{version}/job/submit"] = instead.get("submit", "submit_accepted")
    names["GET", f"/slurm/{version}/jobs"] = instead.get("jobs", "jobs")
    names["DELETE", f"/slurm/{version}/job/4711"] = "job_unknown"

    def reply(asked: Asked) -> Reply:
        name = names.get((asked.method, urlsplit(asked.path).path))
        if name is None:
            return Reply(404, b"Unable find requested URL.")
        answer = json.loads((RECORDED / version / f"{name}.json").read_text())
        content = answer["body"]
        return Reply(answer["status"], content.encode() if isinstance(content, str) else content)

    with answering(to=reply) as server:
        yield server


def adapter_of(server: Answering) -> SlurmRest:
    return SlurmRest(
        Account("slurm_rest", server.url, {"user": "portal", "token": "t0ken"}, {"work_dir": "/work/jobs"})
    )
