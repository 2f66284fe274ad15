"""The Adapter of a Slurm cluster that is reached as its users reach it: commands over SSH, files by SFTP.

A job's directory is `work_dir`/key: job.sh, log, work/ (claimed by the bootstrap), output.tar.gz, and pushed/ where the
account's machines fetch nothing themselves. The elements of an array share it: job.sh, and 3.log, 3.work/ and
3.output.tar.gz of the fourth.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from portal.providers.architectures import KnownArchitectures, refuse_others
from portal.providers.base import (
    Account,
    Adapter,
    Arrays,
    Artifacts,
    DataPush,
    FinalLog,
    JobSpec,
    LiveLog,
    LogPiece,
    MoreTime,
    RemoteJob,
    RemoteState,
    RemoteUsage,
    UsageStatement,
)
from portal.providers.errors import Misconfigured, NotFound, OutcomeUnknown, Unavailable
from portal.providers.redaction import without
from portal.providers.slurm import RAISES_LIMITS, minutes
from portal.providers.slurm_arrays import age, check_size, checked_id, chosen, element_of, elements_in, with_wholes
from portal.providers.slurm_containers import ContainerRuntime, container_runtime
from portal.providers.slurm_ssh.client import SshClient
from portal.providers.slurm_ssh.translation import (
    PUSHED,
    SACCT_FORMAT,
    SQUEUE_FORMAT,
    accounted_jobs,
    architectures_by_partition,
    element_file,
    environment_files,
    has_no_accounting,
    is_already_ended,
    is_list,
    is_unknown_job,
    job_script,
    queued_jobs,
    sbatch_command,
    sbatch_error,
    slurm_version,
    submitted_number,
    update_error,
)

LOOK_BACK = timedelta(days=35)  # longer than any job may run
# [T] Accounting learns of an element's end up to seconds after the controller; only it knows the exit code.
ACCOUNTING_LAG = timedelta(seconds=30)
BLOCK_BYTES = 4 << 20


class SlurmSsh(Adapter, Arrays, LiveLog, FinalLog, Artifacts, DataPush, MoreTime, UsageStatement):
    """Options: `work_dir` (default jga-jobs; relative to the home directory, or absolute), `account`, `qos`,
    `gpu_type` (this cluster's own name of its GPUs; wins over the job's), `container_runtime` (slurm_containers.py),
    `staging` (`url`: machines fetch their inputs by address; `push`: they reach nothing outside, and get all by SFTP
    before the job is handed over), `raises_limits` (slurm.RAISES_LIMITS)."""

    option_names = frozenset({
        "work_dir", "account", "qos", "gpu_type", "container_runtime", "staging", RAISES_LIMITS,
    })  # fmt: skip
    listing_lag_s = 0.0  # slurmctld answers from memory
    id_variable = "SLURM_JOB_ID"
    shares_disk = True

    def __init__(self, account: Account) -> None:
        self._ssh = SshClient(account)
        self._options = account.options
        self._work_dir_wanted = account.options.get("work_dir") or "jga-jobs"
        self._work_dir_known = ""
        self._runtime = container_runtime(account.options)
        self.runs_images = self._runtime is not ContainerRuntime.NONE
        self._architectures = KnownArchitectures(self._ask_architectures)
        staging = account.options.get("staging") or "url"
        if staging not in ("url", "push"):
            raise Misconfigured("the option staging must be url or push")
        self.pushes = staging == "push"
        self.gives_time = account.options.get(RAISES_LIMITS) == "true"
        self._has_accounting = True
        self._lock = threading.Lock()

    def check(self) -> str:
        """`sbatch --version`, and the work directory is made."""
        finished = self._ssh.run(["sbatch", "--version"])
        version = slurm_version(finished.exit_code, finished.output)
        self._ssh.make_directory(self._work_dir())
        self._architectures.of("")  # so that the first job need not wait for it
        return f"{version} as {self._ssh.user}, container runtime: {self._runtime.value}"

    def submit(self, spec: JobSpec) -> RemoteJob:
        """mkdir, upload, sbatch --parsable. A directory that exists means: somebody was here before, so look first."""
        return self._submit(spec, ())

    def submit_array(self, spec: JobSpec, each: Sequence[Mapping[str, str]]) -> RemoteJob:
        """The same with sbatch --array."""
        check_size(each)
        return self._submit(spec, each)

    def array_jobs(self, remote_id: str) -> list[RemoteJob]:
        """squeue and sacct by --jobs, where the number of an array brings all of it."""
        if not (elements := elements_in(self._jobs_of(remote_id), remote_id)):
            raise NotFound("Slurm does not know this array")
        return elements

    def _submit(self, spec: JobSpec, each: Sequence[Mapping[str, str]]) -> RemoteJob:
        if spec.architecture:
            refuse_others(spec, self._architectures.of(spec.plan))
        spec = replace(spec, gpu_type=self._options.get("gpu_type") or spec.gpu_type)
        directory = self._directory(spec.key)
        command = sbatch_command(spec, directory=directory, options=self._options, size=len(each))
        script = job_script(spec, runtime=self._runtime, size=len(each))
        environments = environment_files(spec, each)
        if not self._ssh.make_directory(directory):
            if found := self.find(spec.key):
                return found[0]
            if self._ssh.exists(f"{directory}/{element_file('0' if each else '', 'work')}/.portal"):
                raise OutcomeUnknown("a copy of this job has started, and Slurm does not list it yet")
        try:
            self._ssh.write({f"{directory}/job.sh": script.encode()}, mode=0o700)
            self._ssh.write({f"{directory}/{name}": data for name, data in environments.items()}, mode=0o600)
        except NotFound:
            raise Unavailable("the job's directory vanished") from None
        finished = self._ssh.run(command, creates=True)
        if finished.exit_code != 0:
            raise sbatch_error(finished.exit_code, without(finished.errors, spec.environment.values())[:300])
        number = submitted_number(finished.output)
        if not number:
            raise OutcomeUnknown("sbatch printed no job number")
        return RemoteJob(number, spec.key, RemoteState.QUEUED)

    def find(self, key: str) -> list[RemoteJob]:
        """squeue and sacct by --name, oldest first."""
        since = datetime.now(UTC) - LOOK_BACK
        told = list(with_wholes(self._merged([f"--name={key}"], [f"--name={key}", _start(since)]), key))
        jobs = [job for job in told if job.remote_id]
        if told and not jobs:
            raise Unavailable("a job of this key has no number")  # it is there: nobody may send it again
        return sorted(jobs, key=age)

    def get(self, remote_id: str) -> RemoteJob:
        """squeue and sacct by --jobs: the first forgets 300 s after the end, the second knows codes and seconds."""
        return chosen(self._jobs_of(remote_id), remote_id)

    def list_jobs(self, key_prefix: str, *, since: datetime) -> Iterator[RemoteJob]:
        """Two commands, whatever the number of jobs."""
        whole_second = since.replace(microsecond=0)  # Slurm counts no finer
        if whole_second > datetime.now(UTC):
            return  # [T] sacct calls it an error
        for job in self._merged([], [_start(since)]):
            if not job.remote_id or not job.key.startswith(key_prefix):
                continue
            if job.created_at is None or job.created_at >= whole_second:
                yield job

    def cancel(self, remote_id: str) -> None:
        """scancel: TERM, and KILL after the cluster's KillWait."""
        try:
            finished = self._ssh.run(["scancel", checked_id(remote_id)])
        except NotFound:
            return
        if finished.exit_code == 0 or is_unknown_job(finished.errors) or is_already_ended(finished.errors):
            return
        raise Unavailable(f"scancel ended with {finished.exit_code}", code=str(finished.exit_code))

    def set_time_limit(self, remote_id: str, *, time_limit_s: int) -> None:
        """scontrol update."""
        words = ["scontrol", "update", f"JobId={checked_id(remote_id)}", f"TimeLimit={minutes(time_limit_s)}"]
        finished = self._ssh.run(words)
        if finished.exit_code != 0:
            raise update_error(finished.exit_code, finished.errors)

    def read_log(self, job: RemoteJob, *, offset: int, max_bytes: int) -> LogPiece:
        """The job's log file by SFTP, from `offset` on. Not there yet: nothing."""
        data = b""
        try:
            data = self._ssh.read(self._file(job.key, "log"), offset=offset, max_bytes=max_bytes)
        except NotFound:
            if not self._ssh.exists(self._directory(element_of(job.key)[0])):
                raise NotFound("the job's directory is gone") from None
        return LogPiece(data, offset + len(data))

    def fetch_log(self, job: RemoteJob) -> Iterator[bytes]:
        """The job's log file by SFTP. A job that never started has none: NotFound."""
        path = self._file(job.key, "log")
        if not self._ssh.exists(path):
            raise NotFound("the job left no log")
        return self._ssh.pieces(path)

    def fetch_artifacts(self, job: RemoteJob) -> Iterator[bytes] | None:
        """output.tar.gz, which the bootstrap packs before it ends."""
        path = self._file(job.key, "output.tar.gz")
        return self._ssh.pieces(path) if self._ssh.exists(path) else None

    def push(self, key: str, name: str, pieces: Callable[[int], Iterator[bytes]], *, size_bytes: int) -> None:
        """By SFTP, a block after the other; the file has its name only when it is whole."""
        directory = self._pushed(key)
        target, part = f"{directory}/{name}", f"{directory}/{name}.part"
        if size_bytes > BLOCK_BYTES and self._ssh.size_of(target) == size_bytes:
            return
        self._ssh.make_directory(directory)
        had = self._ssh.size_of(part) or 0
        # The pieces of one block travel beside each other: of the last one some may be missing in its middle.
        offset = max(0, had - 1) // BLOCK_BYTES * BLOCK_BYTES if had <= size_bytes else 0
        try:
            for block in _blocks(pieces(offset)):
                self._ssh.write_at(part, block, offset=offset)
                offset += len(block)
            if offset != size_bytes:
                raise Unavailable("the file to push has another size than it should have")
            self._ssh.rename(part, target)
        except NotFound:
            raise Unavailable("the job's directory vanished") from None

    def take_back(self, key: str) -> None:
        self._ssh.remove_directory(self._pushed(key))

    def usage(self, *, since: datetime, until: datetime) -> Iterator[RemoteUsage]:
        """sacct: elapsed seconds x allocated GPUs of every job that ended in the time."""
        if since > datetime.now(UTC):
            return
        for job in self._accounted([_start(since), f"--endtime={_date(until)}"]):
            if not job.remote_id or not job.gpu_seconds or not job.started_at or not job.ended_at:
                continue
            if not since <= job.ended_at < until:
                continue
            yield RemoteUsage(job.remote_id, job.remote_id, job.key, job.gpu_seconds, job.started_at, job.ended_at)

    def close(self) -> None:
        self._ssh.close()

    def _jobs_of(self, remote_id: str) -> list[RemoteJob]:
        """The job, the element, or all elements of the array that has this number."""
        chosen_by = [f"--jobs={checked_id(remote_id)}"]
        return self._merged(chosen_by, chosen_by)

    def _ask_architectures(self) -> Mapping[str, Collection[str]]:
        """scontrol show nodes."""
        finished = self._ssh.run(["scontrol", "show", "nodes", "--oneliner"])
        return architectures_by_partition(finished.output) if finished.exit_code == 0 else {}

    def _merged(self, queue_filter: list[str], accounting_filter: list[str]) -> list[RemoteJob]:
        """What the controller and accounting know: accounting wins for what has ended, it knows codes and seconds."""
        queued = self._queued(queue_filter)  # first: what ends in between is told by accounting, with its exit code
        jobs = {job.remote_id: job for job in self._accounted(accounting_filter)}
        for job in queued:
            known = jobs.get(job.remote_id)
            if known is None or not known.state.is_final:
                jobs[job.remote_id] = self._until_accounted(job)
        return list(jobs.values())

    def _until_accounted(self, job: RemoteJob) -> RemoteJob:
        """What has run and ended a moment ago still runs, until accounting tells how it ended."""
        if not self._has_accounting or not job.started_at or not job.ended_at:
            return job
        if job.ended_at < datetime.now(UTC) - ACCOUNTING_LAG:
            return job
        return replace(job, state=RemoteState.RUNNING, reason="", ended_at=None)

    def _queued(self, filters: list[str]) -> list[RemoteJob]:
        command = ["squeue", "--noheader", "--array", f"--user={self._ssh.user}", "--states=all"]
        finished = self._ssh.run([*command, f"--format={SQUEUE_FORMAT}", *filters])
        if finished.exit_code != 0:
            if is_unknown_job(finished.errors):
                return []
            raise Unavailable(f"squeue ended with {finished.exit_code}", code=str(finished.exit_code))
        if not is_list(finished.output, separators=SQUEUE_FORMAT.count("|")):
            raise Unavailable("squeue printed no list of jobs")
        return list(queued_jobs(finished.output))

    def _accounted(self, filters: list[str]) -> list[RemoteJob]:
        if not self._has_accounting:
            return []
        command = ["sacct", "--noheader", "--parsable2", "--allocations", f"--user={self._ssh.user}"]
        finished = self._ssh.run([*command, f"--format={SACCT_FORMAT}", *filters])
        if finished.exit_code != 0:
            if has_no_accounting(finished.errors):
                self._has_accounting = False
                return []
            raise Unavailable(f"sacct ended with {finished.exit_code}", code=str(finished.exit_code))
        if not is_list(finished.output, separators=SACCT_FORMAT.count(",")):
            raise Unavailable("sacct printed no list of jobs")
        return list(accounted_jobs(finished.output))

    def _file(self, key: str, name: str) -> str:
        array_key, index = element_of(key)
        return f"{self._directory(array_key)}/{element_file(index, name)}"

    def _directory(self, key: str) -> str:
        if not key or "/" in key or key.startswith("."):
            raise NotFound("the job carries no key of ours")
        return f"{self._work_dir()}/{key}"

    def _pushed(self, key: str) -> str:
        return f"{self._directory(key)}/{PUSHED}"

    def _work_dir(self) -> str:
        with self._lock:
            if not self._work_dir_known:
                home = "" if self._work_dir_wanted.startswith("/") else f"{self._ssh.home().rstrip('/')}/"
                self._work_dir_known = f"{home}{self._work_dir_wanted.rstrip('/')}"
            return self._work_dir_known


def _blocks(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """At least one, which may be empty; all but the last are full."""
    waiting = bytearray()
    for piece in pieces:
        waiting += piece
        while len(waiting) > BLOCK_BYTES:
            yield bytes(waiting[:BLOCK_BYTES])
            del waiting[:BLOCK_BYTES]
    yield bytes(waiting)


def _start(since: datetime) -> str:
    return f"--starttime={_date(since)}"


def _date(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")  # commands run with TZ=UTC
