"""A double of a cluster's log-in node: SSH with a key, sbatch, squeue, sacct, scancel, and SFTP in a home of its own.

Ours, written from Slurm 22.05's manual pages and from what Debian 12's Slurm printed; it understands the options and
formats that the adapter uses, and refuses others aloud. One node of 8 GPUs in the partition "gpu". Jobs that ended are
gone from squeue after 300 s; job names need not be unique; an array's element that is ended before it starts leaves no
trace. Faults are set over a small HTTP port of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import posixpath
import re
import secrets
import shlex
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, NoReturn, cast

import asyncssh

from portal.providers.emulators import access
from portal.providers.emulators.fault_kinds import Fault, LogFault
from portal.providers.emulators.faults import Faults
from portal.providers.emulators.http_server import Answer, Request, serve
from portal.providers.emulators.machine import Job, Machine
from portal.providers.emulators.malformed_bodies import malformed
from portal.providers.emulators.sandbox import Launch, base_environment, is_sandboxed
from portal.providers.emulators.settings import Settings
from portal.providers.emulators.spoilt_logs import SpoiltLog

USER, HOME = "jga", "/home/jga"
PARTITION, GPU_TYPE, GPUS = "gpu", "h200", 8
VERSION = "slurm 22.05.8"
MEMORY_S = 300  # MinJobAge


def start(settings: Settings) -> Callable[[], None]:
    """Answer on the port; returns what ends it."""
    kept = access.read_or_make(settings.state, _new_access)
    faults = Faults()
    cluster = Cluster(settings, faults)
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True, name="ssh").start()
    server = asyncio.run_coroutine_threadsafe(_listen(settings.port, kept, cluster, faults), loop).result(30)
    faults.when_changed = lambda: loop.call_soon_threadsafe(cluster.close_doors)
    control = serve(_NothingElse(), faults, port=0, control_token=kept["control"]["token"])
    endpoint = f"127.0.0.1:{server.get_port()}"
    access.write(
        settings.state, "slurm_ssh", endpoint, f"http://127.0.0.1:{control.server_address[1]}/_emulator/fault", kept
    )
    return cluster.close


def _new_access() -> dict[str, Any]:
    user_key, host_key = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    return {
        "credentials": {
            "user": USER,
            "private_key": user_key.export_private_key().decode(),
            # Whatever the port is: the key is what counts.
            "known_hosts": f"* {host_key.export_public_key().decode().strip()}\n",
        },
        "options": {"gpu_type": GPU_TYPE, "raises_limits": "true"},
        "control": {"token": secrets.token_urlsafe(24)},
        "private": {"host_key": host_key.export_private_key().decode()},
    }


async def _listen(port: int, kept: dict[str, Any], cluster: Cluster, faults: Faults) -> asyncssh.SSHAcceptor:
    user_key = asyncssh.import_private_key(kept["credentials"]["private_key"]).convert_to_public()

    class Door(asyncssh.SSHServer):
        def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
            self._connection = conn
            cluster.open_doors.add(conn)

        def connection_lost(self, exc: Exception | None) -> None:
            cluster.open_doors.discard(self._connection)

        def begin_auth(self, username: str) -> bool:
            return True

        def public_key_auth_supported(self) -> bool:
            return True

        def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
            return username == USER and key == user_key and not faults.refusal()

    class Files(_Files):
        pass

    Files.root, Files.faults = cluster.root, faults

    async def run(process: asyncssh.SSHServerProcess[bytes]) -> None:
        await _answer(process, cluster, faults)

    return await asyncssh.create_server(
        Door,
        "127.0.0.1",
        port,
        server_host_keys=[asyncssh.import_private_key(kept["private"]["host_key"])],
        process_factory=run,
        sftp_factory=Files,
        encoding=None,
        backlog=128,
    )


async def _answer(process: asyncssh.SSHServerProcess[bytes], cluster: Cluster, faults: Faults) -> None:
    words = _without_env(shlex.split(process.command or ""))
    fault = faults.take(_operation(words))
    if fault is not None and fault.phase == "before" and await _hit(process, fault, b""):
        return
    try:
        output = cluster.run(words).encode()
        errors, code = "", 0
    except Refused as refused:
        output, errors, code = b"", refused.text, refused.code
    if fault is not None and fault.phase == "after" and await _hit(process, fault, output):
        return
    process.stdout.write(output)
    process.stderr.write(errors.encode())
    process.exit(code)


async def _hit(process: asyncssh.SSHServerProcess[bytes], fault: Fault, output: bytes) -> bool:
    """True where the command ends by the fault. A status below 256 is an exit code, another one a dead controller; 200
    is a command that went well and printed something else. `output` is the true one."""
    await asyncio.sleep(fault.latency_s)
    if not fault.fails:
        return False
    if fault.reset:
        process.channel.get_connection().abort()
        return True
    if fault.malformed:
        output = malformed(fault.malformed, output)
    elif fault.status == 200 and fault.body:
        output = fault.body.encode(errors="replace")
    elif fault.status:
        process.stderr.write(
            (fault.body or "error: Socket timed out on send/recv operation\n").encode(errors="replace")
        )
        process.exit(fault.status if fault.status < 256 else 1)
        return True
    if fault.reset_in_body:
        process.stdout.write(output[: len(output) // 2])
        process.channel.get_connection().abort()
        return True
    process.stdout.write(output)
    process.exit(0)
    return True


class Refused(Exception):
    def __init__(self, text: str, code: int = 1) -> None:
        super().__init__(text)
        self.text, self.code = text, code


class Cluster:
    """Slurm's commands, as far as the adapter uses them."""

    def __init__(self, settings: Settings, faults: Faults) -> None:
        self.root = settings.state / "root"
        (self.root / HOME.strip("/")).mkdir(parents=True, exist_ok=True)
        self._faults = faults
        self.open_doors: set[asyncssh.SSHServerConnection] = set()
        self._machine = Machine(
            settings.state,
            gpus=GPUS,
            running_limit=settings.running_limit or 64,
            prepare=self._prepare,
            time_scale=settings.time_scale,
            defect=settings.defect,
        )

    def close(self) -> None:
        self._machine.close()

    def close_doors(self) -> None:
        """End every log-in if the key was revoked. In the event loop's thread."""
        for connection in list(self.open_doors) if self._faults.refusal() else ():
            connection.abort()

    def run(self, words: list[str]) -> str:
        """What the command prints. Raises Refused."""
        name, arguments = (words[0], words[1:]) if words else ("", [])
        commands = {"sbatch": self._sbatch, "squeue": self._squeue, "sacct": self._sacct, "scancel": self._scancel}
        commands["scontrol"] = self._scontrol
        if name not in commands:
            raise Refused(f"sh: 1: {name}: not found\n", 127)
        if arguments == ["--version"]:
            return f"{VERSION}\n"
        return commands[name](arguments)

    def _sbatch(self, arguments: list[str]) -> str:
        parser = _Options("sbatch")
        for option in ("job-name", "partition", "time", "chdir", "output", "gpus-per-node", "account", "qos", "array"):
            parser.add_argument(f"--{option}", default="")
        parser.add_argument("--nodes", type=int, default=1)
        parser.add_argument("--parsable", action="store_true")
        parser.add_argument("--no-requeue", action="store_true")
        parser.add_argument("script")
        given = parser.parse_args(arguments)
        script = self.path(given.script)
        if not script.is_file():
            raise Refused(f"sbatch: error: Unable to open file {given.script}\n")
        text = script.read_text()
        if not text.startswith("#!"):
            raise Refused("sbatch: error: This does not look like a batch script.\n")
        if given.partition and given.partition != PARTITION:
            raise _submission_failed(
                f"invalid partition specified: {given.partition}", "Invalid partition name specified"
            )
        gpus = _gpus(given.gpus_per_node)
        if gpus is None or gpus > GPUS or given.nodes > 1:
            raise _submission_failed("", "Requested node configuration is not available")
        directory = self.path(given.chdir or HOME)
        if not directory.is_dir():
            raise Refused(f"sbatch: error: Unable to change directory to {given.chdir}\n")
        name, limit_s = given.job_name or "job", int(given.time) * 60 if given.time else None
        request = {"script": text, "chdir": given.chdir or HOME, "output": given.output}
        if given.array:
            match = re.fullmatch(r"0-(\d{1,3})", given.array)
            if not match:
                raise _submission_failed("", "Invalid job array specification")
            size = int(match[1]) + 1
            job = self._machine.submit_array(size, name=name, gpus=gpus, time_limit_s=limit_s, request=request)[0]
        else:
            job = self._machine.submit("", name=name, gpus=gpus, time_limit_s=limit_s, request=request)
        before = [other.number for other in self._machine.jobs() if other.number < job.number]
        number = before[-1] if before and self._faults.takes_same_id() else job.number
        return f"{number}\n" if given.parsable else f"Submitted batch job {number}\n"

    def _squeue(self, arguments: list[str]) -> str:
        parser = _Options("squeue")
        for option in ("format", "name", "jobs", "user", "states"):
            parser.add_argument(f"--{option}", default="")
        for flag in ("noheader", "array"):
            parser.add_argument(f"--{flag}", action="store_true", required=True)
        given = parser.parse_args(arguments)
        oldest_end = self._faults.now() - MEMORY_S
        jobs = [
            job for job in self._listed(given.name, given.jobs) if job.ended_at is None or job.ended_at > oldest_end
        ]
        if given.jobs and not jobs:
            raise Refused("slurm_load_jobs error: Invalid job id specified\n")
        if given.states != "all":
            jobs = [job for job in jobs if job.state != "ended"]
        return "".join(_queue_line(job, given.format) for job in jobs)

    def _sacct(self, arguments: list[str]) -> str:
        parser = _Options("sacct")
        for option in ("format", "name", "jobs", "user", "starttime", "endtime"):
            parser.add_argument(f"--{option}", default="")
        for flag in ("noheader", "parsable2", "allocations"):
            parser.add_argument(f"--{flag}", action="store_true", required=True)
        given = parser.parse_args(arguments)
        now, wrong = self._faults.now(), self._faults.of_usage()
        jobs = wrong.told(self._listed(given.name, given.jobs), ended_at=lambda job: job.ended_at, now=now)
        if given.starttime:
            if _seconds(given.starttime) > now:
                raise Refused("sacct: error: Start time requested is after end time\n")
            jobs = [job for job in jobs if (job.ended_at or now) >= _seconds(given.starttime)]
        elif not given.jobs:
            midnight = now // 86400 * 86400  # what the real one does when nothing is said
            jobs = [job for job in jobs if (job.ended_at or now) >= midnight]
        if given.endtime:
            jobs = [job for job in jobs if job.created_at < _seconds(given.endtime)]
        fields = given.format.split(",")
        waiting: dict[int, list[str]] = {}  # one line for all elements of an array that wait
        for job in jobs:
            if job.state == "waiting" and (array := job.request.get("array")):
                waiting.setdefault(array["number"], []).append(str(array["index"]))
        together = {f"{number}_{some[0]}": f"{number}_[{','.join(some)}]" for number, some in waiting.items()}
        jobs = [job for job in jobs if job.state != "waiting" or "_" not in job.id or job.id in together]
        lines = ["|".join(self._accounting_field(job, name, together) for name in fields) + "\n" for job in jobs]
        return "".join(wrong.repeated(lines))

    def _scancel(self, arguments: list[str]) -> str:
        for number in arguments:
            if not (jobs := [job for job in self._machine.called(number) if self._faults.knows(job)]):
                raise Refused(f"scancel: error: Kill job error on job id {number}: Invalid job id specified\n")
            for job in jobs:
                waited = job.state == "waiting"
                self._machine.stop(job)
                if waited and job.id == number and "_" in number:
                    self._machine.forget(job)
        return ""

    def _scontrol(self, arguments: list[str]) -> str:
        if arguments[:1] == ["update"]:
            return self._update(dict(word.split("=", 1) for word in arguments[1:]))
        if arguments != ["show", "nodes", "--oneliner"]:
            raise Refused("scontrol: error: this emulator shows nodes, and updates jobs\n")
        return f"NodeName=hr01 Arch=x86_64 CPUTot=128 Gres=gpu:{GPU_TYPE}:{GPUS} State=IDLE Partitions={PARTITION}\n"

    def _update(self, given: dict[str, str]) -> str:
        number, limit = given.pop("JobId"), int(given.pop("TimeLimit"))
        if given:
            raise Refused("Invalid job update\n")
        if not (jobs := [job for job in self._machine.called(number) if self._faults.knows(job)]):
            raise Refused(f"Invalid job id specified for job {number}\n")
        changed = [self._machine.set_time_limit(job, limit * 60) for job in jobs]
        if not all(changed):
            raise Refused(f"Job has already finished for job {number}\n")
        return ""

    def _listed(self, names: str, numbers: str) -> list[Job]:
        jobs = self._faults.listed(self._machine.jobs())
        if names:
            jobs = [job for job in jobs if job.name in names.split(",")]
        if numbers:
            jobs = [job for job in jobs if {job.id, job.id.partition("_")[0]} & set(numbers.split(","))]
        return jobs

    def _accounting_field(self, job: Job, name: str, together: dict[str, str]) -> str:
        started, ended = int(job.started_at or 0), int(job.ended_at or 0)
        match name:
            case "JobID":
                return together.get(job.id, job.id)
            case "JobName":
                return job.name
            case "State":
                return {"CANCELLED": "CANCELLED by 1000"}.get(_state(job), _state(job))
            case "ExitCode":
                code = job.exit_code or 0
                signal = 15 if job.outcome == "stopped" else max(0, code - 128)
                return f"0:{signal}" if signal else f"{code}:0"
            case "Submit":
                return str(int(job.created_at))
            case "Start":
                return str(started) if started else "Unknown"
            case "End":
                return str(ended) if ended else "Unknown"
            case "ElapsedRaw":
                elapsed = (ended or int(self._machine.now(job))) - started if started else 0
                return str(self._faults.of_usage().seconds(elapsed))
            case "AllocTRES":
                tres = f"billing=1,cpu=1,gres/gpu:{GPU_TYPE}={job.gpus},gres/gpu={job.gpus},mem=1M,node=1"
                return tres if started else ""
            case "Reason":
                return "None"
        raise Refused(f"sacct: error: Invalid field requested: {name}\n")

    def _prepare(self, job: Job, folder: Path) -> Launch:
        """The job sees its own directory at its place in the home, and nothing else of it."""
        spool = folder / "spool"
        spool.mkdir(exist_ok=True)
        script = spool / "slurm_script"
        script.write_text(job.request["script"])
        script.chmod(0o700)
        inside = job.request["chdir"]
        directory = self.path(inside)
        array = job.request.get("array")
        output = (job.request["output"] or f"slurm-{job.id}.out").replace("%a", str(array["index"]) if array else "%a")
        log = self.path(posixpath.join(inside, output))
        boxed = is_sandboxed()
        environment = {
            **base_environment(home=inside if boxed else str(directory)),
            "SLURM_JOB_ID": str(job.number),
            "SLURM_JOB_NAME": job.name,
            "SLURM_JOB_PARTITION": PARTITION,
        }
        if array:
            environment |= {"SLURM_ARRAY_JOB_ID": str(array["number"]), "SLURM_ARRAY_TASK_ID": str(array["index"])}
        if not boxed:
            return Launch([str(script)], environment, str(directory), {}, log)
        spooled = f"/var/spool/slurmd/job{job.number:05}"
        return Launch([f"{spooled}/slurm_script"], environment, inside, {inside: directory, spooled: spool}, log)

    def path(self, inside: str) -> Path:
        """Where a path of the cluster lies on our disk; what climbs out stays in."""
        return _inside(self.root, inside)


class _Files(asyncssh.SFTPServer):
    """SFTP in the cluster's own tree; a relative path begins at home."""

    root: Path
    faults: Faults

    def __init__(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        super().__init__(chan)
        self._logs: dict[object, SpoiltLog] = {}  # by open file
        self._slowly = asyncio.Lock()

    def map_path(self, path: bytes) -> bytes:
        place = _inside(self.root, path.decode()).resolve()
        if not place.is_relative_to(self.root.resolve()):  # a link that a job laid
            raise asyncssh.SFTPPermissionDenied("outside of the cluster's tree")
        return str(place).encode()

    def reverse_map_path(self, path: bytes) -> bytes:
        return b"/" + path.removeprefix(str(self.root).encode()).strip(b"/")

    def realpath(self, path: bytes) -> bytes:
        return posixpath.normpath(posixpath.join(HOME.encode(), path))

    async def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> object:
        """Faults of the log and of the artifacts hit here; an array's elements have an index before the name."""
        name = posixpath.basename(path)
        what = "log" if name.endswith(b"log") else "artifact" if name.endswith(b"output.tar.gz") else "file"
        fault = self.faults.take(what)
        if fault is not None:
            await asyncio.sleep(fault.latency_s)
            if fault.fails:
                raise asyncssh.SFTPFailure("injected fault")
        file = cast(IO[bytes], super().open(path, pflags, attrs))
        told = self.faults.of_log()
        if what == "log" and told != LogFault():
            self._logs[file] = SpoiltLog(told, lambda offset, size: os.pread(file.fileno(), size, offset))
            if told.log_cut_every_s:
                asyncio.get_running_loop().call_later(told.log_cut_every_s, self._cut)
        return file

    async def read(self, file: object, offset: int, size: int) -> bytes:
        if (told := self._logs.get(file)) is None:
            return cast(bytes, super().read(file, offset, size))
        async with self._slowly:  # a client asks for many pieces at once
            data = told.read(offset, size)
            await asyncio.sleep(told.pause_s(len(data)))
            return data

    def close(self, file: object) -> None:
        self._logs.pop(file, None)
        super().close(file)

    def _cut(self) -> None:
        if self.faults.of_log().log_cut_every_s:
            self.channel.get_connection().abort()


class _NothingElse:
    """The control port has nothing but control."""

    def operation(self, request: Request) -> str:
        return ""

    def answer(self, request: Request) -> Answer:
        return Answer(404, {"detail": "POST /_emulator/fault"})


class _Options(argparse.ArgumentParser):
    def __init__(self, command: str) -> None:
        super().__init__(prog=command, add_help=False, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        raise Refused(f"{self.prog}: error: {message}\n")


def _submission_failed(detail: str, why: str) -> Refused:
    first = f"sbatch: error: {detail}\n" if detail else ""
    return Refused(f"{first}sbatch: error: Batch job submission failed: {why}\n")


def _operation(words: list[str]) -> str:
    name = words[0] if words else ""
    if name in ("squeue", "sacct"):
        options = " ".join(words)
        return "find" if "--name=" in options else "get" if "--jobs=" in options else "list"
    if name == "sbatch":
        return "check" if "--version" in words else "submit"
    if name == "scontrol" and "update" in words:
        return "update"
    return "cancel" if name == "scancel" else "check"


def _without_env(words: list[str]) -> list[str]:
    """env(1) before the command: the variables only say how times are written, and they are always written so here."""
    if words[:1] == ["env"]:
        words = words[1:]
        while words and "=" in words[0]:
            words = words[1:]
    return words


def _queue_line(job: Job, form: str) -> str:
    return re.sub(r"%(\w)", lambda match: _queue_field(job, match[1]), form) + "\n"


def _queue_field(job: Job, letter: str) -> str:
    match letter:
        case "i":
            return job.id
        case "j":
            return job.name
        case "T":
            return _state(job)
        case "r":
            return "Resources" if job.state == "waiting" else "None"
        case "V":
            return str(int(job.created_at))
        case "S":
            return str(int(job.started_at)) if job.started_at else "N/A"
        case "e":
            return str(int(job.ended_at)) if job.ended_at else "N/A"
    return ""


def _state(job: Job) -> str:
    if job.state == "waiting":
        return "PENDING"
    if job.state == "running":
        return "COMPLETING" if job.stop_asked_at is not None else "RUNNING"
    if job.outcome == "exited":
        return "COMPLETED" if job.exit_code == 0 else "FAILED"
    return {"stopped": "CANCELLED", "timeout": "TIMEOUT"}.get(job.outcome, "NODE_FAIL")


def _gpus(text: str) -> int | None:
    kind, _, count = text.rpartition(":")
    if not text:
        return 0
    return int(count) if count.isdigit() and kind in ("", GPU_TYPE) else None


def _seconds(text: str) -> float:
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise Refused(f"sacct: error: Invalid time specification {text}\n") from None


def _inside(root: Path, path: str) -> Path:
    return root / posixpath.normpath(posixpath.join(HOME, path)).lstrip("/")
