"""The portal's own processes, as the supervisor runs them."""

import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from portal.launcher.bootstrap import ROOT
from portal.launcher.ports import accepts
from portal.launcher.processes import Program, words
from portal.launcher.state_folder import StateFolder

PYTHON = Path(sys.executable)
# glibc gives every thread a heap of its own and returns little of it; two are as fast here and keep a process small.
FRUGAL = {"MALLOC_ARENA_MAX": "2"}
# `prepare` has just made Django's checks. Here they would load every page into processes that show none.
BACKGROUND = {**FRUGAL, "CELERY_SKIP_CHECKS": "true"}
# Celery ends when it cannot print its banner, as to a log on a full disk.
NO_BANNER = ["--quiet"]


def emulator(kind: str, state: StateFolder, *, port: int) -> Program:
    """A pretend provider that speaks the real one's protocol on loopback and truly runs the work."""
    return Program(
        name=kind,
        title=f"emulator {kind}",
        argv=[
            *words(PYTHON, "-m", "portal.providers.emulators", kind),
            *words("--state", state.emulators / kind, "--port", port),
        ],
        log=state.logs / f"{kind}.log",
        # What the demo needs to reach it is written before it listens, whatever protocol it speaks there.
        is_ready=lambda: accepts(port) and (state.emulators / kind / "access.json").exists(),
        cwd=ROOT,
    )


def prepare(state: StateFolder, environment: Mapping[str, str]) -> Program:
    """Ends by itself: migrations, static files, catalog, demo data."""
    return Program(
        name="prepare",
        title="prepare",
        argv=words(PYTHON, "manage.py", "prepare"),
        log=state.logs / "prepare.log",
        is_ready=_at_once,
        environment=environment,
        cwd=ROOT,
    )


def web(state: StateFolder, environment: Mapping[str, str], *, port: int, workers: int) -> Program:
    return Program(
        name="web",
        title="web",
        argv=[
            *words(PYTHON, "-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", port),
            *words("--workers", workers, "--blocking-threads", 4, "--no-ws", "--log-level", "warning"),
            *words("--respawn-failed-workers", "--respawn-interval", 0.5, "--workers-kill-timeout", 5),
            "portal.wsgi:application",
        ],
        log=state.logs / "web.log",
        is_ready=lambda: _answers(port),
        environment={**FRUGAL, **environment},
        cwd=ROOT,
    )


def worker(state: StateFolder, environment: Mapping[str, str], *, number: int, threads: int) -> Program:
    """Threads, because its work is waiting for providers; several processes, because each has one interpreter."""
    return Program(
        name=f"worker{number}",
        title=f"worker {number}",
        argv=[
            *words(PYTHON, "-m", "celery", *NO_BANNER, "-A", "portal.celery", "worker", "-n", f"worker{number}@%h"),
            *words("-P", "threads", "-c", threads, "-l", "WARNING"),
            # Talk among workers, which nobody listens to and which keeps an idle machine busy.
            *words("--without-gossip", "--without-mingle", "--without-heartbeat"),
        ],
        log=state.logs / f"worker{number}.log",
        is_ready=_at_once,
        environment={**BACKGROUND, **environment},
        patience_s=10,
        cwd=ROOT,
    )


def data_worker(state: StateFolder, environment: Mapping[str, str]) -> Program:
    """Copies of data, and nothing else: hashing and sending them would hold up what shares an interpreter with it."""
    return Program(
        name="data",
        title="data worker",
        argv=[
            *words(PYTHON, "-m", "celery", "-A", "portal.celery", "worker", "-n", "data@%h", "-Q", "data"),
            *words("-P", "threads", "-c", 2, "-l", "WARNING"),
            *words("--without-gossip", "--without-mingle", "--without-heartbeat"),
        ],
        log=state.logs / "data.log",
        is_ready=_at_once,
        environment={**BACKGROUND, **environment},
        patience_s=10,
        cwd=ROOT,
    )


def beat(state: StateFolder, environment: Mapping[str, str]) -> Program:
    return Program(
        name="beat",
        title="beat",
        argv=[
            *words(PYTHON, "-m", "celery", *NO_BANNER, "-A", "portal.celery", "beat", "-l", "WARNING"),
            *words("--schedule", state.beat_schedule, "--pidfile", ""),
        ],
        log=state.logs / "beat.log",
        is_ready=_at_once,
        environment={**BACKGROUND, **environment},
        cwd=ROOT,
    )


def _at_once() -> bool:
    return True


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=2):
            return True
    except OSError:
        return False
