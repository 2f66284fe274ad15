"""What Slurm's commands print as ours: whole values, and whatever else may come."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.providers.base import JobSpec, RemoteJob, RemoteState
from portal.providers.errors import Misconfigured, OutcomeUnknown, Rejected, Unavailable
from portal.providers.slurm_ssh.translation import (
    accounted_jobs,
    environment_file,
    is_list,
    queued_jobs,
    sbatch_command,
    sbatch_error,
    submitted_number,
)

SPEC = JobSpec("jga-t-1", "echo", "h100-80gb", 1, 60, image="python:3.11", environment={"A": "1"})


def test_sacct_and_squeue_as_ours() -> None:
    accounted = "7|CANCELLED by 1000|0:15|1795564800|1795564860|1795564920|60|cpu=1,gres/gpu=2|None|jga-t|1\n"
    queued = "8|PENDING|Resources|1795564800|1795999999|N/A|jga-t-2\nwarning: noise\n"
    submitted = datetime(2026, 11, 25, 0, 0, tzinfo=UTC)
    assert list(accounted_jobs(accounted)) == [
        RemoteJob(
            "7",
            "jga-t|1",
            RemoteState.CANCELLED,
            exit_code=143,
            created_at=submitted,
            started_at=submitted.replace(minute=1),
            ended_at=submitted.replace(minute=2),
            gpu_seconds=120,
        )
    ]
    assert list(queued_jobs(queued)) == [
        RemoteJob("8", "jga-t-2", RemoteState.QUEUED, "Resources", created_at=submitted)
    ]


@given(st.text())
def test_any_text_of_a_command_is_read_without_surprise(text: str) -> None:
    list(accounted_jobs(text))
    list(queued_jobs(text))
    submitted_number(text)
    sbatch_error(1, text)


@pytest.mark.parametrize(
    ("output", "expected"),
    [("", True), (" \n", True), ("a|b|c\n", True), ("warning\na|b|\n", True), ("a|b\n", False), ("<html>", False)],
)
def test_words_that_are_no_list(output: str, expected: bool) -> None:
    assert is_list(output, separators=2) is expected


def test_the_sbatch_command() -> None:
    spec = replace(SPEC, plan="gpu", gpus=2, gpu_type="h200", time_limit_s=90)
    assert sbatch_command(spec, directory="/home/a b/k", options={"qos": "normal"}) == [
        "sbatch",
        "--parsable",
        "--job-name=jga-t-1",
        "--partition=gpu",
        "--nodes=1",
        "--gpus-per-node=h200:2",
        "--qos=normal",
        "--time=2",
        "--chdir=/home/a b/k",
        "--output=/home/a b/k/log",
        "--no-requeue",
        "/home/a b/k/job.sh",
    ]


def test_sbatch_numbers() -> None:
    assert [submitted_number(text) for text in ("17\n", "17;gpu\n", "", "Submitted batch job 17", "1" * 30)] == [
        "17",
        "17",
        "",
        "",
        "",
    ]


@pytest.mark.parametrize(
    ("code", "text", "expected"),
    [
        (127, "sh: sbatch: not found", Misconfigured),
        (1, "sbatch: error: Batch job submission failed: Invalid partition name specified", Misconfigured),
        (1, "sbatch: error: Batch job submission failed: Requested node configuration is not available", Rejected),
        (
            1,
            "sbatch: error: Unable to contact slurm controller (connect failure)",
            Unavailable,
        ),
        (1, "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation", OutcomeUnknown),
        (255, "", OutcomeUnknown),
    ],
)
def test_what_a_failed_sbatch_means(code: int, text: str, expected: type[Exception]) -> None:
    assert type(sbatch_error(code, text)) is expected


def test_values_of_the_environment_are_quoted() -> None:
    assert environment_file({"A": "it's $HOME\n`id`"}) == "export A='it'\"'\"'s $HOME\n`id`'\n"
    with pytest.raises(Misconfigured):
        environment_file({"A;id": "1"})


@pytest.mark.parametrize("start", ["1795000100", "1795003600"], ids=["its end", "a forecast"])
def test_a_job_that_was_cancelled_while_it_waited_has_no_start(start: str) -> None:
    (queued,) = queued_jobs(f"7|CANCELLED|None|1795000000|{start}|1795000100|jga-t-1\n")
    (accounted,) = accounted_jobs(f"7|CANCELLED by 0|0:0|1795000000|{start}|1795000100|0||None|jga-t-1\n")
    assert [(job.state, job.started_at) for job in (queued, accounted)] == [(RemoteState.CANCELLED, None)] * 2
