"""Runs jobs as real processes, in turn, within what the provider has: the engine under all three emulators.

A job is a row in SQLite, a folder, and a process group of its own that outlives us. Nothing here polls: one thread
waits for changes, one thread per running job waits for its process.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from portal.providers.emulators.sandbox import Launch, command_line, is_sandboxed

STOP_GRACE_S = 12.0  # between TERM and KILL; the bootstrap needs some of it to save log and output
KEEP_S = 72 * 3600  # what ended longer ago is forgotten, as DOK does

# What a provider can get wrong, on request: the conformance kit has to find it.
DEFECTS = {
    "": "",
    "exit_codes_are_0": "whatever the program ended with",
    "stops_are_ignored": "a job that is to be ended goes on",
    "names_are_forgotten": "a job is kept without its name",
    "limits_are_ignored": "a job runs on beyond its time limit",
    "clock_is_ahead": "by a day",
    "ended_jobs_vanish": "as soon as they have ended",
}

# Runs the command and leaves its exit code in a file, so that the code survives our own death. A stop is meant for the
# command alone: the colon keeps this shell alive without making its child deaf.
_KEEPER = 'trap : TERM INT HUP; file=$1; shift; "$@"; echo $? >"$file.part"; mv "$file.part" "$file"'


class CannotStart(Exception):
    """`prepare` found out that this job can never run; its text is the reason that the provider tells."""


@dataclass
class Job:
    """One job as the machine knows it. Instants are POSIX seconds by the emulated clock."""

    id: str
    number: int
    name: str
    created_at: float
    gpus: int
    time_limit_s: int | None
    request: dict[str, Any] = field(repr=False)
    state: str = "waiting"  # then "running", then "ended"
    outcome: str = ""  # "exited", "stopped", "timeout", "interrupted" or "not_started"
    exit_code: int | None = None
    started_at: float | None = None
    ended_at: float | None = None
    stop_asked_at: float | None = None
    pid: int = 0
    pid_started: int = 0  # clock ticks since boot: a pid alone may belong to somebody else by now
    extra: dict[str, Any] = field(default_factory=dict)

    def elapsed_s(self, now: float) -> int:
        if self.started_at is None:
            return 0
        return max(0, int((self.ended_at or now) - self.started_at))


class Machine:
    def __init__(
        self,
        state: Path,
        *,
        gpus: int,
        running_limit: int,
        prepare: Callable[[Job, Path], Launch],
        collect: Callable[[Job, Path], None] = lambda job, folder: None,
        start_latency_s: float = 0.3,
        time_scale: float = 1.0,
        defect: str = "",
    ) -> None:
        """`prepare` says what to start; `collect` looks at the folder of a job that ended, before it is seen as ended.

        With a `time_scale` of 60 a job's minute lasts a second: limits of many minutes can be tested.
        """
        self._folder = state / "jobs"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._gpus, self._running_limit = gpus, running_limit
        self._prepare, self._collect = prepare, collect
        self._latency_s, self._scale = start_latency_s, time_scale
        self._defect = defect
        self._changed = threading.Condition(threading.RLock())
        self._closing = False
        self._watchers: dict[str, threading.Thread] = {}
        self._database = sqlite3.connect(state / "jobs.sqlite3", check_same_thread=False, isolation_level=None)
        self._database.executescript(
            "pragma journal_mode=wal; pragma synchronous=off;"
            "create table if not exists job (number integer primary key, fields text not null, request text not null)"
        )
        self._jobs: dict[str, Job] = {}
        self._load()
        threading.Thread(target=self._start_in_turn, daemon=True, name="scheduler").start()

    def submit(self, job_id: str, *, name: str, gpus: int, time_limit_s: int | None, request: dict[str, Any]) -> Job:
        """Take the job; it starts when its turn comes. An empty id becomes the job's number."""
        with self._changed:
            number = self._next_number
            self._next_number += 1
            name = "" if self._defect == "names_are_forgotten" else name
            job = Job(job_id or str(number), number, name, self._time(), gpus, time_limit_s, request)
            self._jobs[job.id] = job
            self._database.execute(
                "insert into job values (?, ?, ?)", (number, _fields(job), json.dumps(request, ensure_ascii=False))
            )
            self._changed.notify_all()
            return job

    def submit_array(
        self, size: int, *, name: str, gpus: int, time_limit_s: int | None, request: dict[str, Any]
    ) -> list[Job]:
        """Slurm's array: jobs that are called by the first one's number and their index, "12_3"."""
        with self._changed:
            first = self._next_number
            return [
                self.submit(
                    f"{first}_{index}",
                    name=name,
                    gpus=gpus,
                    time_limit_s=time_limit_s,
                    request={**request, "array": {"number": first, "index": index, "size": size}},
                )
                for index in range(size)
            ]

    def called(self, number: str) -> list[Job]:
        """The job with this id, or all that are left of the array with this number."""
        return [job for job in self.jobs() if number in (job.id, job.id.partition("_")[0])]

    def get(self, job_id: str) -> Job | None:
        return self._jobs.get(job_id)

    def jobs(self) -> list[Job]:
        """Oldest first."""
        with self._changed:
            return list(self._jobs.values())

    def free_gpus(self) -> int:
        return self._gpus - sum(job.gpus for job in self.jobs() if job.state == "running")

    def folder(self, job: Job) -> Path:
        return self._folder / job.id

    def log(self, job: Job) -> Path:
        return self.folder(job) / "log"

    def stop(self, job: Job, outcome: str = "stopped") -> None:
        """Ask for the end; a waiting job ends at once, a running one within the grace. Ended: nothing happens."""
        with self._changed:
            if job.state == "ended" or job.stop_asked_at is not None:
                return
            if self._defect == "stops_are_ignored" and outcome == "stopped":
                return
            job.stop_asked_at = self._time()
            job.outcome = outcome
            if job.state == "waiting":
                self._end(job, None)
                return
            self._save(job)
        if main := _main_process(job.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(main, signal.SIGTERM)
        timer = threading.Timer(STOP_GRACE_S, self._kill, (job,))
        timer.daemon = True
        timer.start()

    def set_time_limit(self, job: Job, time_limit_s: int) -> bool:
        """False: it has ended, or is ending."""
        with self._changed:
            if job.state == "ended" or job.stop_asked_at is not None:
                return False
            job.time_limit_s = time_limit_s
            self._save(job)
            left_s = self._left_s(job)
        if left_s is not None:  # its watcher waits until the limit that it had, and looks again then
            timer = threading.Timer(left_s, self._stop_at_limit, (job,))
            timer.daemon = True
            timer.start()
        return True

    def _stop_at_limit(self, job: Job) -> None:
        if self._left_s(job) == 0:
            self.stop(job, "timeout")

    def forget(self, job: Job) -> None:
        with self._changed:
            del self._jobs[job.id]
            self._database.execute("delete from job where number = ?", (job.number,))
        shutil.rmtree(self.folder(job), ignore_errors=True)

    def _time(self) -> float:
        return time.time() + (86_400 if self._defect == "clock_is_ahead" else 0)

    def wait_for_change(self, timeout_s: float) -> None:
        with self._changed:
            self._changed.wait(timeout_s)

    def now(self, job: Job) -> float:
        """The emulated clock, as this job lives it. Of a copy whose times were moved, moved as well."""
        if job.started_at is None:
            return self._time()
        started_at = self._jobs.get(job.id, job).started_at or job.started_at
        return job.started_at + (self._time() - started_at) * self._scale

    def close(self) -> None:
        """End what runs, as interrupted, so that no process of ours is left behind."""
        with self._changed:
            self._closing = True
            running = [job for job in self._jobs.values() if job.state == "running"]
            for job in running:
                job.outcome = job.outcome or "interrupted"
            self._changed.notify_all()
        for job in running:
            self._kill(job)
        for watcher in list(self._watchers.values()):
            watcher.join(timeout=5)

    def _load(self) -> None:
        for fields, request in self._database.execute("select fields, request from job order by number"):
            job = Job(**json.loads(fields), request=json.loads(request))
            if job.ended_at is not None and job.ended_at < self._time() - KEEP_S:
                self._database.execute("delete from job where number = ?", (job.number,))
                shutil.rmtree(self.folder(job), ignore_errors=True)
            else:
                self._jobs[job.id] = job
        self._next_number = max((job.number for job in self._jobs.values()), default=0) + 1
        for job in list(self._jobs.values()):
            if job.state == "running":
                self._watch(job, None)

    def _start_in_turn(self) -> None:
        with self._changed:
            while not self._closing:
                self._changed.wait(self._start_what_fits())

    def _start_what_fits(self) -> float | None:
        """First come, first served. Returns when to look again; None: when something changes."""
        now = self._time()
        running = [job for job in self._jobs.values() if job.state == "running"]
        free, slots = self._gpus - sum(job.gpus for job in running), self._running_limit - len(running)
        for job in self._jobs.values():
            if job.state != "waiting":
                continue
            if slots < 1 or job.gpus > free:
                return None
            if (early := job.created_at + self._latency_s - now) > 0:
                return early
            self._start(job)
            slots, free = slots - 1, free - job.gpus
        return None

    def _start(self, job: Job) -> None:
        folder = self.folder(job)
        folder.mkdir(exist_ok=True)
        try:
            launch = self._prepare(job, folder)
            with (launch.log or self.log(job)).open("wb") as log:
                process = subprocess.Popen(
                    ["/bin/sh", "-c", _KEEPER, "keeper", str(folder / "exit_code"), *command_line(launch)],
                    cwd=folder if is_sandboxed() else launch.directory,
                    env=dict(launch.environment),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        except CannotStart as reason:
            job.outcome, job.extra["reason"] = "not_started", str(reason)
            self._end(job, None)
            return
        except (OSError, ValueError) as error:  # an argument with NUL, a variable with "=" in its name, a full disk
            self.log(job).write_text(f"cannot start: {error}\n")
            job.outcome, job.started_at = "exited", self._time()
            self._end(job, 127)
            return
        job.state, job.started_at, job.pid = "running", self._time(), process.pid
        job.pid_started = _start_ticks(process.pid) or 0
        self._save(job)
        self._changed.notify_all()
        self._watch(job, process)

    def _watch(self, job: Job, process: subprocess.Popen[bytes] | None) -> None:
        watcher = threading.Thread(target=self._wait_for, args=(job, process), daemon=True, name=f"job {job.id}")
        self._watchers[job.id] = watcher
        watcher.start()

    def _wait_for(self, job: Job, process: subprocess.Popen[bytes] | None) -> None:
        """Wait for the process, ours or one that an earlier emulator started, and stop it at its limit."""
        if process is not None or _start_ticks(job.pid) == job.pid_started:
            with contextlib.suppress(ProcessLookupError):
                pidfd = os.pidfd_open(job.pid)
                try:
                    while not _ends_within(pidfd, self._left_s(job) if job.stop_asked_at is None else None):
                        self._stop_at_limit(job)
                finally:
                    os.close(pidfd)
        if process is not None:
            process.wait()
        try:
            code: int | None = int((self.folder(job) / "exit_code").read_text())
        except (OSError, ValueError):
            code = None
        with self._changed:
            job.outcome = job.outcome or ("interrupted" if code is None else "exited")
        try:
            self._collect(job, self.folder(job))
        except OSError as error:  # what cannot be collected must not keep the job running for ever
            print(f"job {job.id}: what it left cannot be collected: {error}", file=sys.stderr, flush=True)
        with self._changed:
            self._end(job, code)

    def _left_s(self, job: Job) -> float | None:
        if job.time_limit_s is None or job.started_at is None or self._defect == "limits_are_ignored":
            return None
        return max(0.0, job.started_at + job.time_limit_s / self._scale - self._time())

    def _end(self, job: Job, code: int | None) -> None:
        if self._defect == "exit_codes_are_0" and job.outcome == "exited":
            code = 0
        job.state, job.exit_code = "ended", code
        job.ended_at = self.now(job)
        self._save(job)
        if self._defect == "ended_jobs_vanish":
            self._jobs.pop(job.id, None)
        self._watchers.pop(job.id, None)
        self._changed.notify_all()

    def _save(self, job: Job) -> None:
        self._database.execute("update job set fields = ? where number = ?", (_fields(job), job.number))

    def _kill(self, job: Job) -> None:
        if job.state == "running" and _start_ticks(job.pid) == job.pid_started:
            for pid in reversed(_descendants(job.pid)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def _fields(job: Job) -> str:
    values = {item.name: getattr(job, item.name) for item in dataclasses.fields(job) if item.name != "request"}
    return json.dumps(values, ensure_ascii=False)


def _ends_within(pidfd: int, timeout_s: float | None) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    while True:
        # poll counts milliseconds in 32 bits: 24 days at most.
        left = 86_400.0 if deadline is None else min(86_400.0, deadline - time.monotonic())
        if poll.poll(max(0, left * 1000)):
            return True
        if deadline is not None and time.monotonic() >= deadline:
            return False


def _main_process(keeper: int) -> int | None:
    """The process that a container would call number 1: below our keeper and below bubblewrap itself."""
    for pid in _descendants(keeper)[1:]:
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/comm").read_text().strip() != "bwrap":
                return pid
    return None


def _descendants(pid: int) -> list[int]:
    """The process and all below it, parents first."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found = [pid]
    for parent in found:
        found += sorted(children.get(parent, []))
    return found


def _start_ticks(pid: int) -> int | None:
    """When the process started, in clock ticks since boot; None: there is none, or it is a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else int(fields[19])
