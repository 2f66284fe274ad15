from __future__ import annotations

from datetime import UTC, datetime

import pytest

from portal.providers.base import JobSpec, RemoteState
from portal.providers.errors import Misconfigured, Rejected
from portal.providers.slurm import (
    batch_script,
    code_of_wait_status,
    enter,
    exports,
    gpus_in,
    gpus_per_node,
    instant,
    minutes,
    one_reason,
    refusal,
    remote_state,
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


@pytest.mark.parametrize(("gpus", "nodes", "each"), [(8, 2, 4), (1, 1, 1), (0, 1, 0)])
def test_gpus_are_shared_evenly_by_the_nodes(gpus: int, nodes: int, each: int) -> None:
    assert gpus_per_node(JobSpec("k", "", "p", gpus, 60, nodes=nodes)) == each


@pytest.mark.parametrize(("gpus", "nodes"), [(3, 2), (1, 2), (4, 0)])
def test_gpus_that_cannot_be_shared_evenly_are_refused(gpus: int, nodes: int) -> None:
    with pytest.raises(Rejected) as told:
        gpus_per_node(JobSpec("k", "", "p", gpus, 60, nodes=nodes))
    assert told.value.failure == "no_capacity"


def test_seconds_of_slurm_as_instants() -> None:
    assert [instant(seconds) for seconds in (None, 0, -1, 4_000_000_000)] == [None] * 4
    assert instant(1_795_564_800) == datetime(2026, 11, 25, tzinfo=UTC)


def test_a_reason_is_one_line_and_no_reason_is_none() -> None:
    assert [one_reason(word) for word in ("None", "(null)", "N/A", "Resources", "a\n  b", "x" * 300)] == [
        "",
        "",
        "",
        "Resources",
        "a b",
        "x" * 200,
    ]


def test_a_directory_with_any_name_is_made_private_and_entered() -> None:
    assert enter("/home/a b/$(id)") == ("umask 077; mkdir -p '/home/a b/$(id)' && cd '/home/a b/$(id)' || exit 95")
    assert batch_script(["cd /w"], "echo") == "#!/bin/sh\ncd /w\necho"


def test_values_of_the_environment_are_quoted() -> None:
    assert exports({"A": "it's $HOME\n`id`"}) == "export A='it'\"'\"'s $HOME\n`id`'\n"
    with pytest.raises(Misconfigured):
        exports({"A;id": "1"})


@pytest.mark.parametrize(
    ("text", "expected", "failure"),
    [
        ("Invalid partition name specified", Misconfigured, None),
        ("User's group not permitted: access to partition DENIED", Misconfigured, None),
        ("Requested node configuration is not available", Rejected, "no_capacity"),
        ("Node count specification invalid", Rejected, "no_capacity"),
        ("Pathname of a file or directory is too long", Rejected, "portal_fault"),
    ],
)
def test_what_the_controller_says_no_to(text: str, expected: type[Exception], failure: str | None) -> None:
    refused = refusal(text, code="7")
    assert (type(refused), getattr(refused, "failure", None), refused.code) == (expected, failure, "7")
