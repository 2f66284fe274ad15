"""One child process: started, asked whether it is ready, stopped, and found again after a kill -9.

Start children from the main thread only: the kernel sends the death signal when the *thread* that forked ends.
"""

import ctypes
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from portal.launcher.errors import CannotContinue

POLL_S = 0.03
LOG_TAIL_LINES = 12
_MISSING = re.compile(r"\b(?:ModuleNotFoundError: No module named '([^']+)'|ImportError: (.+))")
_PR_SET_PDEATHSIG = 1
# Loaded before any fork: between fork and exec nothing may import or allocate more than it must.
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def _do_nothing() -> None:
    pass


@dataclass(frozen=True)
class Program:
    """How to run one process; enough to start it again after it died."""

    name: str
    title: str  # as the user reads it, the same in every language
    argv: Sequence[str]
    log: Path
    is_ready: Callable[[], bool]
    environment: Mapping[str, str] = field(default_factory=dict)
    before_start: Callable[[], None] = _do_nothing
    after_end: Callable[[], None] = _do_nothing
    # Also sent by the kernel when the supervisor itself is killed.
    stop_signal: signal.Signals = signal.SIGTERM
    # Some programs have a gentler way to end than dying with their parent.
    death_signal: signal.Signals | None = None
    # How long after the stop signal SIGKILL follows.
    patience_s: float = 8.0
    cwd: Path | None = None


def words(*parts: object) -> list[str]:
    """For an argv of texts, paths and numbers."""
    return [str(part) for part in parts]


class Child:
    """A program that runs, or did."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self._process: subprocess.Popen[bytes] | None = None
        self._log_begins = 0

    def start(self) -> None:
        """Raises CannotContinue when a file or folder that it needs cannot be used."""
        try:
            self._start()
        except (OSError, subprocess.SubprocessError) as error:
            # One of Popen's names the program itself, or its working directory.
            path, problem = getattr(error, "filename", None) or "?", getattr(error, "strerror", None) or error
            if path == self.program.argv[0]:
                raise CannotContinue("program_broken", name=self.program.title, path=path, problem=problem) from error
            raise CannotContinue("child_not_started", name=self.program.title, path=path, problem=problem) from error

    def _start(self) -> None:
        program = self.program
        program.log.parent.mkdir(parents=True, exist_ok=True)
        program.before_start()
        death_signal = program.death_signal or program.stop_signal
        supervisor = os.getpid()

        def die_with_parent() -> None:
            if _LIBC is not None:
                _LIBC.prctl(_PR_SET_PDEATHSIG, int(death_signal))
                if os.getppid() != supervisor:  # it died between fork and here
                    os._exit(1)

        with program.log.open("ab") as log:
            self._log_begins = log.tell()
            self._process = subprocess.Popen(
                program.argv,
                env={**os.environ, **program.environment},
                cwd=program.cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C in the terminal reaches the supervisor alone
                preexec_fn=die_with_parent,
            )

    @property
    def pid(self) -> int:
        return self._started.pid

    @property
    def exit_status(self) -> int | None:
        """None while it runs; negative for the signal that ended it."""
        return self._started.poll()

    def wait_until_ready(self, *, timeout_s: float = 60) -> None:
        """Raises CannotContinue with the log's last lines when it ends instead, or does not get ready in time."""
        deadline = time.monotonic() + timeout_s
        while not self.is_ready():
            if self.exit_status is not None:
                raise self.failure("child_ended", status=self.exit_status)
            if time.monotonic() > deadline:
                raise self.failure("child_not_ready", seconds=int(timeout_s))
            time.sleep(POLL_S)

    def is_ready(self) -> bool:
        return self.exit_status is None and self.program.is_ready()

    def ask_to_stop(self) -> None:
        if self.exit_status is None:
            self._started.send_signal(self.program.stop_signal)

    def kill(self) -> None:
        """At once, and without waiting."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def wait_until_stopped(self, *, patience_s: float | None = None) -> None:
        with suppress(subprocess.TimeoutExpired):
            self._started.wait(self.program.patience_s if patience_s is None else patience_s)
        self.end_group()

    def stop(self) -> None:
        self.ask_to_stop()
        self.wait_until_stopped()

    def end_group(self) -> None:
        """Kill the process and whatever it started in its own group and left behind."""
        self.kill()
        self._started.wait()
        self.program.after_end()

    def failure(self, message: str, **values: object) -> CannotContinue:
        """The message with path and last lines of its log, unless those say that a package is missing."""
        lines = self.last_lines()
        missing = [match for line in lines if (match := _MISSING.search(line))]
        module = missing[-1][1] or missing[-1][2] if missing else ""
        if module and module.partition(".")[0] != "portal":  # one of ours that is missing is a fault of the code
            return CannotContinue("module_missing", module=module)
        told = "\n".join(f"  {line}" for line in lines[-LOG_TAIL_LINES:])
        return CannotContinue(message, name=self.program.title, log=self.program.log, lines=told, **values)

    def last_lines(self) -> list[str]:
        """The end of what it has written since it was started last."""
        try:
            with self.program.log.open("rb") as log:
                size = log.seek(0, os.SEEK_END)
                log.seek(max(self._log_begins, size - 20_000))
                return log.read().decode(errors="replace").splitlines()
        except OSError:
            return []

    @property
    def _started(self) -> "subprocess.Popen[bytes]":
        if self._process is None:
            raise RuntimeError(f"{self.program.name} was never started")
        return self._process


def remember(children: Sequence[Child], path: Path) -> None:
    """Write pid and start time of each, for `end_leftovers` of a later start."""
    rows = [
        {"name": c.program.name, "title": c.program.title, "pid": c.pid, "started": started_at(c.pid)} for c in children
    ]
    new = path.with_suffix(".new")
    new.write_text(json.dumps(rows))
    new.replace(path)


def end_leftovers(path: Path, *, timeout_s: float = 10) -> list[str]:
    """End the children of a supervisor that was killed; return their titles.

    A pid may belong to somebody else by now: only pid *and* start time name a process.
    """
    try:
        rows = json.loads(path.read_text())
        ended = [row for row in rows if row["started"] and started_at(row["pid"]) == row["started"]]
    except (OSError, ValueError, TypeError, KeyError):  # cut short, or not ours
        return []
    for row in ended:
        if row["name"] == "postgres":  # fast shutdown: its data needs no recovery then
            os.kill(row["pid"], signal.SIGINT)
        else:
            os.killpg(row["pid"], signal.SIGKILL)
    deadline = time.monotonic() + timeout_s
    while any(started_at(row["pid"]) == row["started"] for row in ended):
        if time.monotonic() > deadline:
            for row in ended:
                if started_at(row["pid"]) == row["started"]:
                    os.killpg(row["pid"], signal.SIGKILL)
            break
        time.sleep(POLL_S)
    path.unlink(missing_ok=True)
    return [row["title"] for row in ended]


def started_at(pid: int) -> str | None:
    """Boot and clock ticks since then; None when it is gone, a zombie, or there is no /proc."""
    try:
        # The command name may hold blanks and brackets; the fields after its last bracket are numbers.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    state, ticks = fields[0], fields[19]
    return None if state in "ZX" else f"{boot}:{ticks}"
