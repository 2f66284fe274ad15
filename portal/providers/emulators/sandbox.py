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
    return _bubblewrap() is not None


def command_line(launch: Launch) -> list[str]:
    """The argv that starts it. The network is shared, so that a loopback store can be reached."""
    bwrap = _bubblewrap()
    if bwrap is None:
        return launch.argv
    argv = [bwrap, *_WALLS, *_system(), "--tmpfs", "/tmp"]
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
def _bubblewrap() -> str | None:
    bwrap = shutil.which("bwrap")
    if bwrap is None or os.environ.get("EMULATOR_SANDBOX") == "off":
        return None
    probe = subprocess.run(
        [bwrap, *_WALLS, *_system(), "--tmpfs", "/tmp", "--", sys.executable, "-c", ""],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=20,
    )
    return bwrap if probe.returncode == 0 else None


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
