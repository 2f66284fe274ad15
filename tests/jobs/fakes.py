"""A provider in memory that keeps the promises of Adapter, and breaks them on demand."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime

from portal.providers.base import (
    Adapter,
    Artifacts,
    DataPush,
    FinalLog,
    JobSpec,
    LiveLog,
    LogPiece,
    MoreTime,
    PrivateImages,
    RemoteJob,
    RemoteState,
)
from portal.providers.errors import NotFound


class FakeProvider(Adapter, LiveLog, FinalLog, Artifacts, PrivateImages, DataPush, MoreTime):
    """`before` and `after` hold the errors that the next submits raise without and with their effect, `while_pushing`
    what happens before each push."""

    def __init__(self) -> None:
        self.jobs: dict[str, RemoteJob] = {}
        self.specs: list[JobSpec] = []
        self.before: list[Exception] = []
        self.after: list[Exception] = []
        self.down: Exception | None = None  # raised by every question
        self.hidden = False  # jobs exist and are not shown
        self.cancelled: list[str] = []
        self.forgotten: list[str] = []  # whose logins were deleted
        self.calls: list[str] = []
        self.limits: list[tuple[str, int]] = []
        self.refusing: Exception | None = None  # raised by every change of a limit
        self.output = b""
        self.files: dict[str, bytes] | None = None
        self.pushed: dict[str, bytes] = {}
        self.while_pushing: Callable[[], object] = lambda: None

    def check(self) -> str:
        return "fake"

    def submit(self, spec: JobSpec) -> RemoteJob:
        self.calls.append("submit")
        if self.before:
            raise self.before.pop(0)
        self.specs.append(spec)
        job = self.add(spec.key)
        if self.after:
            raise self.after.pop(0)
        return job

    def add(self, key: str) -> RemoteJob:
        job = RemoteJob(f"r{len(self.jobs) + 1}", key, RemoteState.QUEUED, created_at=datetime.now(UTC))
        self.jobs[job.remote_id] = job
        return job

    def becomes(self, state: RemoteState, remote_id: str = "r1", **fields: object) -> None:
        self.jobs[remote_id] = replace(self.jobs[remote_id], state=state, **fields)  # type: ignore[arg-type]

    def find(self, key: str) -> list[RemoteJob]:
        self._ask("find")
        return [job for job in self.jobs.values() if job.key == key and not self.hidden]

    def get(self, remote_id: str) -> RemoteJob:
        self._ask("get")
        if self.hidden or remote_id not in self.jobs:
            raise NotFound("no such job")
        return self.jobs[remote_id]

    def list_jobs(self, key_prefix: str, *, since: datetime) -> Iterator[RemoteJob]:
        self._ask("list")
        if not self.hidden:
            yield from [job for job in self.jobs.values() if job.key.startswith(key_prefix)]

    def cancel(self, remote_id: str) -> None:
        self._ask("cancel")
        self.cancelled.append(remote_id)

    def read_log(self, job: RemoteJob, *, offset: int, max_bytes: int) -> LogPiece:
        self._ask("log")
        data = self.output[offset : offset + max_bytes]
        return LogPiece(data, offset + len(data))

    def fetch_log(self, job: RemoteJob) -> Iterator[bytes]:
        self._ask("log")
        yield from (self.output[i : i + 7] for i in range(0, len(self.output), 7))

    def fetch_artifacts(self, job: RemoteJob) -> Iterator[bytes] | None:
        self._ask("artifacts")
        return None if self.files is None else iter([packed(self.files)])

    def forget_login(self, remote_id: str) -> None:
        self._ask("forget login")
        self.forgotten.append(remote_id)

    def push(self, key: str, name: str, pieces: Callable[[int], Iterator[bytes]], *, size_bytes: int) -> None:
        self._ask("push")
        self.while_pushing()
        self.pushed[f"{key}/{name}"] = data = b"".join(pieces(0))
        assert len(data) == size_bytes

    def take_back(self, key: str) -> None:
        self._ask("take back")
        self.pushed = {path: data for path, data in self.pushed.items() if not path.startswith(f"{key}/")}

    def set_time_limit(self, remote_id: str, *, time_limit_s: int) -> None:
        self._ask("limit")
        if self.refusing is not None:
            raise self.refusing
        self.limits.append((remote_id, time_limit_s))

    def _ask(self, what: str) -> None:
        self.calls.append(what)
        if self.down is not None:
            raise self.down


def packed(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
