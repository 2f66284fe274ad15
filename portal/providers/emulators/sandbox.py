"""What a job's process sees: bubblewrap where it works, the plain machine where it does not."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

_READ_ONLY = ["/usr", "/etc/ssl", "/etc/alternatives", "/etc/fonts", "/etc/hosts", "/etc/localtime"]
_READ_ONLY += ["/etc/nsswitch.conf", "/etc/passwd", "/etc/group", "/etc/resolv.conf"]
_LINKED = ["/bin", "/lib", "/lib32", "/lib64", "/sbin"]  # links into /usr on a merged system, folders on an older one
_WALLS = ["--unshare-user", "--uid", "1000", "--gid", "1000", "--unshare-pid", "--as-pid-1", "--unshare-ipc"]
_WALLS += ["--unshare-uts", "--hostname", "gpu-node", "--die-with-parent", "--proc", "/proc", "--dev", "/dev"]
_WALLS += ["--tmpfs", "/tmp"]  # before all binds: our Python or a job's folder may lie below it


@dataclass(frozen=True)
class Launch:
    """One process to start: the emulator kinds say what, this module says how."""

    argv: list[str]
    environment: Mapping[str, str] = field(repr=False)
    directory: str  # as the process sees it
    folders: Mapping[str, Path]  # path as the process sees it -> our folder, writable
    log: Path | None = None  # where its output goes; None: the machine's own place


def is_sandboxed() -> bool:
    """True where bubblewrap is installed and this machine lets it work (some containers and kernels do not)."""
    return not _missing()


def why_not() -> str:
    """One plain sentence where jobs run without a sandbox; empty: they run in one."""
    reason = _missing()
    return reason and f"Jobs run without a sandbox, with all that this user may read and write: {reason}."


def command_line(launch: Launch) -> list[str]:
    """The argv that starts it. The network is shared, so that a loopback store can be reached."""
    if not is_sandboxed():
        return launch.argv
    argv = [_bwrap(), *_WALLS, *_system()]
    for inside, folder in launch.folders.items():
        argv += ["--bind", str(folder), inside]
    return [*argv, "--chdir", launch.directory, "--", *launch.argv]


def base_environment(*, home: str) -> dict[str, str]:
    """What every job has besides its own variables: our Python first, so that `python3` knows numpy and its friends."""
    return {
        "PATH": f"{Path(sys.prefix) / 'bin'}:/usr/local/bin:/usr/bin:/bin",
        "HOME": home,
        "LANG": "C.UTF-8",
        "MPLCONFIGDIR": "/tmp/matplotlib" if is_sandboxed() else f"{home}/.matplotlib",
    }


@functools.cache
def _missing() -> str:
    """Why there is no sandbox; empty: there is one."""
    if os.environ.get("EMULATOR_SANDBOX") == "off":
        return "EMULATOR_SANDBOX is off"
    if not _bwrap():
        return "bubblewrap (bwrap) is not installed"
    probe = subprocess.run(
        [_bwrap(), *_WALLS, *_system(), "--", sys.executable, "-c", ""],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=20,
    )
    if probe.returncode == 0:
        return ""
    said = probe.stderr.strip().splitlines() or [f"it ends with {probe.returncode}"]
    return f"bubblewrap does not work here ({said[-1]})"


@functools.cache
def _bwrap() -> str:
    """Its path by our PATH, not by a job's; empty: it is not installed."""
    return shutil.which("bwrap") or ""


@functools.cache
def _system() -> tuple[str, ...]:
    """Arguments that show the operating system and our Python, read only, at their own paths."""
    arguments: list[str] = []
    for path in _LINKED:
        if Path(path).is_symlink():
            arguments += ["--symlink", str(Path(path).readlink()), path]
        elif Path(path).exists():
            arguments += ["--ro-bind", path, path]
    for path in [*_READ_ONLY, sys.prefix, sys.base_prefix]:
        if Path(path).exists() and not (path != "/usr" and path.startswith("/usr/")):
            arguments += ["--ro-bind", path, path]
    return tuple(arguments)
