"""Makes .venv from a hash-pinned lock, and only then is anything but the standard library there.

Each lock leaves a stamp when it is installed to the end. While an installation goes on there is a marker: one that is
found later means that it was interrupted, and .venv is made anew, because half a package looks like a whole one.
"""

import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from portal.launcher.errors import CannotContinue
from portal.launcher.messages import say

ROOT = Path(__file__).resolve().parent.parent.parent
RUNTIME_LOCK = "requirements.lock"
TEST_LOCK = "requirements-dev.lock"
INSTALLER_LOCK = "requirements-uv.lock"
_MARKER = ".installing"


def continue_in_environment(argv: Sequence[str], *, lock: str = RUNTIME_LOCK, root: Path = ROOT) -> None:
    """Return when this process runs in a complete .venv; otherwise make it and run the same command in it."""
    venv = root / ".venv"
    if not _is_complete(venv, root / lock):
        with _only_one(root):
            if not _is_complete(venv, root / lock):  # another start may have made it meanwhile
                _install(venv, root / lock)
    if Path(sys.prefix).resolve() != venv.resolve():
        python = str(venv / "bin" / "python")
        os.execv(python, [python, *argv])  # noqa: S606


def _is_complete(venv: Path, lock: Path) -> bool:
    try:
        return (
            not (venv / _MARKER).exists()
            and (venv / "bin" / "python").exists()  # a link, dead after the system's Python was replaced
            and _stamp(venv, lock).read_text() == _checksum(lock)
        )
    except OSError:
        return False


def _install(venv: Path, lock: Path) -> None:
    if not os.access(lock.parent, os.W_OK) or (venv.exists() and not os.access(venv, os.W_OK)):
        raise CannotContinue("code_folder_not_writable", path=lock.parent)
    began = time.monotonic()
    uv = _installed_uv()
    if (venv / _MARKER).exists():
        say("install_interrupted")
        shutil.rmtree(venv)
    say("installing", lock=lock.name)
    python = str(venv / "bin" / "python")
    if not (venv / "bin" / "python").exists():
        shutil.rmtree(venv, ignore_errors=True)
        _make_venv(venv, with_pip=uv is None)
    (venv / _MARKER).touch()
    if uv is None:
        uv = venv / "bin" / "uv"
        if not uv.exists():
            installer_lock = lock.parent / INSTALLER_LOCK
            pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
            _run([*pip, "--require-hashes", "-r", str(installer_lock)], step="pip install uv")
    _run(
        # Compiled now: where bytecode is not written at run time, every process would compile everything anew.
        [
            str(uv),
            "pip",
            "install",
            "-q",
            "--compile-bytecode",
            "--python",
            python,
            "--require-hashes",
            "-r",
            str(lock),
        ],
        step=f"uv pip install -r {lock.name}",
    )
    for done in _locks_within(lock):
        _stamp(venv, done).write_text(_checksum(done))
    (venv / _MARKER).unlink()
    say("installed", seconds=round(time.monotonic() - began))


def _make_venv(venv: Path, *, with_pip: bool) -> None:
    if importlib.util.find_spec("venv") is None or (with_pip and importlib.util.find_spec("ensurepip") is None):
        raise CannotContinue("no_venv_module")
    venv.mkdir()
    (venv / _MARKER).touch()  # also an interrupted `python -m venv` is seen
    python = getattr(sys, "_base_executable", sys.executable)
    _run([python, "-m", "venv", *([] if with_pip else ["--without-pip"]), str(venv)], step="python -m venv")


def _installed_uv() -> Path | None:
    """A working uv of the user's own. Some machines have a stand-in of that name that only says it is not installed."""
    found = shutil.which("uv")
    if found is None:
        return None
    try:
        works = subprocess.run([found, "--version"], capture_output=True, timeout=10).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return None
    return Path(found) if works else None


def _run(command: Sequence[str], *, step: str) -> None:
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONHOME")},
    )
    if done.returncode != 0:
        if "No space left on device" in done.stdout:
            raise CannotContinue("disk_full", path=ROOT)
        lines = "\n".join(f"  {line}" for line in done.stdout.strip().splitlines()[-12:])
        raise CannotContinue("install_failed", step=step, lines=lines)


def _locks_within(lock: Path) -> list[Path]:
    """This lock and those that it contains: the test lock has everything that the portal itself needs."""
    lines = set(lock.read_text().splitlines())
    return [other for other in lock.parent.glob("requirements*.lock") if lines >= set(other.read_text().splitlines())]


def _stamp(venv: Path, lock: Path) -> Path:
    return venv / f".{lock.name}.sha256"


def _checksum(lock: Path) -> str:
    return hashlib.sha256(lock.read_bytes()).hexdigest()


@contextmanager
def _only_one(root: Path) -> Iterator[None]:
    """Two commands started at once make one .venv; the second waits."""
    folder = os.open(root, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)
