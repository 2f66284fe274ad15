"""Starts emulators for the tests of this room, and asks them for faults. The fixtures are imported by the tests."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from portal.providers.base import Account, Adapter, Artifacts, JobSpec, RemoteJob, RemoteState
from portal.providers.bootstrap import Manifest, bootstrap_script, render_manifest
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
_PLANS = {"sakura_dok": ("h100-80gb", ""), "slurm_rest": ("gb200", "gb200"), "slurm_ssh": ("gpu", "h200")}


@dataclass
class Emulator:
    kind: str
    state: Path
    process: subprocess.Popen[str]
    account: Account
    control: dict[str, str]
    private: dict[str, str]

    def fault(self, **wanted: object) -> None:
        answer = httpx.post(
            self.control["url"], json=wanted, headers={"Authorization": f"Bearer {self.control['token']}"}
        )
        assert answer.status_code == 200, answer.text

    def adapter(self, account: Account | None = None) -> Adapter:
        return _ADAPTERS[self.kind](account or self.account)


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


@dataclass
class Provider:
    """One provider under test: its adapter, and the store that its jobs reach."""

    emulator: Emulator
    adapter: Adapter
    store: FileServer

    @property
    def kind(self) -> str:
        return self.emulator.kind

    def manifest(self, key: str, command: str, **more: object) -> Manifest:
        """Output and log go the way that the provider offers."""
        puts = not isinstance(self.adapter, Artifacts)
        return Manifest(
            job=key,
            command=command,
            put_output_url=self.store.url(f"{key}/output") if puts else "",
            put_log_url=self.store.url(f"{key}/log") if puts else "",
            log_every_s=1,
            **more,  # type: ignore[arg-type]
        )

    def spec(self, key: str, command: str, *, time_limit_s: int = 600, **more: object) -> JobSpec:
        manifest = self.manifest(key, command, **more)
        plan, gpu_type = _PLANS[self.kind]
        return JobSpec(
            key=key,
            script=bootstrap_script(),
            plan=plan,
            gpus=1,
            time_limit_s=time_limit_s,
            image="docker.io/library/python:3.11",
            environment={"PORTAL_MANIFEST_URL": self.store.put(f"{key}/manifest", render_manifest(manifest))},
            gpu_type=gpu_type,
        )

    def wait(self, remote_id: str, *, until: Callable[[RemoteJob], bool] = lambda job: job.state.is_final) -> RemoteJob:
        deadline = time.monotonic() + 60
        while True:
            job = self.adapter.get(remote_id)
            if until(job):
                return job
            assert time.monotonic() < deadline, job
            time.sleep(0.1)

    def run(self, key: str, command: str, **more: object) -> RemoteJob:
        return self.wait(self.adapter.submit(self.spec(key, command, **more)).remote_id)  # type: ignore[arg-type]

    def wait_until_running(self, remote_id: str) -> RemoteJob:
        return self.wait(remote_id, until=lambda job: job.state is not RemoteState.QUEUED)
