"""One slurm_rest adapter for v0.0.38 to v0.0.42: over the wire, and with answers as the versions shape them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.providers.base import JobSpec, RemoteJob, RemoteState
from portal.providers.errors import Misconfigured, NotFound, OutcomeUnknown, Rejected, Unavailable
from portal.providers.slurm import code_of_wait_status, gpus_in, minutes, remote_state
from portal.providers.slurm_rest.availability import free_by_partition
from portal.providers.slurm_rest.client import VERSIONS, classify
from portal.providers.slurm_rest.translation import accounted_job, remote_job, submission
from tests.providers.emulated import Provider, emulator
from tests.providers.file_server import FileServer

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
SPEC = JobSpec("jga-t-1", "echo", "gb200", 8, 3601, environment={"A": "1"}, nodes=2, gpu_type="gb200")


@pytest.mark.parametrize("version", VERSIONS)
def test_each_version_runs_a_job_to_its_exit_code(version: str) -> None:
    store = FileServer()
    with emulator("slurm_rest", "--versions", version) as running:
        provider = Provider(running, running.adapter(), store)
        assert provider.adapter.check().startswith(f"slurmrestd {version},")
        job = provider.run(f"jga-{version}", "sleep 1; echo seen; exit 3")
        assert (job.state, job.exit_code, job.reason) == (RemoteState.FAILED, 3, "NonZeroExitCode")
        assert job.gpu_seconds in (1, 2, 3)
        assert provider.adapter.find(job.key) == [job]
        stopped = provider.adapter.submit(provider.spec(f"jga-{version}-s", "sleep 60"))
        provider.wait_until_running(stopped.remote_id)
        provider.adapter.cancel(stopped.remote_id)
        assert provider.wait(stopped.remote_id).state is RemoteState.CANCELLED
        with pytest.raises(NotFound):
            provider.adapter.get("4711")
        provider.adapter.close()
    store.close()


def test_a_server_that_speaks_no_version_of_ours() -> None:
    with (
        emulator("slurm_rest", "--versions", "v0.0.99") as running,
        pytest.raises(Misconfigured, match=r"none of v0\.0\.38"),
    ):
        running.adapter().check()


def test_the_submission_of_the_oldest_version() -> None:
    assert submission(SPEC, version="v0.0.38", work_dir="/w", options={"account": "acc"}) == {
        "job": {
            "name": "jga-t-1",
            "partition": "gb200",
            "current_working_directory": "/w",
            "standard_output": "/w/jga-t-1.log",
            "time_limit": 61,
            "requeue": False,
            "environment": {"PATH": "/usr/local/bin:/usr/bin:/bin", "A": "1", "PORTAL_CLEAN_UP": "1"},
            "account": "acc",
            "nodes": [2, 2],
            "gpus_per_node": "gb200:4",
        },
        "script": "#!/bin/sh\numask 077; mkdir -p /w/jga-t-1 && cd /w/jga-t-1 || exit 95\necho",
    }


def test_the_submission_of_newer_versions() -> None:
    job = submission(SPEC, version="v0.0.40", work_dir="/w", options={})["job"]
    assert (job["time_limit"], job["environment"][1], job["tres_per_node"], job["nodes"]) == (
        {"set": True, "infinite": False, "number": 61},
        "A=1",
        "gres/gpu:gb200:4",
        "2",
    )
    assert job["script"].startswith("#!/bin/sh\n")


def test_gpus_that_do_not_divide_are_refused() -> None:
    with pytest.raises(Rejected):
        submission(JobSpec("k", "", "p", 3, 60, nodes=2), version="v0.0.40", work_dir="/w", options={})


ENDED = RemoteJob(
    remote_id="7",
    key="jga-t-1",
    state=RemoteState.FAILED,
    reason="NonZeroExitCode",
    exit_code=3,
    created_at=datetime(2026, 11, 23, 0, 0, tzinfo=UTC),
    started_at=datetime(2026, 11, 23, 0, 1, tzinfo=UTC),
    ended_at=datetime(2026, 11, 23, 0, 2, tzinfo=UTC),
    gpu_seconds=120,
)
BASE = int(datetime(2026, 11, 23, tzinfo=UTC).timestamp())


def number(value: int) -> dict[str, Any]:
    return {"set": True, "infinite": False, "number": value}


@pytest.mark.parametrize(
    "shape",
    [
        {"job_state": "FAILED", "exit_code": 768, "submit_time": BASE, "start_time": BASE + 60, "end_time": BASE + 120},
        {
            "job_state": "FAILED",
            "exit_code": number(768),
            "submit_time": BASE,
            "start_time": BASE + 60,
            "end_time": BASE + 120,
        },
        {
            "job_state": ["FAILED"],
            "exit_code": {"status": ["ERROR"], "return_code": number(3), "signal": {"id": {"set": False}}},
            "submit_time": number(BASE),
            "start_time": number(BASE + 60),
            "end_time": number(BASE + 120),
        },
    ],
    ids=["v0.0.38", "v0.0.39", "v0.0.40"],
)
def test_one_job_in_the_shapes_of_three_versions(shape: dict[str, Any]) -> None:
    fixed = {"job_id": 7, "name": "jga-t-1", "state_reason": "NonZeroExitCode"}
    assert remote_job({**fixed, **shape, "tres_alloc_str": "cpu=1,gres/gpu=2,gres/gpu:h200=2"}) == ENDED


def test_accounting_of_22_05_is_not_believed_where_it_says_success() -> None:
    raw = {
        "job_id": 7,
        "name": "jga-t-1",
        "state": {"current": "FAILED", "reason": "NonZeroExitCode"},
        "exit_code": {"status": "SUCCESS", "return_code": 0},
        "time": {"submission": BASE, "start": BASE + 60, "end": BASE + 120, "elapsed": 60},
        "tres": {"allocated": [{"type": "gres", "name": "gpu:h200", "count": 2}]},
    }
    job = accounted_job(raw)
    assert (job.state, job.exit_code, job.gpu_seconds) == (RemoteState.FAILED, None, 120)


def test_forecasts_are_no_times() -> None:
    running = remote_job({"job_id": 7, "job_state": "RUNNING", "start_time": BASE, "end_time": BASE + 9})
    waiting = remote_job({"job_id": 7, "job_state": "PENDING", "start_time": BASE, "end_time": BASE + 9})
    assert (running.started_at is None, running.ended_at, waiting.started_at, waiting.ended_at) == (
        False,
        None,
        None,
        None,
    )


@pytest.mark.parametrize(
    ("words", "state"),
    [
        (["PENDING"], RemoteState.QUEUED),
        (["RUNNING"], RemoteState.RUNNING),
        (["COMPLETED", "COMPLETING"], RemoteState.RUNNING),
        (["COMPLETED"], RemoteState.SUCCEEDED),
        (["CANCELLED by 1000"], RemoteState.CANCELLED),
        (["CANCELLED+"], RemoteState.CANCELLED),
        (["TIMEOUT"], RemoteState.TIMED_OUT),
        (["NODE_FAIL"], RemoteState.INTERRUPTED),
        (["OUT_OF_MEMORY"], RemoteState.OUT_OF_MEMORY),
        (["SOMETHING_NEW"], RemoteState.RUNNING),
        ([], RemoteState.QUEUED),
    ],
)
def test_states(words: list[str], state: RemoteState) -> None:
    assert remote_state(words) is state


def test_counting() -> None:
    assert [code_of_wait_status(status) for status in (0, 768, 15, 9)] == [0, 3, 143, 137]
    assert [gpus_in(text) for text in ("cpu=1,gres/gpu=2,gres/gpu:h200=2", "gres/gpu:a=1,gres/gpu:b=3", "")] == [
        2,
        4,
        0,
    ]
    assert [minutes(seconds) for seconds in (1, 60, 61, 3600)] == [1, 1, 2, 60]


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ([2017], NotFound),
        ([9003], NotFound),
        ([2000], Misconfigured),
        ([2014], Rejected),
        ([9001, 2127], Rejected),
        ([-1, -1], OutcomeUnknown),
        ([5004], OutcomeUnknown),
        ([1001], OutcomeUnknown),
    ],
)
def test_errors_are_told_apart_by_number(numbers: list[int], expected: type[Exception]) -> None:
    assert type(classify(numbers, "Requested node configuration is not available", OutcomeUnknown)) is expected
    if expected is OutcomeUnknown:
        assert type(classify(numbers, "", Unavailable)) is Unavailable


def test_free_gpus_of_good_nodes_only() -> None:
    nodes = [
        {"state": "mixed", "partitions": ["a", "b"], "gres": "gpu:h200:8(S:0-1)", "gres_used": "gpu:h200:3(IDX:0-2)"},
        {"state": ["IDLE"], "partitions": ["a"], "gres": "gpu:4", "gres_used": "gpu:0"},
        {"state": ["IDLE", "DRAIN"], "partitions": ["a"], "gres": "gpu:h200:8", "gres_used": ""},
        {"state": "down*", "partitions": ["b"], "gres": "gpu:h200:8", "gres_used": ""},
    ]
    assert free_by_partition(nodes) == {"a": 9, "b": 5}


@given(
    st.dictionaries(st.sampled_from([*ENDED.__dataclass_fields__, "job_id", "name", "job_state", "exit_code"]), JSON)
)
def test_any_json_is_read_without_surprise(raw: dict[str, Any]) -> None:
    remote_job(raw)
    accounted_job({"state": raw, "time": raw, "tres": raw, **raw})
    free_by_partition([raw])
