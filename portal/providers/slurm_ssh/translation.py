"""What squeue and sacct print, as ours, and what sbatch is given: pure functions.

Formats are asked for field by field with "|" between, the job's name last: it is the one field that may hold anything.
An array's element is "12_3"; sacct shows those that wait as one, "12_[4-7%2]".
Times come as epoch seconds (SLURM_TIME_FORMAT=%s). Sources: Slurm 22.05 squeue(1), sacct(1), sbatch(1).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

from portal.providers.architectures import architecture
from portal.providers.base import JobSpec, RemoteJob, RemoteState
from portal.providers.errors import Misconfigured, NotFound, OutcomeUnknown, ProviderError, Unavailable
from portal.providers.slurm import (
    batch_script,
    exports,
    gpus_in,
    gpus_per_node,
    instant,
    is_over,
    is_whole,
    minutes,
    one_reason,
    refusal,
    remote_state,
)
from portal.providers.slurm_arrays import array_lines, as_element, indexes
from portal.providers.slurm_containers import ContainerRuntime, work_of

PUSHED = "pushed"  # the folder in a job's directory that holds what was pushed

SQUEUE_FORMAT = "%i|%T|%r|%V|%S|%e|%j"
SACCT_FORMAT = "JobID,State,ExitCode,Submit,Start,End,ElapsedRaw,AllocTRES,Reason,JobName"

_NUMBER = re.compile(r"[0-9]{1,18}")
_NOT_REACHED = re.compile(r"unable to contact slurm controller|connect failure|connection refused", re.IGNORECASE)
_ABOUT_A_JOB = re.compile(r"([A-Za-z][A-Za-z/(),. ]{0,200}) for job [0-9]")
_NO_ACCOUNTING = re.compile(r"accounting storage is disabled", re.IGNORECASE)


def sbatch_command(spec: JobSpec, *, directory: str, options: Mapping[str, str], size: int = 0) -> list[str]:
    """sbatch(1). With a `size` it is an array. Raises Rejected for GPUs that cannot be shared by the nodes."""
    command = ["sbatch", "--parsable", f"--job-name={spec.key}", f"--partition={spec.plan}", f"--nodes={spec.nodes}"]
    if spec.gpus:
        kind = f"{spec.gpu_type}:" if spec.gpu_type else ""
        command.append(f"--gpus-per-node={kind}{gpus_per_node(spec)}")
    for name in ("account", "qos"):
        if options.get(name):
            command.append(f"--{name}={options[name]}")
    if size:
        command.append(f"--array=0-{size - 1}")
    log = element_file("%a" if size else "", "log")
    command += [f"--time={minutes(spec.time_limit_s)}", f"--chdir={directory}", f"--output={directory}/{log}"]
    return [*command, "--no-requeue", f"{directory}/job.sh"]


def element_file(index: str, name: str) -> str:
    """A file of the job's directory: `log`, or an array's "3.log"."""
    return f"{index}.{name}" if index else name


def job_script(spec: JobSpec, *, runtime: ContainerRuntime = ContainerRuntime.NONE, size: int = 0) -> str:
    """job.sh: starts in the job's directory, whose `environment` it reads and removes. The work is done one below.

    An array's elements share the directory: each has files of its own there, named as `element_file` names them.
    """
    own = functools.partial(element_file, "$SLURM_ARRAY_TASK_ID" if size else "")
    lines = [
        # [T] sacct shows exit 137 as 9:0, as if it were exit 9; a script that dies of the signal itself is 0:9.
        "trap 'code=$?; trap - EXIT TERM INT",
        "[ $code -le 128 ] || kill -$((code - 128)) $$ 2>/dev/null; exit $code' EXIT",
        "umask 077",
        f"[ ! -e {own('environment')} ] || . ./{own('environment')}",
        f"rm -f {own('environment')}",
        f'[ ! -e {PUSHED}/manifest ] || export PORTAL_MANIFEST_FILE="$PWD/{PUSHED}/manifest"',
        f'PORTAL_WORK_DIR="$PWD/{own("work")}" PORTAL_OUTPUT_ARCHIVE="$PWD/{own("output.tar.gz")}" PORTAL_CLEAN_UP=1',
        "export PORTAL_WORK_DIR PORTAL_OUTPUT_ARCHIVE PORTAL_CLEAN_UP",
    ]
    return batch_script(lines + (array_lines(size) if size else []), work_of(spec, runtime))


def environment_files(spec: JobSpec, each: Sequence[Mapping[str, str]]) -> dict[str, bytes]:
    """Variables as lines of shell, by the file's name. Raises Misconfigured for a name that no shell takes."""
    if not each:
        return {"environment": exports(spec.environment).encode()}
    return {
        element_file(str(index), "environment"): exports({**spec.environment, **variables}).encode()
        for index, variables in enumerate(each)
    }


def submitted_number(output: str) -> str:
    """The job's number in what `sbatch --parsable` prints ("17" or "17;cluster"); empty: there is none."""
    match = re.fullmatch(r"([0-9]{1,18})(;\S+)?", output.strip())
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


def update_error(exit_code: int, errors: str) -> ProviderError:
    """What a failed `scontrol update` of a job means. [T] "Invalid job id specified for job 9", "Job has already
    finished for job 9"; where it may have been done after all, Unavailable."""
    if exit_code in (126, 127):
        return Misconfigured("there is no scontrol on the log-in node", code=str(exit_code))
    said = _ABOUT_A_JOB.search(errors)
    if said is None or re.search(r"timed out|zero bytes|unexpected message", said[1], re.IGNORECASE):
        return Unavailable(f"scontrol ended with {exit_code}", code=str(exit_code))
    if is_unknown_job(said[1]) or is_over(said[1]):
        return NotFound("the job has ended", code=str(exit_code))
    return refusal(said[1].strip(), code=str(exit_code))


def slurm_version(exit_code: int, output: str) -> str:
    """ "slurm 22.05.8", of what `sbatch --version` prints; Debian says "slurm-wlm".

    Raises Misconfigured where no Slurm is there, Unavailable where it does not run now.
    """
    if exit_code in (126, 127):
        raise Misconfigured("there is no sbatch on the log-in node", code=str(exit_code))
    if exit_code != 0:
        raise Unavailable(f"sbatch --version ended with {exit_code}", code=str(exit_code))
    text = output.strip()
    if not re.fullmatch(r"slurm(-\w+)? [0-9][\w.+~-]{0,40}", text, re.ASCII):
        raise Misconfigured("what answers to sbatch on the log-in node is not Slurm's, or prints more than its version")
    return text


def is_unknown_job(errors: str) -> bool:
    return "invalid job id" in errors.lower()


def is_already_ended(errors: str) -> bool:
    return "already completing or completed" in errors.lower()


def has_no_accounting(errors: str) -> bool:
    return bool(_NO_ACCOUNTING.search(errors))


def is_list(output: str, *, separators: int) -> bool:
    """Whether the command told of jobs, or of none. Other words are no empty list."""
    return not output.strip() or any(line.count("|") >= separators for line in output.splitlines())


def architectures_by_partition(output: str) -> dict[str, set[str]]:
    """Of scontrol's lines, "NodeName=n1 Arch=aarch64 ... Partitions=gpu,all". A new node has no Arch yet."""
    known: dict[str, set[str]] = {}
    for line in output.splitlines():
        fields = dict(word.split("=", 1) for word in line.split() if "=" in word)
        for partition in fields.get("Partitions", "").split(",") if "Arch" in fields else []:
            known.setdefault(partition, set()).add(architecture(fields["Arch"]))
    return known


def queued_jobs(output: str) -> Iterator[RemoteJob]:
    """squeue's lines. A waiting job's start and a running job's end are forecasts: left out. A line without a number
    is a job without id."""
    for line in output.splitlines():
        fields = line.split("|", 6)
        if len(fields) != 7:
            continue
        ids = _numbers(fields[0]) or [""]
        _, state_word, reason, submitted, started, ended, name = fields
        state = remote_state([state_word])
        start, end = _at(started), _at(ended)
        # [T] A job that was cancelled while it waited has its end as its start, or a forecast after it.
        never_ran = state is RemoteState.QUEUED or (
            state is RemoteState.CANCELLED and start is not None and end is not None and start >= end
        )
        job = RemoteJob(
            remote_id=ids[0],
            key=name,
            state=state,
            reason=one_reason(reason),
            created_at=_at(submitted),
            started_at=None if never_ran else start,
            ended_at=end if state.is_final else None,
        )
        yield from _elements(job, ids)


def accounted_jobs(output: str) -> Iterator[RemoteJob]:
    """sacct's lines, allocations only, as soon as they are whole. A line without a number is a job without id."""
    for line in output.splitlines():
        fields = line.split("|", 9)
        if len(fields) != 10 or not is_whole(fields[9]):
            continue
        ids = _numbers(fields[0]) or [""]
        _, state_word, exit_code, submitted, started, ended, elapsed, tres, reason, name = fields
        state = remote_state([state_word])
        # [T] A job that was cancelled while it waited has a start here too; nothing was allocated to it.
        never_ran = state is RemoteState.QUEUED or (state.is_final and not tres)
        job = RemoteJob(
            remote_id=ids[0],
            key=name,
            state=state,
            reason=one_reason(reason),
            exit_code=_exit_code(exit_code) if state.is_final else None,
            created_at=_at(submitted),
            started_at=None if never_ran else _at(started),
            ended_at=_at(ended) if state.is_final else None,
            gpu_seconds=int(elapsed) * gpus_in(tres) if state.is_final and re.fullmatch(r"\d{1,12}", elapsed) else None,
        )
        yield from _elements(job, ids)


def _numbers(text: str) -> list[str]:
    """ "12", "12_3", or each of "12_[4-7%2]"; nothing for a step or what is no number."""
    match = re.fullmatch(r"(\d{1,18})(?:_(?:(\d{1,7})|\[([^\]]*)\]))?", text, re.ASCII)
    if not match:
        return []
    waiting = match[2] or match[3]
    return [match[1]] if waiting is None else [f"{match[1]}_{index}" for index in indexes(waiting)]


def _elements(job: RemoteJob, ids: Sequence[str]) -> Iterator[RemoteJob]:
    for number, _, index in (one.partition("_") for one in ids):
        yield as_element(job, number, int(index)) if index else job


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
