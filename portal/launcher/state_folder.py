"""var/ (or $PORTAL_DATA): what survives a stop. Secrets, remembered ports, the data of the services, logs, one lock."""

import errno
import fcntl
import json
import os
import secrets
import shutil
import string
from base64 import urlsafe_b64encode
from dataclasses import asdict, dataclass, field
from pathlib import Path

from portal.launcher.bootstrap import ROOT
from portal.launcher.errors import CannotContinue
from portal.launcher.ports import free_port, is_free
from portal.launcher.private_files import read_json, write_private

EMULATORS = ("sakura_dok", "slurm_rest", "slurm_ssh")
LEAST_FREE_BYTES = 500 * 1024 * 1024


@dataclass
class Remembered:
    """Made on first use and then kept: losing the keys means losing what they sealed."""

    secret_key: str = field(default_factory=lambda: secrets.token_urlsafe(48))
    credentials_keys: str = field(default_factory=lambda: urlsafe_b64encode(secrets.token_bytes(32)).decode())
    installation_id: str = field(
        default_factory=lambda: "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(6))
    )
    emulator_ports: dict[str, int] = field(default_factory=dict)


class StateFolder:
    """Reading it changes nothing; `take` makes it and holds its lock until this process ends."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.logs = path / "logs"
        self.emulators = path / "emulators"
        self.postgres = path / "postgres"
        self.valkey = path / "valkey"
        self.s3 = path / "s3"
        self.s3_copies = path / "s3-copies"
        self.beat_schedule = path / "beat" / "schedule"
        self.children = path / "children.json"
        self.demo_logins = path / "demo-logins.json"
        self._secrets = path / "secrets.json"
        self._lock_path = path / "lock"
        self._lock: int | None = None

    @classmethod
    def from_environment(cls) -> "StateFolder":
        return cls(Path(os.environ.get("PORTAL_DATA") or ROOT / "var").absolute())

    def take(self, *, url: str) -> None:
        """Raises CannotContinue when it cannot be written, is full, or another start holds it."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(self._lock_path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise _refusal(error, self.path) from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CannotContinue("already_running", **self._holder()) from None
        if shutil.disk_usage(self.path).free < LEAST_FREE_BYTES:
            raise CannotContinue("disk_full", path=self.path)
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, json.dumps({"pid": os.getpid(), "url": url}).encode(), 0)
        try:
            for folder in (self.logs, self.emulators, self.beat_schedule.parent):
                folder.mkdir(exist_ok=True)
            self._remember()
        except OSError as error:
            raise _refusal(error, self.path) from None

    def release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def remembered(self) -> Remembered | None:
        """None before the first start."""
        stored = read_json(self._secrets)
        try:
            return None if stored is None else Remembered(**stored)
        except TypeError:  # not what `_remember` has written
            raise CannotContinue("secrets_unreadable", path=self._secrets) from None

    def last_url(self) -> str:
        """Where the running start, or the last one, is found."""
        return self._holder()["url"]

    def _holder(self) -> dict[str, str]:
        # Empty for the instant between taking the lock and writing into it.
        holder = read_json(self._lock_path)
        return holder if isinstance(holder, dict) else {"pid": "?", "url": ""}

    def _remember(self) -> None:
        if self._secrets.exists() and self.remembered() is None:
            # Never replace a file that may hold the only copy of a key.
            raise CannotContinue("secrets_unreadable", path=self._secrets)
        own = self.remembered() or Remembered()
        for kind in EMULATORS:
            port = own.emulator_ports.get(kind)
            if port is None or not is_free(port):
                own.emulator_ports[kind] = free_port(besides=set(own.emulator_ports.values()))
        write_private(self._secrets, asdict(own))


def _refusal(error: OSError, folder: Path) -> CannotContinue:
    path = error.filename or folder
    if error.errno == errno.ENOSPC:
        return CannotContinue("disk_full", path=folder)
    if error.errno in (errno.EEXIST, errno.EISDIR):
        return CannotContinue("in_the_way", path=path)
    return CannotContinue("folder_not_writable", path=path)
