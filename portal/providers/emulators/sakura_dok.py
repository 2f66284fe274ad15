"""A double of Sakura 高火力 DOK: REST under /cloud/zone/is1a/api/managed-container/1.0, and a task's stream.

Ours, written from the facts (official API document 1.0.0 and its readers, as of 2026-11-23), not the provider's. What
is not documented is chosen here: error bodies are {"detail": ...}; a task at its limit ends as `canceled`; a program
that exits with another code than 0 ends as `done` with that `exit_code`; the stream tells the log from its beginning;
the terms have one version; `http_uri` is there only while the task runs. dok_registries, dok_billing and dok_web say
what they chose.
"""

from __future__ import annotations

import base64
import codecs
import contextlib
import hashlib
import hmac
import os
import re
import secrets
import shutil
import socket
import tarfile
import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote

from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request as Handshake
from websockets.http11 import Response
from websockets.sync.server import ServerConnection
from websockets.sync.server import serve as serve_websocket

from portal.providers.emulators import access
from portal.providers.emulators.dok_billing import JST, Billing, Tariff
from portal.providers.emulators.dok_registries import REFUSAL, Registries
from portal.providers.emulators.dok_web import Doors
from portal.providers.emulators.faults import Faults
from portal.providers.emulators.http_server import Answer, Request, serve
from portal.providers.emulators.machine import CannotStart, Job, Machine
from portal.providers.emulators.sandbox import Launch, base_environment, is_sandboxed
from portal.providers.emulators.settings import Settings
from portal.providers.emulators.spoilt_logs import SpoiltLog

BASE = "/cloud/zone/is1a/api/managed-container/1.0"
TERMS = "1.0"
SIGNED_FOR_S = 3600
ENVIRONMENT_LIMIT = 8192
LIMIT_S = (600, 1_728_000)
PLANS = [  # id, name, minimum_execution_seconds, yen per second, GPUs
    ("v100-32gb", "V100(32GB)", 1, "0.016", 1),
    ("h100-80gb", "H100(80GB)", 60, "0.28", 1),
    ("h100-8gpu-80gb", "H100(80GB) x8", 60, "0.83", 8),
]
GPUS = {plan: gpus for plan, _, _, _, gpus in PLANS}


def start(settings: Settings) -> Callable[[], None]:
    """Answer on the port; returns what ends it."""
    kept = access.read_or_make(settings.state, _new_access)
    faults = Faults()
    service = Dok(settings, kept, faults)
    server = serve(service, faults, port=settings.port, control_token=kept["control"]["token"])
    service.origin = f"http://127.0.0.1:{server.server_address[1]}"
    access.write(settings.state, "sakura_dok", service.origin + BASE, f"{service.origin}/_emulator/fault", kept)
    return service.close


def _new_access() -> dict[str, Any]:
    return {
        "credentials": {"token": str(uuid.uuid4()), "secret": secrets.token_urlsafe(32)},
        "options": {"own_id": "true"},  # here SAKURA_TASK_ID is the task's id
        "control": {"token": secrets.token_urlsafe(24)},
        "private": {"signing_key": secrets.token_hex(32), "account_id": str(uuid.uuid4())},
    }


class Dok:
    def __init__(self, settings: Settings, kept: dict[str, Any], faults: Faults) -> None:
        credentials = f"{kept['credentials']['token']}:{kept['credentials']['secret']}"
        self._authorization = f"Basic {base64.b64encode(credentials.encode()).decode()}"
        self._signing_key = bytes.fromhex(kept["private"]["signing_key"])
        self._account_id = kept["private"]["account_id"]
        self._agreed_at = _iso(time.time()) if settings.terms_agreed else None
        self._faults = faults
        self.origin = ""
        tariffs = {plan: Tariff(name, least_s, Decimal(price)) for plan, name, least_s, price, _ in PLANS}
        self._billing = Billing(settings.state, account=self._account_id, tariffs=tariffs)
        self._registries = Registries(settings.state, settings.private_registry)
        self._doors = Doors()
        self._machine = Machine(
            settings.state,
            gpus=64,
            running_limit=settings.running_limit or 1,
            prepare=self._prepare,
            collect=_collect,
            time_scale=settings.time_scale,
            defect=settings.defect,
        )
        self._streams: dict[str, tuple[str, float]] = {}  # token -> task, until when
        self._stream_server = serve_websocket(
            self._stream, "127.0.0.1", 0, process_request=self._admit, compression=None
        )
        threading.Thread(target=self._stream_server.serve_forever, daemon=True, name="stream").start()

    def close(self) -> None:
        self._machine.close()

    def operation(self, request: Request) -> str:
        path = request.path.removeprefix(BASE)
        if path == "/tasks/":
            if request.method == "POST":
                return "submit"
            return "find" if request.query.get("tag", "").startswith("jga-") else "list"
        if path.endswith("/cancel/"):
            return "cancel"
        if path.endswith("/stream/") or "/download/output" in path or path.startswith("/_signed/log"):
            return "log"
        if "artifact" in path:
            return "artifact"
        return "get" if path.startswith("/tasks/") else "check"

    def answer(self, request: Request) -> Answer:
        if request.path.startswith("/_signed/"):
            return self._download(request)
        if status := self._faults.refusal():
            return _refuse(status, "Invalid token.")
        if not hmac.compare_digest(request.headers.get("authorization", ""), self._authorization):
            return _refuse(401, "Invalid token.")
        path = request.path.removeprefix(BASE)
        if path == request.path or not path.endswith("/"):
            return _refuse(404, "Not found.")
        if self._agreed_at is None and not path.startswith("/auth/"):
            return _refuse(403, "The terms of service are not agreed to.")
        parts = path.strip("/").split("/")
        match request.method, parts:
            case "GET", ["auth"]:
                return Answer(200, self._whoami())
            case "POST", ["auth", "agree"]:
                if request.query.get("version") != TERMS:
                    return _refuse(422, "version: unknown")
                self._agreed_at = _iso(time.time())
                return Answer(204)
            case "GET", ["plans"]:
                return Answer(200, [{"id": i, "name": n, "minimum_execution_seconds": m} for i, n, m, _, _ in PLANS])
            case "GET", ["unit_prices"]:
                return Answer(200, [_unit_price(plan, price) for plan, _, _, price, _ in PLANS])
            case "GET", ["billing_infos"]:
                return self._bills(request)
            case _, ["registries", *rest]:
                return self._registries.answer(request, rest, now=_iso(time.time()))
            case "GET", ["tasks"]:
                return self._list(request)
            case "POST", ["tasks"]:
                return self._create(request)
            case "GET", ["artifacts"]:
                return self._artifacts(request)
            case _, ["tasks", task_id, *rest]:
                return self._task(request, task_id, rest)
            case "GET", ["artifacts", artifact_id, *rest]:
                return self._artifact(artifact_id, rest)
        return _refuse(404, "Not found.")

    def _whoami(self) -> dict[str, Any]:
        member = {"member_id": "emu00001"}
        account = {
            "account_id": self._account_id,
            "account_code": "emulator",
            "account_name": "エミュレーター",
            "member": member,
            "tos_agreed_at": self._agreed_at,
            "tos_agreed_version": TERMS if self._agreed_at else None,
            "created_at": _iso(0),
        }
        return {"user": None, "member": member, "account": account, "notification": {"endpoints": []}}

    def _create(self, request: Request) -> Answer:
        try:
            body = request.json()
        except ValueError:
            return _refuse(422, "The body is not JSON.")
        if wrong := _wrong_with(body):
            return _refuse(422, wrong)
        registry = body["containers"][0].get("registry")
        if registry is not None and not self._registries.knows(registry):
            return _refuse(422, "registry: unknown")
        job = self._machine.submit(
            str(uuid.uuid4()),
            name=body["name"],
            gpus=max(GPUS[container["plan"]] for container in body["containers"]),
            time_limit_s=body.get("execution_time_limit_sec"),
            request=body,
        )
        before = [other.id for other in self._machine.jobs() if other.number < job.number]
        same_id = {"id": before[-1]} if before and self._faults.takes_same_id() else {}
        (shown,) = self._faults.shown([job]) or [job]
        return Answer(201, {**self._show(shown), **same_id})

    def _prepare(self, job: Job, folder: Path) -> Launch:
        container = job.request["containers"][0]
        if not self._registries.allows(container["image"], container.get("registry")):
            raise CannotStart(REFUSAL)
        return _launch(job, folder)

    def _bills(self, request: Request) -> Answer:
        try:
            return Answer(200, self._billing.bills(self._machine.jobs(), request.query, self._faults))
        except ValueError:
            return _refuse(400, "year, month and day are no date.")

    def _list(self, request: Request) -> Answer:
        tasks = self._faults.listed(reversed(self._machine.jobs()))
        query = request.query
        if tag := query.get("tag"):
            tasks = [job for job in tasks if tag in job.request["tags"]]
        if status := query.get("status"):
            tasks = [job for job in tasks if _status(job) in status.split(",")]
        if plan := query.get("plan"):
            tasks = [job for job in tasks if job.request["containers"][0]["plan"] in plan.split(",")]
        try:
            if after := query.get("created_after"):
                tasks = [job for job in tasks if job.created_at >= datetime.fromisoformat(after).timestamp()]
            if before := query.get("created_before"):
                tasks = [job for job in tasks if job.created_at < datetime.fromisoformat(before).timestamp()]
        except ValueError:
            return _refuse(422, "A date is not ISO 8601.")
        for word in re.split(r"[,\s]+", query.get("tasks", "")):
            tasks = [job for job in tasks if word in f"{job.id} {job.name}"]
        return _paged(request, tasks, self._show)

    def _task(self, request: Request, task_id: str, rest: list[str]) -> Answer:
        job = self._machine.get(task_id)
        if job is None or not self._faults.knows(job):
            return _refuse(404, "Not found.")
        match request.method, rest:
            case "GET", []:
                return self._shown(job)
            case "DELETE", []:
                if job.state != "ended":
                    return _refuse(403, "cannot delete")
                self._billing.keep(job)
                self._machine.forget(job)
                return Answer(204)
            case "POST", ["cancel"]:
                if job.state == "ended":
                    return _refuse(403, "not in a cancellable state")
                self._machine.stop(job)
                return self._shown(job)
            case "GET", ["download", "output"]:
                if not self._machine.log(job).exists():
                    return _refuse(404, "Not found.")
                return Answer(200, {"url": self._sign(f"log/{job.id}", request.query.get("filename", "output.log"))})
            case "POST", ["containers", "0", "stream"]:
                return self._open_stream(job)
        return _refuse(404, "Not found.")

    def _artifacts(self, request: Request) -> Answer:
        jobs = [job for job in self._faults.shown(self._machine.jobs()) if "artifact" in job.extra]
        if task := request.query.get("task"):
            jobs = [job for job in jobs if job.id == task]
        return _paged(request, jobs, _show_artifact)

    def _artifact(self, artifact_id: str, rest: list[str]) -> Answer:
        for job in self._faults.shown(self._machine.jobs()):
            if job.extra.get("artifact", {}).get("id") == artifact_id:
                if rest == ["download"]:
                    return Answer(200, {"url": self._sign(f"artifact/{job.id}", "artifact.tar.gz")})
                return Answer(200, _show_artifact(job)) if not rest else _refuse(404, "Not found.")
        return _refuse(404, "Not found.")

    def _sign(self, what: str, filename: str) -> str:
        expires = int(time.time()) + SIGNED_FOR_S
        path = f"/_signed/{what}/{quote(filename, safe='')}"
        return f"{self.origin}{path}?expires={expires}&signature={self._signature(path, expires)}"

    def _signature(self, path: str, expires: int) -> str:
        return hmac.new(self._signing_key, f"{path}|{expires}".encode(), hashlib.sha256).hexdigest()

    def _download(self, request: Request) -> Answer:
        try:
            expires = int(request.query.get("expires", ""))
        except ValueError:
            expires = 0
        signature = self._signature(request.path, expires)
        if expires < time.time() or not hmac.compare_digest(signature, request.query.get("signature", "")):
            return _refuse(403, "The address has expired or was changed.")
        kind, task_id = request.path.split("/")[2:4]
        job = self._machine.get(task_id)
        path = (
            self._machine.folder(job) / ("log" if kind == "log" else "artifact.tar.gz") if job else Path("/nonexistent")
        )
        return Answer(200, path) if path.exists() else _refuse(404, "Not found.")

    def _open_stream(self, job: Job) -> Answer:
        if job.state != "running":
            return _refuse(403, "not running")
        now = time.time()
        self._streams = {token: entry for token, entry in self._streams.items() if entry[1] > now}
        token = secrets.token_urlsafe(24)
        self._streams[token] = (job.id, now + 60)
        host, port = self._stream_server.socket.getsockname()[:2]
        return Answer(200, {"url": f"ws://{host}:{port}/stream", "token": token})

    def _admit(self, connection: ServerConnection, handshake: Handshake) -> Response | None:
        token = handshake.headers.get("Authorization", "").removeprefix("Bearer ")
        if self._streams.get(token, ("", 0.0))[1] < time.time():
            return connection.respond(401, "Unauthorized\n")
        return None

    def _stream(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        job = self._machine.get(self._streams[connection.request.headers["Authorization"].removeprefix("Bearer ")][0])
        if job is None or not self._machine.log(job).exists():
            return
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        offset = 0
        with self._machine.log(job).open("rb") as log:
            told = SpoiltLog(self._faults.of_log(), lambda at, size: os.pread(log.fileno(), size, at))
            try:
                while True:
                    running = job.state == "running"  # asked before reading: what comes after the end is not lost
                    while not told.is_cut and (piece := told.read(offset, 16384)):
                        connection.send(piece if told.is_garbled else decoder.decode(piece), text=True)
                        offset += len(piece)
                        time.sleep(told.pause_s(len(piece)))
                    if told.is_cut:
                        connection.socket.shutdown(socket.SHUT_RDWR)  # without a word
                        return
                    if not running:
                        return
                    with contextlib.suppress(TimeoutError):
                        connection.recv(timeout=0.1)  # hears at once when the other side leaves
            except ConnectionClosed:
                return

    def _shown(self, job: Job) -> Answer:
        shown = self._faults.shown([job])
        return Answer(200, self._show(shown[0])) if shown else _refuse(404, "Not found.")

    def _show(self, job: Job) -> dict[str, Any]:
        body = job.request
        asked = job.stop_asked_at if job.state == "ended" and job.outcome in ("stopped", "timeout") else None
        return {
            "id": job.id,
            "name": job.name,
            "created_at": _iso(job.created_at),
            "updated_at": _iso(job.ended_at or job.started_at or job.created_at),
            "canceled_at": None if asked is None else _iso(asked),
            "status": _status(job),
            "tags": body["tags"],
            "error_message": job.extra.get("reason", ""),
            "http_uri": self._doors.address(self._machine.get(job.id) or job),  # which sees when the task ends
            "artifact": _show_artifact(job) if "artifact" in job.extra else None,
            "execution_time_limit_sec": body.get("execution_time_limit_sec"),
            "containers": [self._show_container(job, index, given) for index, given in enumerate(body["containers"])],
        }

    def _show_container(self, job: Job, index: int, given: dict[str, Any]) -> dict[str, Any]:
        started, ended = job.started_at, job.ended_at if job.started_at else None
        return {
            **given,
            "index": index,
            "exit_code": job.exit_code if job.outcome == "exited" else None,
            "execution_seconds": job.elapsed_s(self._machine.now(job)) if started else None,
            "start_at": None if started is None else _iso(started),
            "stop_at": None if ended is None else _iso(ended),
        }


def _launch(job: Job, folder: Path) -> Launch:
    """A container's file system is new for each task: only the artifact directory outlives it."""
    container = job.request["containers"][0]
    work, artifact = folder / "work", folder / "artifact"
    work.mkdir(exist_ok=True)
    artifact.mkdir(exist_ok=True)
    boxed = is_sandboxed()
    home, output = ("/job", "/opt/artifact") if boxed else (str(work), str(artifact))
    environment = {
        **base_environment(home=home),
        **container.get("environment", {}),
        "SAKURA_TASK_ID": job.id,
        "SAKURA_ARTIFACT_DIR": output,
    }
    argv = [*container["entrypoint"], *container["command"]] or ["/bin/true"]
    return Launch(argv, environment, home, {"/job": work, "/opt/artifact": artifact} if boxed else {})


def _collect(job: Job, folder: Path) -> None:
    """Pack what the task left in its artifact directory, and give back the disk of the rest."""
    artifact = folder / "artifact"
    if artifact.is_dir() and any(artifact.iterdir()):
        path = folder / "artifact.tar.gz"
        with tarfile.open(path, "w:gz") as archive:
            for entry in sorted(artifact.iterdir()):
                archive.add(entry, entry.name)
        job.extra["artifact"] = {"id": str(uuid.uuid4()), "size": path.stat().st_size, "at": time.time()}
    shutil.rmtree(artifact, ignore_errors=True)
    shutil.rmtree(folder / "work", ignore_errors=True)


def _status(job: Job) -> str:
    if job.state != "ended":
        return job.state
    ends = {"exited": "done", "stopped": "canceled", "timeout": "canceled", "not_started": "error"}
    return ends.get(job.outcome, "aborted")


def _wrong_with(body: Any) -> str:
    """The first thing that the specification would not accept; empty: all is well."""
    if not isinstance(body, dict):
        return "object expected"
    containers, tags = body.get("containers"), body.get("tags")
    if not isinstance(body.get("name"), str) or not body["name"]:
        return "name: required"
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        return "tags: list of strings required"
    limit = body.get("execution_time_limit_sec")
    if limit is not None and (not isinstance(limit, int) or not LIMIT_S[0] <= limit <= LIMIT_S[1]):
        return f"execution_time_limit_sec: between {LIMIT_S[0]} and {LIMIT_S[1]}"
    if not isinstance(containers, list) or len(containers) != 1 or not isinstance(containers[0], dict):
        return "containers: exactly one required"
    container = containers[0]
    if not isinstance(container.get("image"), str) or not container["image"]:
        return "image: required"
    for name in ("command", "entrypoint"):
        words = container.get(name)
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            return f"{name}: list of strings required"
    if container.get("plan") not in GPUS:
        return "plan: unknown"
    http = container.get("http")
    if http is not None and not (
        isinstance(http, dict) and isinstance(http.get("port"), int) and isinstance(http.get("path"), str)
    ):
        return "http: port and path required"
    environment = container.get("environment", {})
    if not isinstance(environment, dict) or not all(isinstance(value, str) for value in environment.values()):
        return "environment: strings required"
    if sum(len(name) + len(value) for name, value in environment.items()) >= ENVIRONMENT_LIMIT:
        return f"environment: less than {ENVIRONMENT_LIMIT} characters"
    return ""


def _paged(request: Request, jobs: list[Job], show: Callable[[Job], dict[str, Any]]) -> Answer:
    try:
        page, size = int(request.query.get("page", 1)), int(request.query.get("page_size", 100))
    except ValueError:
        return _refuse(422, "page and page_size are numbers.")
    if page < 1 or not 1 <= size <= 1000:
        return _refuse(422, "page or page_size out of range.")
    pages = max(1, -(-len(jobs) // size))
    meta = {
        "page": page,
        "page_size": size,
        "total_pages": pages,
        "count": len(jobs),
        "next": page + 1 if page < pages else None,
        "previous": page - 1 if page > 1 else None,
    }
    return Answer(200, {"meta": meta, "results": [show(job) for job in jobs[(page - 1) * size : page * size]]})


def _show_artifact(job: Job) -> dict[str, Any]:
    artifact = job.extra["artifact"]
    at = _iso(artifact["at"])
    return {
        "id": artifact["id"],
        "task": job.id,
        "created_at": at,
        "updated_at": at,
        "filename": "artifact.tar.gz",
        "size_bytes": artifact["size"],
    }


def _unit_price(plan: str, price: str) -> dict[str, Any]:
    return {
        "plan": plan,
        "price": price,
        "is_overridden": False,
        "begin_at": "2026-04-01T00:00:00+09:00",
        "end_at": None,
    }


def _refuse(status: int, detail: str) -> Answer:
    return Answer(status, {"detail": detail})


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).astimezone(JST).isoformat(timespec="milliseconds")
