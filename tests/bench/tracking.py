"""One round of tracking 10,000 running jobs of one provider account: calls to the provider, SQL statements, seconds.

    .venv/bin/python -m tests.bench.tracking [--jobs 10000]

Starts its own PostgreSQL, Valkey and S3, fills them with running jobs, and lets portal.jobs.tracking ask three servers
that speak DOK's and slurmrestd's wire and a log-in node's, and know so many jobs. No process runs behind these jobs:
what is measured is the portal's side.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncssh

GOALS = "goals: <= 100 provider calls and <= 60 SQL statements a round of 10,000 jobs"
PAGE = 100
BOOTSTRAP = "x" * 12_000  # every DOK listing carries the command of each task back


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=10_000)
    options = parser.parse_args()
    from portal.launcher.services import start_postgres, start_s3, start_valkey

    folder = Path(tempfile.mkdtemp(prefix="portal-bench-"))
    services = [start_postgres(folder / "pg"), start_valkey(folder / "valkey"), start_s3(folder / "s3")]
    try:
        environment = {
            **os.environ,
            **{k: v for service in services for k, v in service.environment.items()},
            "PORTAL_MODE": "demo", "PORTAL_DATA": str(folder), "SECRET_KEY": "bench", "PORTAL_URL": "http://localhost",
            "DJANGO_SETTINGS_MODULE": "portal.settings", "LOG_LEVEL": "WARNING",
        }  # fmt: skip
        code = f"import django; django.setup(); from tests.bench import tracking; tracking.measure({options.jobs})"
        subprocess.run([sys.executable, "-c", code], env=environment, check=True)
        print(GOALS)
    finally:
        for service in reversed(services):
            service.stop()
        shutil.rmtree(folder, ignore_errors=True)


def measure(jobs: int) -> None:
    from django.core.management import call_command

    from tests.bench.filling import fill

    call_command("migrate", verbosity=0)
    call_command("seed_catalog", verbosity=0)
    fill(jobs)
    print(f"{jobs:,} running jobs of one account\n{'provider':12}{'round':>7}{'calls':>7}{'SQL':>6}{'seconds':>9}")
    for kind in ("sakura_dok", "slurm_rest", "slurm_ssh"):
        with _LogInNode() if kind == "slurm_ssh" else _Server(kind) as server:
            account = _account(kind, server)
            server.jobs = _attempts(account)
            for number in range(1, 4):
                _round(kind, number, account, server)


def _round(kind: str, number: int, account: int, server: _Server | _LogInNode) -> None:
    from django.db import connection

    from portal.jobs import metering, tracking

    statements = []

    def count(execute, sql, params, many, context):  # type: ignore[no-untyped-def]
        statements.append(sql)
        return execute(sql, params, many, context)

    calls, began = server.calls, time.perf_counter()
    with connection.execute_wrapper(count):
        tracked = tracking.track(account)
        metering.due(account)
    seconds = time.perf_counter() - began
    assert tracked.running == tracked.asked == len(server.jobs), tracked
    print(f"{kind:12}{number:7}{server.calls - calls:7}{len(statements):6}{seconds:9.2f}")


def _account(kind: str, server: _Server | _LogInNode) -> int:
    from portal.catalog.models import Provider, ProviderAccount

    provider = Provider.objects.get(slug={"sakura_dok": "sakura", "slurm_rest": "kddi", "slurm_ssh": "highreso"}[kind])
    account = ProviderAccount(provider=provider, kind=kind, endpoint=server.url, options={"work_dir": "/jobs"})
    account.set_credentials({"token": "t", "secret": "s", "user": "u", **server.credentials})
    account.save()
    return account.pk


def _attempts(account: int) -> list[tuple[str, str]]:
    """Every job runs at this account alone; (remote id, key) of each."""
    from django.db import connection
    from django.utils import timezone

    from portal.jobs.keys import key_of
    from portal.jobs.models import Attempt, Job

    Attempt.objects.all().delete()
    Job.objects.update(state="running")
    now = timezone.now()
    attempts = [
        Attempt(
            job_id=pk, account_id=account, offering_id=offering, price_id=price, state="running", remote_id=str(number),
            remote_state="running", sent_at=now, accepted_at=now, started_at=now, seen_at=now,
        )
        for number, (pk, offering, price) in enumerate(Job.objects.values_list("pk", "offering", "price"), start=1)
    ]  # fmt: skip
    Attempt.objects.bulk_create(attempts, batch_size=2000)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    return [(attempt.remote_id, key_of(attempt)) for attempt in attempts]


class _Server:
    """Answers the one question of a round: how are they?"""

    credentials: Mapping[str, str] = {}

    def __init__(self, kind: str) -> None:
        self.jobs: list[tuple[str, str]] = []
        self.calls = 0
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                server.calls += 1
                parts = urlsplit(self.path)
                body = json.dumps(server.answer(parts.path, parse_qs(parts.query))).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._answer = {"sakura_dok": self._dok, "slurm_rest": self._slurm}[kind]
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> _Server:
        threading.Thread(target=self._http.serve_forever, args=(0.1,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    def answer(self, path: str, query: dict[str, list[str]]) -> object:
        return self._answer(path, query)

    def _dok(self, path: str, query: dict[str, list[str]]) -> object:
        page = int(query["page"][0])
        shown = self.jobs[(page - 1) * PAGE : page * PAGE]
        container = {
            "index": 0, "image": "python:3.11", "command": ["-c", BOOTSTRAP], "entrypoint": ["/bin/sh"],
            "plan": "h100-80gb", "environment": {}, "start_at": "2026-11-25T09:00:00.000+09:00", "stop_at": None,
            "exit_code": None, "execution_seconds": 60,
        }  # fmt: skip
        results = [
            {"id": remote_id, "name": key, "tags": [key, "jga"], "status": "running",
             "created_at": "2026-11-25T09:00:00.000+09:00", "execution_time_limit_sec": 3600, "containers": [container]}
            for remote_id, key in shown
        ]  # fmt: skip
        pages = -(-len(self.jobs) // PAGE)
        return {"meta": {"page": page, "page_size": PAGE, "total_pages": pages}, "results": results}

    def _slurm(self, path: str, query: dict[str, list[str]]) -> object:
        if path.startswith("/slurmdb/") or path.endswith("/ping"):
            return {"errors": [], "jobs": []}
        jobs = [
            {"job_id": int(remote_id), "name": key, "job_state": ["RUNNING"], "state_reason": "None",
             "start_time": {"set": True, "infinite": False, "number": 1_795_000_000}, "tres_alloc_str": "gres/gpu=1"}
            for remote_id, key in self.jobs
        ]  # fmt: skip
        return {"errors": [], "jobs": jobs}


class _LogInNode:
    """The same over SSH: squeue knows them all, sacct none yet."""

    def __init__(self) -> None:
        self.jobs: list[tuple[str, str]] = []
        self.calls = 0
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    def __enter__(self) -> _LogInNode:
        user, host = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
        self._server = asyncio.run_coroutine_threadsafe(self._listen(user, host), self._loop).result(30)
        self.url = f"127.0.0.1:{self._server.get_port()}"
        known = f"* {host.export_public_key().decode().strip()}\n"
        self.credentials = {"private_key": user.export_private_key().decode(), "known_hosts": known}
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._server.close)

    def _command(self, process: asyncssh.SSHServerProcess[str]) -> None:
        self.calls += 1
        if "squeue" in (process.command or ""):
            now = int(time.time())
            lines = (f"{remote_id}|RUNNING|None|{now}|{now}|N/A|{key}\n" for remote_id, key in self.jobs)
            process.stdout.write("".join(lines))
        process.exit(0)

    async def _listen(self, user: asyncssh.SSHKey, host: asyncssh.SSHKey) -> asyncssh.SSHAcceptor:
        return await asyncssh.create_server(
            asyncssh.SSHServer,
            "127.0.0.1",
            0,
            server_host_keys=[host],
            process_factory=self._command,
            authorized_client_keys=asyncssh.import_authorized_keys(user.export_public_key().decode()),
        )


if __name__ == "__main__":
    main()
