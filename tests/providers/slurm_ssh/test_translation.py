"""What Slurm's commands print as ours: whole values, and whatever else may come."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.providers.base import JobSpec, RemoteJob, RemoteState
from portal.providers.errors import Misconfigured, NotFound, OutcomeUnknown, Rejected, Unavailable
from portal.providers.slurm_ssh.translation import (
    accounted_jobs,
    architectures_by_partition,
    environment_files,
    is_list,
    job_script,
    queued_jobs,
    sbatch_command,
    sbatch_error,
    slurm_version,
    submitted_number,
    update_error,
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


def test_accounting_says_nothing_of_a_job_whose_start_it_has_not_heard_of() -> None:
    """As 22.05 told it of an array's last element, which ended as its start was still on its way."""
    half = "58|COMPLETED|0:0|1796040860|1796040860|1796040863|3|cpu=1,gres/gpu=2|None|allocation\n"
    assert list(accounted_jobs(half)) == []


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


@pytest.mark.parametrize("text", ["slurm 22.05.8", "slurm-wlm 22.05.8", "slurm 24.11.0-0rc1"])
def test_the_version_of_slurm(text: str) -> None:
    assert slurm_version(0, f"{text}\n") == text


@pytest.mark.parametrize(
    ("code", "output", "expected"),
    [
        (127, "", Misconfigured),
        (126, "", Misconfigured),
        (1, "", Unavailable),
        (255, "slurm 22.05.8\n", Unavailable),
        (-9, "", Unavailable),
        (0, "", Misconfigured),
        (0, "garbage", Misconfigured),
        (0, "Welcome!\nslurm 22.05.8\n", Misconfigured),
        (0, "slurm", Misconfigured),
        (0, "slurm 22\u0660", Misconfigured),
        (0, f"slurm {'2' * 100}", Misconfigured),
    ],
)
def test_what_is_no_version_of_slurm(code: int, output: str, expected: type[Exception]) -> None:
    with pytest.raises((Misconfigured, Unavailable)) as refused:
        slurm_version(code, output)
    assert type(refused.value) is expected


@pytest.mark.parametrize("start", ["1795000100", "1795003600"], ids=["its end", "a forecast"])
def test_a_job_that_was_cancelled_while_it_waited_has_no_start(start: str) -> None:
    (queued,) = queued_jobs(f"7|CANCELLED|None|1795000000|{start}|1795000100|jga-t-1\n")
    (accounted,) = accounted_jobs(f"7|CANCELLED by 0|0:0|1795000000|{start}|1795000100|0||None|jga-t-1\n")
    assert [(job.state, job.started_at) for job in (queued, accounted)] == [(RemoteState.CANCELLED, None)] * 2


def test_an_array_is_one_submission_with_a_log_for_each_element() -> None:
    assert sbatch_command(SPEC, directory="/w/k", options={}, size=3)[-5:] == [
        "--time=1", "--chdir=/w/k", "--output=/w/k/%a.log", "--no-requeue", "/w/k/job.sh",
    ]  # fmt: skip
    assert "--array=0-2" in sbatch_command(SPEC, directory="/w/k", options={}, size=3)


def test_elements_share_the_script_and_have_files_of_their_own() -> None:
    lines = job_script(SPEC, size=3).splitlines()
    assert lines[3:] == [
        "umask 077",
        "[ ! -e $SLURM_ARRAY_TASK_ID.environment ] || . ./$SLURM_ARRAY_TASK_ID.environment",
        "rm -f $SLURM_ARRAY_TASK_ID.environment",
        '[ ! -e pushed/manifest ] || export PORTAL_MANIFEST_FILE="$PWD/pushed/manifest"',
        'PORTAL_WORK_DIR="$PWD/$SLURM_ARRAY_TASK_ID.work" '
        'PORTAL_OUTPUT_ARCHIVE="$PWD/$SLURM_ARRAY_TASK_ID.output.tar.gz" PORTAL_CLEAN_UP=1',
        "export PORTAL_WORK_DIR PORTAL_OUTPUT_ARCHIVE PORTAL_CLEAN_UP",
        "export PORTAL_ARRAY_INDEX=$SLURM_ARRAY_TASK_ID PORTAL_ARRAY_SIZE=3",
        "echo",
    ]
    assert environment_files(SPEC, [{"B": "0"}, {"A": "2"}]) == {
        "0.environment": b"export A=1\nexport B=0\n",
        "1.environment": b"export A=2\n",
    }
    assert environment_files(SPEC, []) == {"environment": b"export A=1\n"}


def test_elements_as_squeue_and_sacct_print_them() -> None:
    queued = "12_0|RUNNING|None|1795000000|1795000001|N/A|jga-t\n12_1|PENDING|Resources|1795000000|N/A|N/A|jga-t\n"
    accounted = (
        "12_0|FAILED|3:0|1795000000|1795000001|1795000003|2|gres/gpu=2|None|jga-t\n"
        "12_[1-2,5%2]|PENDING|0:0|1795000000|Unknown|Unknown|0||None|jga-t\n"
    )
    assert [(job.remote_id, job.key, job.state) for job in queued_jobs(queued)] == [
        ("12_0", "jga-t[0]", RemoteState.RUNNING),
        ("12_1", "jga-t[1]", RemoteState.QUEUED),
    ]
    assert [(job.remote_id, job.key, job.state, job.gpu_seconds) for job in accounted_jobs(accounted)] == [
        ("12_0", "jga-t[0]", RemoteState.FAILED, 4),
        ("12_1", "jga-t[1]", RemoteState.QUEUED, None),
        ("12_2", "jga-t[2]", RemoteState.QUEUED, None),
        ("12_5", "jga-t[5]", RemoteState.QUEUED, None),
    ]


def test_processors_by_partition() -> None:
    said = (
        "NodeName=a1 Arch=x86_64 OS=Linux 6.1 #1 SMP Partitions=gpu,all \n"
        "NodeName=b1 Arch=aarch64 Partitions=grace,all \nNodeName=new State=UNKNOWN Partitions=gpu \nnoise\n"
    )
    assert architectures_by_partition(said) == {"gpu": {"amd64"}, "all": {"amd64", "arm64"}, "grace": {"arm64"}}


@pytest.mark.parametrize(
    ("code", "errors", "kind"),
    [
        (1, "Invalid job id specified for job 999", NotFound),
        (1, "Job has already finished for job 1", NotFound),
        (1, "Access/permission denied for job 1", Misconfigured),
        (1, "Requested time limit is invalid (missing or exceeds some limit) for job 1", Rejected),
        (1, "slurm_update error: Socket timed out on send/recv operation", Unavailable),
        (1, "Unable to contact slurm controller (connect failure)", Unavailable),
        (127, "sh: 1: scontrol: not found", Misconfigured),
    ],
)
def test_what_a_failed_update_of_a_job_means(code: int, errors: str, kind: type[Exception]) -> None:
    assert type(update_error(code, errors)) is kind
