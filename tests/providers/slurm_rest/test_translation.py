"""Jobs and submissions as v0.0.38 to v0.0.45 shape them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.providers.base import JobSpec, RemoteJob, RemoteState
from portal.providers.errors import Rejected
from portal.providers.slurm_containers import ContainerRuntime
from portal.providers.slurm_rest.translation import (
    accounted_job,
    accounted_jobs,
    remote_job,
    remote_jobs,
    submission,
)
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


def test_an_array_is_one_submission_whose_elements_know_their_own_variables_only() -> None:
    body = submission(SPEC, version="v0.0.38", work_dir="/w", options={}, each=[{"U": "a"}, {"U": "b"}])
    assert (body["job"]["array"], body["job"]["standard_output"]) == ("0-1", "/w/jga-t-1.%a.log")
    assert body["script"] == (
        '#!/bin/sh\numask 077; mkdir -p /w/jga-t-1/"$SLURM_ARRAY_TASK_ID" && '
        'cd /w/jga-t-1/"$SLURM_ARRAY_TASK_ID" || exit 95\n'
        "export PORTAL_ARRAY_INDEX=$SLURM_ARRAY_TASK_ID PORTAL_ARRAY_SIZE=2\n"
        "case $SLURM_ARRAY_TASK_ID in\n0)\nexport U=a\n;;\n1)\nexport U=b\n;;\nesac\necho"
    )


def test_a_job_with_an_image_runs_in_it_where_the_account_runs_images() -> None:
    spec = replace(SPEC, image="python:3.11")
    plain, contained = (
        submission(spec, version="v0.0.40", work_dir="/w", options={}, runtime=runtime)["job"]["script"]
        for runtime in (ContainerRuntime.NONE, ContainerRuntime.APPTAINER)
    )
    assert (plain.splitlines()[2:], "docker://python:3.11 /bin/sh -c echo" in contained) == (["echo"], True)


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
    st.dictionaries(
        st.sampled_from(
            [
                *ENDED.__dataclass_fields__,
                "job_id",
                "name",
                "job_state",
                "exit_code",
                "array_job_id",
                "array_task_id",
                "array_task_string",
                "task_id",
                "task",
            ]
        ),
        JSON,
    )
)
def test_any_json_is_read_without_surprise(raw: dict[str, Any]) -> None:
    remote_jobs(raw)
    accounted_jobs({"state": raw, "time": raw, "tres": raw, "array": raw, **raw})


@pytest.mark.parametrize("name", ["", "allocation", None])
def test_accounting_says_nothing_of_a_job_whose_start_it_has_not_heard_of(name: object) -> None:
    assert accounted_jobs({"job_id": 58, "name": name, "state": {"current": "COMPLETED", "reason": "None"}}) == []


@pytest.mark.parametrize("index", [0, number(0)], ids=["v0.0.38", "v0.0.40"])
def test_an_element_is_named_by_its_arrays_number_and_its_index(index: object) -> None:
    raw = {"job_id": 15, "name": "k", "array_job_id": 12, "array_task_id": index, "array_task_string": ""}
    accounted = {"job_id": 15, "name": "k", "array": {"job_id": 12, "task_id": index, "task": None}}
    assert [[(job.remote_id, job.key) for job in jobs] for jobs in (remote_jobs(raw), accounted_jobs(accounted))] == [
        [("12_0", "k[0]")]
    ] * 2


@pytest.mark.parametrize("nothing", [None, {"set": False, "infinite": False, "number": 0}], ids=["v0.0.38", "v0.0.40"])
def test_elements_that_wait_are_one_record_and_several_jobs(nothing: object) -> None:
    raw = {"job_id": 12, "name": "k", "array_job_id": 12, "array_task_id": nothing, "array_task_string": "2-3%2"}
    accounted = {"job_id": 12, "name": "k", "array": {"job_id": 12, "task_id": nothing, "task": "0xC"}}
    assert [[(job.remote_id, job.key) for job in jobs] for jobs in (remote_jobs(raw), accounted_jobs(accounted))] == [
        [("12_2", "k[2]"), ("12_3", "k[3]")]
    ] * 2


def test_a_job_that_is_no_array_is_one_job() -> None:
    raw = {"job_id": 7, "name": "k", "array_job_id": 0, "array_task_id": None, "array_task_string": ""}
    assert [(job.remote_id, job.key) for job in remote_jobs(raw)] == [("7", "k")]
