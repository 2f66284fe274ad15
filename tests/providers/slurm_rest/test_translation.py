"""Jobs and submissions as v0.0.38 to v0.0.45 shape them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.providers.base import JobSpec, RemoteJob, RemoteState
from portal.providers.errors import Rejected
from portal.providers.slurm_rest.translation import accounted_job, remote_job, submission
from tests.providers.hostile import JSON

SPEC = JobSpec("jga-t-1", "echo", "gb200", 8, 3601, environment={"A": "1"}, nodes=2, gpu_type="gb200")


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


@given(
    st.dictionaries(st.sampled_from([*ENDED.__dataclass_fields__, "job_id", "name", "job_state", "exit_code"]), JSON)
)
def test_any_json_is_read_without_surprise(raw: dict[str, Any]) -> None:
    remote_job(raw)
    accounted_job({"state": raw, "time": raw, "tres": raw, **raw})
