"""What squeue and sacct print, as ours, and what sbatch is given: pure functions.

Formats are asked for field by field with "|" between, the job's name last: it is the one field that may hold anything.
Times come as epoch seconds (SLURM_TIME_FORMAT=%s). Sources: Slurm 22.05 squeue(1), sacct(1), sbatch(1).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from portal.providers.base import JobSpec, RemoteJob, RemoteState
from portal.providers.errors import Misconfigured, OutcomeUnknown, ProviderError, Unavailable
from portal.providers.slurm import (
    batch_script,
    gpus_in,
    gpus_per_node,
    instant,
    minutes,
    one_reason,
    refusal,
    remote_state,
)

PUSHED = "pushed"  # the folder in a job's directory that holds what was pushed

SQUEUE_FORMAT = "%i|%T|%r|%V|%S|%e|%j"
SACCT_FORMAT = "JobIDRaw,State,ExitCode,Submit,Start,End,ElapsedRaw,AllocTRES,Reason,JobName"

_NOT_REACHED = re.compile(r"unable to contact slurm controller|connect failure|connection refused", re.IGNORECASE)
_NO_ACCOUNTING = re.compile(r"accounting storage is disabled", re.IGNORECASE)


def sbatch_command(spec: JobSpec, *, directory: str, options: Mapping[str, str]) -> list[str]:
    """sbatch(1). Raises Rejected for GPUs that cannot be shared by the nodes."""
    command = ["sbatch", "--parsable", f"--job-name={spec.key}", f"--partition={spec.plan}", f"--nodes={spec.nodes}"]
    if spec.gpus:
        kind = f"{spec.gpu_type}:" if spec.gpu_type else ""
        command.append(f"--gpus-per-node={kind}{gpus_per_node(spec)}")
    for name in ("account", "qos"):
        if options.get(name):
            command.append(f"--{name}={options[name]}")
    command += [f"--time={minutes(spec.time_limit_s)}", f"--chdir={directory}", f"--output={directory}/log"]
    return [*command, "--no-requeue", f"{directory}/job.sh"]


def job_script(spec: JobSpec) -> str:
    """job.sh: starts in the job's directory, whose `environment` it reads and removes. The work is done one below."""
    lines = [
        # [T] sacct shows exit 137 as 9:0, as if it were exit 9; a script that dies of the signal itself is 0:9.
        "trap 'code=$?; trap - EXIT TERM INT",
        "[ $code -le 128 ] || kill -$((code - 128)) $$ 2>/dev/null; exit $code' EXIT",
        "umask 077",
        "[ ! -e environment ] || . ./environment",
        "rm -f environment",
        f'[ ! -e {PUSHED}/manifest ] || export PORTAL_MANIFEST_FILE="$PWD/{PUSHED}/manifest"',
        'PORTAL_WORK_DIR="$PWD/work" PORTAL_OUTPUT_ARCHIVE="$PWD/output.tar.gz" PORTAL_CLEAN_UP=1',
        "export PORTAL_WORK_DIR PORTAL_OUTPUT_ARCHIVE PORTAL_CLEAN_UP",
    ]
    return batch_script(lines, spec.script)


def environment_file(environment: Mapping[str, str]) -> str:
    """Variables as lines of shell. Raises Misconfigured for a name that no shell takes."""
    if wrong := [name for name in environment if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name)]:
        raise Misconfigured(f"{wrong[0]!r} is not the name of an environment variable")
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in environment.items())


def submitted_number(output: str) -> str:
    """The job's number in what `sbatch --parsable` prints ("17" or "17;cluster"); empty: there is none."""
    match = re.fullmatch(r"(\d{1,18})(;\S+)?", output.strip())
    return match[1] if match else ""


def sbatch_error(exit_code: int, errors: str) -> ProviderError:
    """What a failed sbatch means. Only its own "submission failed" is a certain no."""
    if exit_code in (126, 127):
        return Misconfigured("there is no sbatch on the log-in node", code=str(exit_code))
    if _NOT_REACHED.search(errors):
        return Unavailable("Slurm's controller cannot be reached", code=str(exit_code))
    text = errors.rpartition("error:")[2].strip()
    if re.search(r"timed out|zero bytes|unexpected message", errors, re.IGNORECASE):
        return OutcomeUnknown(f"sbatch got no answer: {text}", code=str(exit_code))
    if "submission failed" in errors or errors.startswith("sbatch: error:"):
        return refusal(text, code=str(exit_code))
    return OutcomeUnknown(f"sbatch ended with {exit_code}", code=str(exit_code))


def is_unknown_job(errors: str) -> bool:
    return "invalid job id" in errors.lower()


def is_already_ended(errors: str) -> bool:
    return "already completing or completed" in errors.lower()


def has_no_accounting(errors: str) -> bool:
    return bool(_NO_ACCOUNTING.search(errors))


def queued_jobs(output: str) -> Iterator[RemoteJob]:
    """squeue's lines. A waiting job's start and a running job's end are forecasts: left out."""
    for line in output.splitlines():
        fields = line.split("|", 6)
        if len(fields) != 7 or not fields[0].isdigit():
            continue
        number, state_word, reason, submitted, started, ended, name = fields
        state = remote_state([state_word])
        start, end = _at(started), _at(ended)
        # [T] A job that was cancelled while it waited has its end as its start, or a forecast after it.
        never_ran = state is RemoteState.QUEUED or (
            state is RemoteState.CANCELLED and start is not None and end is not None and start >= end
        )
        yield RemoteJob(
            remote_id=number,
            key=name,
            state=state,
            reason=one_reason(reason),
            created_at=_at(submitted),
            started_at=None if never_ran else start,
            ended_at=end if state.is_final else None,
        )


def accounted_jobs(output: str) -> Iterator[RemoteJob]:
    """sacct's lines, allocations only."""
    for line in output.splitlines():
        fields = line.split("|", 9)
        if len(fields) != 10 or not fields[0].isdigit():
            continue
        number, state_word, exit_code, submitted, started, ended, elapsed, tres, reason, name = fields
        state = remote_state([state_word])
        # [T] A job that was cancelled while it waited has a start here too; nothing was allocated to it.
        never_ran = state is RemoteState.QUEUED or (state.is_final and not tres)
        yield RemoteJob(
            remote_id=number,
            key=name,
            state=state,
            reason=one_reason(reason),
            exit_code=_exit_code(exit_code) if state.is_final else None,
            created_at=_at(submitted),
            started_at=None if never_ran else _at(started),
            ended_at=_at(ended) if state.is_final else None,
            gpu_seconds=int(elapsed) * gpus_in(tres) if state.is_final and re.fullmatch(r"\d{1,12}", elapsed) else None,
        )


def _exit_code(text: str) -> int | None:
    """sacct's "3:0" is exit 3, "0:15" killed by signal 15."""
    match = re.fullmatch(r"(\d{1,5}):(\d{1,3})", text)
    if not match:
        return None
    return 128 + int(match[2]) if int(match[2]) else int(match[1])


def _at(text: str) -> datetime | None:
    """Epoch seconds; or ISO in UTC from a Slurm that does not know the format. "N/A", "Unknown": none."""
    if re.fullmatch(r"\d{1,12}", text):
        return instant(int(text))
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError:
        return None
