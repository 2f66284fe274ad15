"""What the tests need from Debian, installed where that is allowed."""

import os
import platform
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from portal.launcher.errors import CannotContinue
from portal.launcher.messages import say, sentence

INIT = Path("/run/systemd/system")
TRIPLET = f"{platform.machine()}-linux-gnu"


@dataclass(frozen=True)
class Package:
    name: str
    is_there: Callable[[], bool]
    tests: str  # the message that names what cannot run without it
    is_server: bool = False  # its package starts a server of its own where an init system runs


PACKAGES = (
    Package("chromium", lambda: shutil.which(os.environ.get("CHROMIUM", "chromium")) is not None, "tests_browser"),
    Package("fonts-noto-cjk", lambda: any(Path("/usr/share/fonts").rglob("NotoSansCJK*")), "tests_fonts"),
    *(
        Package(name, Path(f"/usr/lib/{TRIPLET}/{file}").exists, "tests_documents")
        for name, file in {
            "libpangoft2-1.0-0": "libpangoft2-1.0.so.0",  # brings the rest of Pango and HarfBuzz
            "libharfbuzz-subset0": "libharfbuzz-subset.so.0",
        }.items()
    ),
    Package("bubblewrap", lambda: shutil.which("bwrap") is not None, "tests_sandbox"),
    Package(
        "rabbitmq-server",
        Path("/usr/lib/rabbitmq/bin/rabbitmq-server").exists,
        "tests_rabbitmq",
        is_server=True,
    ),
    *(
        Package(name, lambda file=file: Path(file).exists(), "tests_slurm", is_server=True)  # type: ignore[misc]
        for name, file in {
            "slurmctld": "/usr/sbin/slurmctld",
            "slurmd": "/usr/sbin/slurmd",
            "slurmrestd": "/usr/sbin/slurmrestd",
            "slurm-client": "/usr/bin/squeue",
            "slurm-wlm-jwt-plugin": f"/usr/lib/{TRIPLET}/slurm-wlm/auth_jwt.so",
            "slurmdbd": "/usr/sbin/slurmdbd",
            "slurm-wlm-mysql-plugin": f"/usr/lib/{TRIPLET}/slurm-wlm/accounting_storage_mysql.so",
            "mariadb-server": "/usr/sbin/mariadbd",
            "munge": "/usr/sbin/munged",
            "openssh-server": "/usr/sbin/sshd",
        }.items()
    ),
)


def install_missing() -> None:
    """In CI a missing package ends the run: tests that silently do not run are worse than none.

    Elsewhere nobody's machine gets a database and an SSH server that run from then on: those are named only.
    """
    in_ci = os.environ.get("CI") == "true"
    missing = [package for package in PACKAGES if not package.is_there()]
    if not missing:
        return
    names = [package.name for package in missing if in_ci or not (package.is_server and INIT.exists())]
    as_root = _as_root()
    problem = ""
    if names and shutil.which("apt-get") and as_root is not None:
        say("installing_debian", packages=" ".join(names))
        problem = _install(names, as_root)
        missing = [package for package in PACKAGES if not package.is_there()]
    for package in missing:
        say("cannot_test", package=package.name, tests=sentence(package.tests))
    if missing and in_ci:
        raise CannotContinue("debian_failed", packages=" ".join(package.name for package in missing), lines=problem)


def _as_root() -> list[str] | None:
    """What to put before a command to run it as root; None where that is not allowed without a password."""
    if os.getuid() == 0:
        return []
    if shutil.which("sudo") and subprocess.run(["sudo", "-n", "true"], capture_output=True).returncode == 0:
        return ["sudo", "-n"]
    return None


def _install(names: list[str], as_root: list[str]) -> str:
    """Returns apt's last words when it failed. The package lists are fetched only when the ones here do not do."""
    apt = [*as_root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-o", "DPkg::Lock::Timeout=300"]
    install = [*apt, "install", "-y", "--no-install-recommends", *names]
    for command in (install, [*apt, "update"], install):
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL)
        if command is install and done.returncode == 0:
            return ""
    return "\n".join(f"  {line}" for line in (done.stdout + done.stderr).strip().splitlines()[-8:])
