"""`test`: the locks, the linters, the types, then pytest, whose own closing line comes last."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from portal.launcher import debian
from portal.launcher.bootstrap import ROOT
from portal.launcher.messages import say, sentence

BIN = Path(sys.executable).parent
LINTERS: dict[str, Sequence[str | Path]] = {
    "ruff check": [BIN / "ruff", "check", "--quiet", "--output-format", "concise"],
    "ruff format": [BIN / "ruff", "format", "--check", "--output-format", "concise"],
    "lint-imports": [BIN / "lint-imports", "--no-logo"],
    "mypy": [BIN / "mypy"],
}


def check_and_test(pytest_arguments: Sequence[str]) -> int:
    """With arguments for pytest only pytest runs: somebody is working on a few tests."""
    debian.install_missing()
    passed = True
    if not pytest_arguments:
        passed = check_locks()
        for name, command in LINTERS.items():
            passed = _run(name, command) and passed
    status = _pytest(pytest_arguments or side_by_side(os.cpu_count() or 1))
    return status or (0 if passed else 1)


def side_by_side(cores: int) -> list[str]:
    """Pytest's words for all tests: four processes share them, file by file (tests/conftest.py). Two for each of two
    cores, since the longest (providers, servers that are taken away) mostly wait."""
    return ["-n", "4" if cores > 1 else "3", "--no-loadscope-reorder"]


def check_locks(root: Path = ROOT) -> bool:
    """Lock files name packages and hashes, never the address of a registry."""
    began = time.monotonic()
    problems = [
        sentence("lock_has_address", file=lock.name, line=number)
        for lock in sorted(root.glob("requirements*.lock"))
        for number, line in enumerate(lock.read_text().splitlines(), start=1)
        if re.search("://", line)
    ]
    _report("locks", problems, began)
    return not problems


def _run(name: str, command: Sequence[str | Path]) -> bool:
    began = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    _report(name, [] if done.returncode == 0 else done.stdout.rstrip().splitlines() or ["?"], began)
    return done.returncode == 0


def _report(name: str, problems: Sequence[str], began: float) -> None:
    if problems:
        say("check_failed", name=name, lines="\n".join(problems))
    else:
        say("check_passed", name=name, seconds=f"{time.monotonic() - began:.1f}")


def _pytest(arguments: Sequence[str]) -> int:
    # Ctrl-C reaches pytest too; this process waits for its summary instead of ending before it.
    signal.signal(signal.SIGINT, lambda number, frame: None)
    return subprocess.run([sys.executable, "-m", "pytest", *arguments], cwd=ROOT).returncode
