"""What Slurm's two interfaces share: the words of its states, how it counts GPUs and time, what it is given to run.

Source: Slurm 22.05.8 of Debian 12, tried by hand, and SchedMD/slurm's documentation of job states (read 2026-11-23).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from portal.providers.base import JobSpec, RemoteState
from portal.providers.errors import Misconfigured, ProviderError, Rejected

_WAITING = {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD"}
_ENDED = {
    "COMPLETED": RemoteState.SUCCEEDED,
    "FAILED": RemoteState.FAILED,
    "CANCELLED": RemoteState.CANCELLED,
    "TIMEOUT": RemoteState.TIMED_OUT,
    "DEADLINE": RemoteState.TIMED_OUT,
    "OUT_OF_MEMORY": RemoteState.OUT_OF_MEMORY,
    "NODE_FAIL": RemoteState.INTERRUPTED,
    "BOOT_FAIL": RemoteState.INTERRUPTED,
    "LAUNCH_FAILED": RemoteState.INTERRUPTED,
    "RECONFIG_FAIL": RemoteState.INTERRUPTED,
    "PREEMPTED": RemoteState.INTERRUPTED,
    "REVOKED": RemoteState.INTERRUPTED,
}
_REASONS_OF_NOTHING = {"None", "(null)", "N/A"}

# An account's option: `true` where its Slurm user may raise limits of running jobs. scontrol(1): lowering them is
# everybody's, raising them the administrators' (AdminLevel=Operator in sacctmgr).
RAISES_LIMITS = "raises_limits"

# slurm_errno.h, and what sbatch and slurmrestd print for them.
_ACCOUNT_WRONG = re.compile(
    r"invalid partition|no default partition|invalid account|invalid qos|access.{0,20}denied"
    r"|invalid authentication|user not found|authentication failure",
    re.IGNORECASE,
)
_NO_CAPACITY = re.compile(
    r"node configuration is not available|partition configuration not available|more processors requested"
    r"|node count specification invalid|required node not available|requested nodes.{0,30}not in partition",
    re.IGNORECASE,
)


def is_whole(name: str) -> bool:
    """Whether accounting knows a job's start. [T] Of one that ends within seconds it may learn the end first: the
    record then has no name ("allocation" in its place), and of an array's element only the bare number."""
    return name not in ("", "allocation")


def remote_state(words: Iterable[str]) -> RemoteState:
    """The base state and its flags, as Slurm writes them ("CANCELLED by 1000", ["COMPLETED", "COMPLETING"])."""
    known = {match[0] for word in words if (match := re.match(r"[A-Z_]+", word))}
    if known & {"COMPLETING", "STAGE_OUT"}:
        return RemoteState.RUNNING  # its processes are still being ended
    for word, state in _ENDED.items():
        if word in known:
            return state
    if known & _WAITING:
        return RemoteState.QUEUED
    # RUNNING, SUSPENDED, STOPPED, RESIZING, SIGNALING. A word that is new to us ends nothing.
    return RemoteState.RUNNING if known else RemoteState.QUEUED


def one_reason(reason: str) -> str:
    return "" if reason in _REASONS_OF_NOTHING else " ".join(reason.split())[:200]


def code_of_wait_status(status: int) -> int:
    """What a shell would show: 768 is exit 3, 15 is killed by signal 15 and shown as 143."""
    return status >> 8 & 0xFF or (128 + (status & 0x7F) if status & 0x7F else 0)


def gpus_in(tres: str) -> int:
    """GPUs in "cpu=1,mem=1M,gres/gpu=2,gres/gpu:h200=2": the total where it is there, else the sum of the types."""
    counts: dict[str, int] = {}
    for part in tres.split(","):
        if match := re.fullmatch(r"gres/gpu(:[^=]*)?=(\d{1,6})", part.strip()):
            counts[match[1] or ""] = int(match[2])
    return counts[""] if "" in counts else sum(counts.values())


def minutes(time_limit_s: int) -> int:
    """Slurm counts limits in minutes: rounded up, so that nobody gets less than asked for."""
    return max(1, -(-time_limit_s // 60))


def gpus_per_node(spec: JobSpec) -> int:
    """Raises Rejected where the GPUs do not divide among the nodes."""
    if spec.nodes < 1 or spec.gpus % spec.nodes:
        raise Rejected(f"{spec.gpus} GPUs cannot be shared evenly by {spec.nodes} nodes", failure="no_capacity")
    return spec.gpus // spec.nodes


def batch_script(lines: Iterable[str], script: str) -> str:
    """The bootstrap behind some lines of preparation. Slurm fails a script that does not begin with "#!"."""
    return "\n".join(["#!/bin/sh", *lines, script])


def exports(environment: Mapping[str, str]) -> str:
    """Variables as lines of shell. Raises Misconfigured for a name that no shell takes."""
    if wrong := [name for name in environment if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name)]:
        raise Misconfigured(f"{wrong[0]!r} is not the name of an environment variable")
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in environment.items())


def enter(directory: str, *, of_element: bool = False) -> str:
    """A line of shell that makes the directory, or an array element's own in it, private, and goes there."""
    quoted = shlex.quote(directory) + ('/"$SLURM_ARRAY_TASK_ID"' if of_element else "")
    return f"umask 077; mkdir -p {quoted} && cd {quoted} || exit 95"


def instant(seconds: int | None) -> datetime | None:
    """Slurm's epoch seconds; 0 and "infinite" are none."""
    if not seconds or not 0 < seconds < 4_000_000_000:
        return None
    return datetime.fromtimestamp(seconds, UTC)


def is_over(text: str) -> bool:
    """[T] "Job has already finished", of a change that comes too late."""
    return "already finished" in text.lower()


def refusal(text: str, *, code: str) -> ProviderError:
    """What Slurm's controller said no to, in words."""
    if _ACCOUNT_WRONG.search(text):
        return Misconfigured(f"Slurm refuses this account: {text}", code=code)
    if _NO_CAPACITY.search(text):
        return Rejected(f"Slurm has no such machine: {text}", failure="no_capacity", code=code)
    return Rejected(f"Slurm refuses the job: {text}", code=code)
