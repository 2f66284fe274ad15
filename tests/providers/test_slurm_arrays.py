from __future__ import annotations

import subprocess
from datetime import UTC, datetime

import pytest

from portal.providers.base import RemoteJob, RemoteState, element_key
from portal.providers.errors import NotFound, Rejected
from portal.providers.slurm_arrays import (
    SIZE_MAX,
    array_lines,
    check_size,
    checked_id,
    chosen,
    element_of,
    indexes,
    own_variables,
    whole_array,
    with_wholes,
)

DONE, WAITS, RUNS = RemoteState.SUCCEEDED, RemoteState.QUEUED, RemoteState.RUNNING
FAILED, STOPPED = RemoteState.FAILED, RemoteState.CANCELLED


def elements(*states: RemoteState) -> list[RemoteJob]:
    codes = {DONE: 0, FAILED: 3}
    return [
        RemoteJob(f"12_{index}", element_key("k", index), state, exit_code=codes.get(state), gpu_seconds=10)
        for index, state in enumerate(states)
    ]


@pytest.mark.parametrize(
    ("states", "whole", "code"),
    [
        ((WAITS, WAITS), WAITS, None),
        ((WAITS, STOPPED), WAITS, None),
        ((DONE, WAITS), RUNS, None),
        ((FAILED, RUNS), RUNS, None),
        ((DONE, DONE), DONE, 0),
        ((DONE, FAILED, STOPPED), FAILED, 3),
        ((DONE, STOPPED), STOPPED, None),
    ],
)
def test_an_array_ends_with_its_last_element_and_well_only_if_all_did(
    states: tuple[RemoteState, ...], whole: RemoteState, code: int | None
) -> None:
    job = whole_array("12", elements(*states))
    counted = 10 * len(states) if whole.is_final else None
    assert (job.remote_id, job.key, job.state, job.exit_code, job.gpu_seconds) == ("12", "k", whole, code, counted)


def test_an_array_runs_from_its_first_start_to_its_last_end() -> None:
    at = [datetime(2026, 11, 25, 0, minute, tzinfo=UTC) for minute in range(4)]
    first = RemoteJob("12_0", "k[0]", DONE, started_at=at[1], ended_at=at[3], created_at=at[0])
    second = RemoteJob("12_1", "k[1]", DONE, started_at=at[0], ended_at=at[2], created_at=at[0])
    whole = whole_array("12", [first, second])
    assert (whole.created_at, whole.started_at, whole.ended_at) == (at[0], at[0], at[3])


def test_a_key_means_single_jobs_and_whole_arrays_and_no_element_of_another() -> None:
    single, other = RemoteJob("7", "k", DONE), RemoteJob("9_0", "k-1[0]", DONE)
    found = list(with_wholes([*elements(DONE, DONE), single, other], "k"))
    assert [(job.remote_id, job.key) for job in found] == [("7", "k"), ("12", "k")]


def test_a_number_means_an_element_or_the_whole() -> None:
    jobs = elements(DONE, FAILED)
    assert (chosen(jobs, "12_1"), chosen(jobs, "12").state) == (jobs[1], FAILED)
    for stranger in ("1", "12_2", "120"):
        with pytest.raises(NotFound):
            chosen(jobs, stranger)


def test_numbers_of_jobs_arrays_and_elements() -> None:
    assert [checked_id(text) for text in ("12", "12_3")] == ["12", "12_3"]
    for wrong in ("", "12_", "12_[0-3]", "12;id", "../1", "一", "1\n2", "12+0"):
        with pytest.raises(NotFound):
            checked_id(wrong)
    assert [element_of(key) for key in ("k", "k[3]", "k[x]", element_key("a-1", 10))] == [
        ("k", ""), ("k", "3"), ("k[x]", ""), ("a-1", "10"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("0-3%2", [0, 1, 2, 3]),
        ("2", [2]),
        ("0-2,7,9-10%5", [0, 1, 2, 7, 9, 10]),
        ("0-6:3", [0, 3, 6]),
        ("0xC", [2, 3]),
        ("1,3,...", [1, 3]),
        ("0-999999999", []),
        ("0-9999999", []),
        ("", []),
        ("x", []),
    ],
)
def test_indexes_as_slurm_writes_them(text: str, found: list[int]) -> None:
    assert indexes(text) == found


@pytest.mark.parametrize("size", [0, SIZE_MAX + 1])
def test_an_array_of_no_size_is_refused(size: int) -> None:
    with pytest.raises(Rejected):
        check_size([{}] * size)


def test_an_element_gets_its_own_variables_and_nobody_elses() -> None:
    each = [{"A": "it's", "B": "0"}, {"A": "$HOME;;\n*)"}]
    script = "\n".join([*array_lines(2), *own_variables(each), 'printf "%s|" "$PORTAL_ARRAY_INDEX" "$A" "${B-none}"'])
    said = [
        subprocess.run(["sh", "-euc", script], env={"SLURM_ARRAY_TASK_ID": index}, capture_output=True, text=True)
        for index in ("0", "1")
    ]
    assert [(done.stdout, done.stderr) for done in said] == [("0|it's|0|", ""), ("1|$HOME;;\n*)|none|", "")]
