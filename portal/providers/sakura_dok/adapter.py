"""The Adapter of Sakura 高火力 DOK. Source: API document 1.0.0, read 2026-11-23; [?] marks what it does not say."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from portal.providers.architectures import refuse_others
from portal.providers.base import (
    Account,
    Adapter,
    Artifacts,
    BillingStatement,
    Deletion,
    FinalLog,
    JobSpec,
    LiveLog,
    LogPiece,
    PriceList,
    PrivateImages,
    RegistryLogin,
    RemoteCharge,
    RemoteJob,
    RemoteOffering,
    RemoteState,
    RemoteUsage,
    UsageStatement,
    WebAccess,
)
from portal.providers.errors import Misconfigured, NotFound, OutcomeUnknown, ProviderError, Rejected, Unavailable
from portal.providers.sakura_dok.client import DokClient, Forbidden, segment, text
from portal.providers.sakura_dok.translation import (
    TAG,
    TIME_LIMIT_S,
    charges,
    create_task,
    offerings,
    registries_of,
    remote_job,
    task_id,
    web_address,
)


class SakuraDok(
    Adapter,
    LiveLog,
    FinalLog,
    Artifacts,
    PriceList,
    UsageStatement,
    BillingStatement,
    Deletion,
    PrivateImages,
    WebAccess,
):
    """Options: `terms_version` (the version of DOK's terms that the operator agrees to; without it nobody agrees),
    `own_id` (`true`: a task's SAKURA_TASK_ID was found to be its id here, and the portal may go by it)."""

    option_names = frozenset({"terms_version", "own_id"})
    listing_lag_s = 0.0  # [?] none is documented, none was seen
    id_variable = "SAKURA_TASK_ID"

    def __init__(self, account: Account) -> None:
        self._client = DokClient(account)
        self._terms_version = account.options.get("terms_version", "")

    def check(self) -> str:
        """GET /auth/, and POST /auth/agree/ where nobody agreed to the terms yet: nothing else works until then."""
        answer = self._client.get("/auth/")
        account = answer.get("account") if isinstance(answer, dict) else None
        if not isinstance(account, dict):
            raise Unavailable("the answer holds no account")
        if not account.get("tos_agreed_at"):
            self._agree()
        return f"{text(account.get('account_name'))} ({text(account.get('account_code'))})"

    def submit(self, spec: JobSpec) -> RemoteJob:
        """POST /tasks/. The time limit is read back: a task without one runs for ever (since 2026-05-21)."""
        refuse_others(spec, {"amd64"})  # images of linux/amd64 only [R]
        body = create_task(spec)
        if spec.registry is None:
            task = self._client.create_task(body, secrets=tuple(spec.environment.values()))
        else:
            task = self._submit_with_login(spec, spec.registry)
        job = remote_job(task)
        if str(task.get("execution_time_limit_sec")) != str(body["execution_time_limit_sec"]):
            try:
                self.cancel(job.remote_id)
            except ProviderError:
                raise OutcomeUnknown(f"task {job.remote_id} has another time limit, and cannot be ended") from None
            raise Rejected(f"DOK did not take the time limit; task {job.remote_id} was ended")
        return job

    def find(self, key: str) -> list[RemoteJob]:
        """GET /tasks/?tag=: by our key in the tags."""
        jobs = [job for task in self._tasks({"tag": key}) if (job := remote_job(task)).key == key]
        if not all(job.remote_id for job in jobs):
            raise Unavailable("a task of this key has no id")  # it is there: nobody may send it again
        return sorted(jobs, key=_age)

    def get(self, remote_id: str) -> RemoteJob:
        """GET /tasks/{taskId}/."""
        return remote_job(self._task(remote_id))

    def list_jobs(self, key_prefix: str, *, since: datetime) -> Iterator[RemoteJob]:
        """GET /tasks/?tag=jga&created_after=: a hundred tasks a call."""
        for task in self._tasks({"tag": TAG, "created_after": _date(since)}):
            job = remote_job(task)
            if job.key.startswith(key_prefix) and job.key and job.remote_id:
                yield job

    def cancel(self, remote_id: str) -> None:
        """POST /tasks/{taskId}/cancel/. 403 is "not in a cancellable state", and may be a lost right: `get` tells."""
        if not remote_id:
            return
        try:
            self._client.post(f"/tasks/{segment(remote_id)}/cancel/")
        except NotFound:
            return
        except Forbidden:
            with contextlib.suppress(NotFound):
                if not self.get(remote_id).state.is_final:
                    raise
        except Rejected as error:
            raise Unavailable(error.summary, code=error.code) from None

    def read_log(self, job: RemoteJob, *, offset: int, max_bytes: int) -> LogPiece:
        """POST /tasks/{taskId}/containers/0/stream/, then the WebSocket; open only while the task runs."""
        try:
            answer = self._client.post(f"/tasks/{segment(job.remote_id)}/containers/0/stream/")
        except Forbidden:  # "not running": not yet, or no more
            return self._read_ended_log(job, offset=offset, max_bytes=max_bytes)
        except Rejected as error:
            raise Unavailable(error.summary, code=error.code) from None
        url, token = _field(answer, "url"), _field(answer, "token")
        if not url.startswith(("ws://", "wss://")) or not token:
            raise Unavailable("the answer holds no stream")
        data = self._client.read_stream(url, token, offset=offset, max_bytes=max_bytes)
        return LogPiece(data, offset + len(data))

    def fetch_log(self, job: RemoteJob) -> Iterator[bytes]:
        """GET /tasks/{taskId}/download/output/: a signed address, kept for 72 hours after the end."""
        answer = self._client.get(f"/tasks/{segment(job.remote_id)}/download/output/")
        pieces = self._client.download(_field(answer, "url"))
        if pieces is None:
            raise NotFound("the output log is gone")
        return pieces

    def fetch_artifacts(self, job: RemoteJob) -> Iterator[bytes] | None:
        """GET /artifacts/{id}/download/ of the task's artifact, kept for 72 hours after the end."""
        artifact = self._task(job.remote_id).get("artifact")
        if artifact is None:  # absent in some answers: the list knows
            artifact = next(self._client.pages("/artifacts/", {"task": job.remote_id}), None)
        # [?] The document shows an object; a bare id would do as well.
        artifact_id = text(artifact.get("id")) if isinstance(artifact, dict) else text(artifact)
        if not artifact_id:
            return None
        answer = self._client.get(f"/artifacts/{segment(artifact_id)}/download/")
        pieces = self._client.download(_field(answer, "url"))
        if pieces is None:
            raise Unavailable("the artifact cannot be downloaded", code="404")
        return pieces

    def offerings(self) -> list[RemoteOffering]:
        """GET /plans/ and GET /unit_prices/."""
        return offerings(self._client.get("/plans/"), self._client.get("/unit_prices/"), now=datetime.now(UTC))

    def usage(self, *, since: datetime, until: datetime) -> Iterator[RemoteUsage]:
        """From the tasks' own execution_seconds: /billing_infos/ tells days and plans, not tasks."""
        longest = timedelta(seconds=TIME_LIMIT_S[1])
        for task in self._tasks({"tag": TAG, "created_after": _date(since - longest)}):
            job = remote_job(task)
            if not job.gpu_seconds or not job.started_at or not job.ended_at or not since <= job.ended_at < until:
                continue
            yield RemoteUsage(job.remote_id, job.remote_id, job.key, job.gpu_seconds, job.started_at, job.ended_at)

    def charges(self, *, year: int, month: int, day: int | None = None) -> list[RemoteCharge]:
        """GET /billing_infos/. [?] Its days are Japan's; usage is seconds; which rule rounds the yen nobody says."""
        wanted = {"year": year, "month": month, "day": day}
        try:
            answer = self._client.get("/billing_infos/", {name: str(n) for name, n in wanted.items() if n is not None})
            return charges(answer)
        except (NotFound, Rejected) as error:
            raise Unavailable(f"the bill was refused: {error.summary}", code=error.code) from None
        except ValueError as error:
            raise Unavailable(str(error)) from None

    def delete(self, remote_id: str) -> None:
        """DELETE /tasks/{taskId}/. It does not cancel, and when exactly it answers 403 nobody says: so look first."""
        try:
            if not self.get(remote_id).state.is_final:
                raise Rejected("the task has not ended")
            self._client.delete(f"/tasks/{segment(remote_id)}/")
        except NotFound:
            return

    def forget_login(self, remote_id: str) -> None:
        """DELETE /registries/{id}/ of the task's own entry."""
        with contextlib.suppress(NotFound):
            for registry in registries_of(self._task(remote_id)):
                self._delete_login(registry)

    def web_address(self, job: RemoteJob) -> str | None:
        """The task's http_uri."""
        return web_address(self._task(job.remote_id))

    def close(self) -> None:
        self._client.close()

    def _agree(self) -> None:
        if not self._terms_version:
            raise Misconfigured(
                "nobody has agreed to DOK's terms of service for this account: read them, then give the version that"
                " you agree to as the option terms_version"
            )
        try:
            self._client.post("/auth/agree/", {"version": self._terms_version})
        except (NotFound, Rejected) as error:
            raise Misconfigured(
                f"DOK has no terms of the version in the option terms_version: {error.summary}", code=error.code
            ) from None

    def _submit_with_login(self, spec: JobSpec, login: RegistryLogin) -> dict[str, Any]:
        """Each task gets an entry of its own under /registries/, which goes when the task has ended.

        Nobody can find again whose password an entry holds: DOK shows host and user name alone, and those are the same
        for every customer of some registries (nvcr.io: "$oauthtoken"). An entry that is used again would lend one
        organization's password to another's task, or change it under a task that still waits. [?] A second entry with
        the same host and user name is taken: it is ids that tasks name. What stays behind is the entry of a task whose
        answer was lost and that was never made.
        """
        registry = self._keep_login(login)
        try:
            return self._client.create_task(
                create_task(spec, registry=registry), secrets=(*spec.environment.values(), login.password)
            )
        except (Rejected, Misconfigured, Unavailable):  # certainly no task; where one may exist it needs the entry
            with contextlib.suppress(ProviderError):
                self._delete_login(registry)
            raise

    def _keep_login(self, login: RegistryLogin) -> str:
        """POST /registries/. No task exists before it has answered, so a lost answer is merely Unavailable."""
        body = {"hostname": login.hostname, "username": login.username, "password": login.password}
        try:
            answer = self._client.post("/registries/", body=body, secrets=(login.password,))
        except Rejected as error:
            raise Rejected(
                f"DOK does not take the login for {login.hostname}: {error.summary}", failure="image", code=error.code
            ) from None
        except NotFound as error:
            raise Misconfigured("DOK keeps no logins for registries", code=error.code) from None
        if registry := _field(answer, "id"):
            return registry
        raise Unavailable("the answer holds no login")

    def _delete_login(self, registry: str) -> None:
        try:
            self._client.delete(f"/registries/{segment(registry)}/")
        except NotFound:
            return
        except Rejected as error:
            raise Unavailable(error.summary, code=error.code) from None

    def _tasks(self, params: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        try:
            yield from self._client.pages("/tasks/", params)
        except (NotFound, Rejected) as error:
            raise Unavailable(f"the list of tasks was refused: {error.summary}", code=error.code) from None

    def _task(self, remote_id: str) -> dict[str, Any]:
        if not remote_id:  # its address would be the list's
            raise NotFound("not a task's id")
        try:
            task = self._client.get(f"/tasks/{segment(remote_id)}/")
        except Rejected as error:
            raise NotFound(error.summary, code=error.code) from None
        if not isinstance(task, dict) or not task_id(task):
            raise Unavailable("the answer holds no task")
        return task

    def _read_ended_log(self, job: RemoteJob, *, offset: int, max_bytes: int) -> LogPiece:
        if self.get(job.remote_id).state in (RemoteState.QUEUED, RemoteState.RUNNING):
            return LogPiece(b"", offset)
        skip, kept = offset, bytearray()
        try:
            pieces = self.fetch_log(job)
        except NotFound:
            return LogPiece(b"", offset)
        for piece in pieces:
            kept += piece[skip:]
            skip = max(0, skip - len(piece))
            if len(kept) >= max_bytes:
                break
        data = bytes(kept[:max_bytes])
        return LogPiece(data, offset + len(data))


def _field(answer: object, name: str) -> str:
    return text(answer.get(name)) if isinstance(answer, dict) else ""


def _date(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds")


def _age(job: RemoteJob) -> tuple[datetime, str]:
    return job.created_at or datetime.max.replace(tzinfo=UTC), job.remote_id
