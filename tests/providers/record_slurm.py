"""Records anew what Debian's slurmrestd answers: `.venv/bin/python -m tests.providers.record_slurm`, as root.

Eight jobs live on a private cluster (real_slurm.py) for a minute and a half. What tells of the machine, of people or
of tokens is taken out before anything is written.
"""

from __future__ import annotations

import json
import platform
import re
import socket
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from portal.providers.base import Account, JobSpec
from portal.providers.slurm_rest import SlurmRest
from portal.providers.slurm_rest.translation import submission
from tests.providers.real_slurm import Cluster, cluster, missing

VERSION = "v0.0.38"
RECORDED = Path(__file__).parent / "slurm_rest" / "recorded" / VERSION
SPEC = JobSpec("", "exit 0", "gpu", 2, 600, gpu_type="h200")


@dataclass
class Recorder:
    folder: Path
    account: Account
    source: str

    def ask(
        self,
        name: str,
        method: str,
        path: str,
        *,
        body: object = None,
        params: Mapping[str, str] | None = None,
        token: str = "",
    ) -> Any:
        """Ask once, and store status and body under this name."""
        headers = {
            "X-SLURM-USER-NAME": self.account.credentials["user"],
            "X-SLURM-USER-TOKEN": token or self.account.credentials["token"],
        }
        answer = httpx.request(
            method, self.account.endpoint + path, params=params, json=body, headers=headers, timeout=30
        )
        try:
            content = answer.json()
        except ValueError:
            content = answer.text
        self._store(name, {"from": self.source, "status": answer.status_code, "body": content})
        return content

    def _store(self, name: str, answer: dict[str, Any]) -> None:
        text = json.dumps(answer, ensure_ascii=False)
        for private, public in (
            (self.account.options["work_dir"], "/work/jobs"),
            (socket.gethostname().partition(".")[0], "node1"),
            (self.account.credentials["user"], "portal"),
            (" ".join((platform.system(), platform.release(), platform.version())), "Linux"),
        ):
            text = re.sub(rf"(?<![A-Za-z0-9]){re.escape(private)}(?![A-Za-z0-9])", public, text)
        assert self.account.credentials["token"] not in text
        (self.folder / f"{name}.json").write_text(text + "\n")


def record(running: Cluster, folder: Path) -> None:
    account = running.rest_account()
    today = datetime.now(UTC).date().isoformat()
    recorder = Recorder(folder, account, f"recorded from {running.command('slurmd', '-V').strip()} of Debian, {today}")
    adapter = SlurmRest(account)

    def body_of(key: str, script: str, *, gpus: int = 2) -> dict[str, Any]:
        spec = replace(SPEC, key=key, script=script, gpus=gpus)
        return submission(spec, version=VERSION, work_dir=account.options["work_dir"], options=account.options)

    def submit(key: str, script: str, **options: Any) -> str:
        return adapter.submit(replace(SPEC, key=key, script=script, **{"gpus": 1, **options})).remote_id

    recorder.ask("ping", "GET", f"/slurm/{VERSION}/ping")
    recorder.ask("version_unknown", "GET", "/slurm/v0.0.42/ping")
    accepted = recorder.ask(
        "submit_accepted", "POST", f"/slurm/{VERSION}/job/submit", body=body_of("jga-r-ok", "sleep 1")
    )
    recorder.ask(
        "submit_impossible", "POST", f"/slurm/{VERSION}/job/submit", body=body_of("jga-r-none", "exit 0", gpus=64)
    )
    odd = body_of("jga-r-odd", "exit 0")
    odd["job"]["no_such_key"] = 1
    recorder.ask("submit_malformed", "POST", f"/slurm/{VERSION}/job/submit", body=odd)
    submit("jga-r-limit", "sleep 300", time_limit_s=60)
    submit("jga-r-exit", "exit 3")
    submit("jga-r-killed", "kill -9 $$")
    cancelled = submit("jga-r-cancelled", "sleep 300")
    submit("jga-r-running", "sleep 300")
    submit("jga-r-pending", "sleep 300", gpus=8)
    completed = str(accepted["job_id"])
    _wait(lambda: adapter.get(cancelled).started_at is not None and adapter.get(completed).state.is_final)
    recorder.ask("cancel", "DELETE", f"/slurm/{VERSION}/job/{cancelled}")
    _wait(lambda: adapter.get(cancelled).state.is_final)
    recorder.ask("nodes", "GET", f"/slurm/{VERSION}/nodes")
    recorder.ask("job_completed", "GET", f"/slurm/{VERSION}/job/{completed}")
    recorder.ask("job_unknown", "GET", f"/slurm/{VERSION}/job/4711")
    recorder.ask("accounted_unknown", "GET", f"/slurmdb/{VERSION}/job/4711")
    recorder.ask(
        "token_expired", "GET", f"/slurm/{VERSION}/jobs", token=running.rest_account(lifespan_s=-5).credentials["token"]
    )
    recorder.ask("token_forged", "GET", f"/slurm/{VERSION}/jobs", token="no-token")
    _wait(lambda: any(job.key == "jga-r-limit" and job.state.is_final for job in adapter.find("jga-r-limit")))
    time.sleep(2)  # until accounting knows it too
    recorder.ask("jobs", "GET", f"/slurm/{VERSION}/jobs")
    recorder.ask(
        "accounted_jobs", "GET", f"/slurmdb/{VERSION}/jobs", params={"start_time": f"uts{int(time.time()) - 600}"}
    )
    adapter.close()


def _wait(condition: Callable[[], bool], *, timeout_s: float = 150) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.5)


if __name__ == "__main__":
    if reason := missing():
        raise SystemExit(reason)
    RECORDED.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="slurm-", ignore_cleanup_errors=True) as place,
        cluster(Path(place)) as made,
    ):
        record(made, RECORDED)
