"""Makes .venv from a hash-pinned lock, and only then is anything but the standard library there.

Each lock leaves a stamp when it is installed to the end. While an installation goes on there is a marker: one that is
found later means that it was interrupted, and .venv is made anew, because half a package looks like a whole one.
Only a folder that was made here is ever deleted, and one that a person made and filled is used as it is.
"""

import fcntl
import hashlib
import importlib.util
import os
import re
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
_OURS = ".made-by-manage.py"
_PACKAGES = ("django", "celery", "allauth")  # whoever has these runs in an environment made for the portal


def continue_in_environment(argv: Sequence[str], *, lock: str = RUNTIME_LOCK, root: Path = ROOT) -> None:
    """For `start` and `test`: make .venv where it is not complete, and run the same command in it."""
    venv = root / ".venv"
    if _has_packages() and (_is_production() or not (_runs(venv) or os.access(root, os.W_OK))):
        return  # an image, or a folder that belongs to root: the environment is somewhere else
    if not _is_complete(venv, root / lock) and not _is_somebodys(venv):
        with _only_one(root):
            if not _is_complete(venv, root / lock):  # another start may have made it meanwhile
                _install(venv, root / lock)
    _enter(venv, argv)


def enter_environment(argv: Sequence[str], *, root: Path = ROOT) -> None:
    """For every other command: run it in .venv where there is one. Nothing is installed."""
    venv = root / ".venv"
    if _has_packages() and (_is_production() or not _runs(venv)):
        return
    if not _runs(venv):
        raise CannotContinue("not_installed")
    _enter(venv, argv)


def _enter(venv: Path, argv: Sequence[str]) -> None:
    if Path(sys.prefix).resolve() == venv.resolve():
        return
    python = str(venv / "bin" / "python")
    try:
        os.execv(python, [python, *argv])  # noqa: S606
    except OSError as error:
        raise CannotContinue("venv_cannot_run", path=venv, problem=error.strerror) from None


def _is_production() -> bool:
    return os.environ.get("PORTAL_MODE") == "production"


def _has_packages() -> bool:
    """Of the running interpreter."""
    return all(importlib.util.find_spec(name) is not None for name in _PACKAGES)


def _runs(venv: Path) -> bool:
    # bin/python is a link, dead after the system's Python was replaced; without pyvenv.cfg it is just that Python.
    return (venv / "bin" / "python").exists() and (venv / "pyvenv.cfg").exists()


def _is_somebodys(venv: Path) -> bool:
    """Made and filled by a person or an image, never by this file."""
    return _runs(venv) and not (venv / _OURS).exists() and not any(venv.glob(".requirements*.sha256"))


def _is_complete(venv: Path, lock: Path) -> bool:
    try:
        return not (venv / _MARKER).exists() and _runs(venv) and _stamp(venv, lock).read_text() == _checksum(lock)
    except OSError:
        return False


def _install(venv: Path, lock: Path) -> None:
    if not os.access(lock.parent, os.W_OK) or (venv.exists() and not os.access(venv, os.W_OK)):
        raise CannotContinue("code_folder_not_writable", path=lock.parent)
    began = time.monotonic()
    uv = _installed_uv()
    if (venv / _MARKER).exists():
        _remove(venv)
        say("install_interrupted")
    say("installing", lock=lock.name)
    python = str(venv / "bin" / "python")
    if not _runs(venv):
        _remove(venv)
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


def _remove(venv: Path) -> None:
    if (venv / _OURS).exists() and not venv.is_symlink():
        shutil.rmtree(venv)
    elif venv.is_symlink() or venv.exists():
        raise CannotContinue("not_our_venv", path=venv)


def _make_venv(venv: Path, *, with_pip: bool) -> None:
    if importlib.util.find_spec("venv") is None or (with_pip and importlib.util.find_spec("ensurepip") is None):
        raise CannotContinue("no_venv_module")
    venv.mkdir()
    (venv / _OURS).touch()
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


def is_for_developers(module: str, *, root: Path = ROOT) -> bool:
    """Is it in the tests' lock alone?"""
    test, runtime = (
        set(re.findall(r"^([a-z0-9.-]+)==", (root / lock).read_text(), re.MULTILINE))
        for lock in (TEST_LOCK, RUNTIME_LOCK)
    )
    return module.lower().replace("_", "-") in test - runtime


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
