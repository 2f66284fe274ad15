"""Starts emulators for the tests of this room, and asks them for faults. The fixtures are imported by the tests."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from portal.providers.base import Account, Adapter
from portal.providers.conformance import Bench, Target
from portal.providers.sakura_dok import SakuraDok
from portal.providers.slurm_rest import SlurmRest
from portal.providers.slurm_ssh import SlurmSsh
from tests.providers.file_server import FileServer

ROOT = Path(__file__).resolve().parents[2]
KINDS = ("sakura_dok", "slurm_rest", "slurm_ssh")
_ADAPTERS: dict[str, Callable[[Account], Adapter]] = {
    "sakura_dok": SakuraDok,
    "slurm_rest": SlurmRest,
    "slurm_ssh": SlurmSsh,
}
TARGETS = {
    "sakura_dok": Target("h100-80gb", image="docker.io/library/python:3.11", architecture="amd64"),
    "slurm_rest": Target("gb200", gpu_type="gb200", gpus_max=4, architecture="arm64"),
    "slurm_ssh": Target("gpu", gpu_type="h200", gpus_max=8, architecture="amd64"),
}


@dataclass
class Emulator:
    kind: str
    state: Path
    process: subprocess.Popen[str]
    account: Account
    control: dict[str, str]
    private: dict[str, str]

    def fault(self, **wanted: object) -> None:
        self._ask(wanted)

    def faults(self, *wanted: dict[str, object]) -> None:
        """Several at once."""
        self._ask(wanted)

    def kept_logins(self) -> list[dict[str, str]]:
        """DOK's GET /registries/."""
        token, secret = (self.account.credentials[name] for name in ("token", "secret"))
        kept: list[dict[str, str]] = httpx.get(f"{self.account.endpoint}/registries/", auth=(token, secret)).json()
        return kept

    def adapter(self, account: Account | None = None) -> Adapter:
        return _ADAPTERS[self.kind](account or self.account)

    def _ask(self, wanted: object) -> None:
        answer = httpx.post(
            self.control["url"], json=wanted, headers={"Authorization": f"Bearer {self.control['token']}"}
        )
        assert answer.status_code == 200, answer.text


def start_emulator(kind: str, state: Path, *arguments: str, port: int = 0) -> Emulator:
    process = subprocess.Popen(
        [sys.executable, "-m", "portal.providers.emulators", kind, "--state", state, "--port", str(port), *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert "ready" in process.stdout.readline()
    access = json.loads((state / "access.json").read_text())
    account = Account(access["kind"], access["endpoint"], access["credentials"], access["options"])
    return Emulator(kind, state, process, account, access["control"], access["private"])


@contextlib.contextmanager
def emulator(kind: str, *arguments: str) -> Iterator[Emulator]:
    # Not pytest's folder: its long name would be in every path that a job sees.
    with tempfile.TemporaryDirectory(prefix="emulator-", ignore_cleanup_errors=True) as folder:
        running = start_emulator(kind, Path(folder), *arguments)
        try:
            yield running
        finally:
            running.process.terminate()
            running.process.wait(20)


def bench_of(running: Emulator, store: FileServer, *, wait_s: float = 60) -> Bench:
    return Bench(running.account, running.adapter, TARGETS[running.kind], store, wait_s=wait_s)
