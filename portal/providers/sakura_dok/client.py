"""Speaks DOK's wire. Source: manual.sakura.ad.jp/koukaryoku-dok-api/spec.html (API 1.0.0), read 2026-11-23.

Documented base path: /cloud/zone/is1a/api/managed-container/1.0; HTTP Basic with access token and its secret; every
path ends with a slash; no idempotency key, no error schema and no rate limit are documented.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI
from websockets.sync.client import connect

from portal.providers.base import Account
from portal.providers.errors import Misconfigured, NotFound, OutcomeUnknown, Rejected, Unavailable
from portal.providers.http_client import (
    CONNECT_TIMEOUT_S,
    JSON_LIMIT_BYTES,
    LIST_LIMIT_BYTES,
    Answer,
    HttpClient,
)
from portal.providers.sakura_dok.translation import task_id, whole

PAGE_SIZE = 100
STREAM_TIMEOUT_S = 10.0
IDLE_S = 0.3  # a stream that is silent so long has told all there is by now
_PAGES_MOST = 1000


class DokClient:
    def __init__(self, account: Account) -> None:
        try:
            token, secret = account.credentials["token"], account.credentials["secret"]
        except KeyError as error:
            raise Misconfigured(f"the account's credentials lack {error}") from None
        self._secrets = (token, secret, f"{token}:{secret}")  # the last in base64 is what is sent
        self._http = HttpClient(account.endpoint, auth=(token, secret))

    def get(self, path: str, params: Mapping[str, str] | None = None, *, limit: int = JSON_LIMIT_BYTES) -> Any:
        """Raises NotFound, Misconfigured, Unavailable."""
        return self._read(self._http.request("GET", path, params=params, limit=limit))

    def pages(self, path: str, params: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        """Every result of a paged list. A task that is created meanwhile shifts the pages: doubles are left out."""
        seen: set[str] = set()
        for page in range(1, _PAGES_MOST):
            wanted = {**params, "page": str(page), "page_size": str(PAGE_SIZE)}
            answer = self.get(path, wanted, limit=LIST_LIMIT_BYTES)
            if not isinstance(answer, dict) or not isinstance(answer.get("results"), list):
                raise Unavailable("the list cannot be read")
            known = len(seen)
            for item in answer["results"]:
                name = str(item.get("id")) if isinstance(item, dict) else ""
                if isinstance(item, dict) and name not in seen:
                    seen.add(name)
                    yield item
            meta = answer.get("meta")
            pages = whole(meta.get("total_pages")) if isinstance(meta, dict) else None
            # Where it does not say how many there are, a page that is full and new may have another behind it.
            if page >= pages if pages is not None else len(answer["results"]) < PAGE_SIZE or len(seen) == known:
                return
        raise Unavailable("the list does not end")

    def post(
        self, path: str, params: Mapping[str, str] | None = None, *, body: object = None, secrets: tuple[str, ...] = ()
    ) -> Any:
        """An act that may be repeated. Raises NotFound, Rejected, Misconfigured, Unavailable."""
        return self._read(self._http.request("POST", path, params=params, body=body), secrets)

    def delete(self, path: str) -> None:
        """Raises NotFound, Rejected, Misconfigured, Unavailable."""
        self._read(self._http.request("DELETE", path))

    def create_task(self, body: Mapping[str, Any], *, secrets: tuple[str, ...]) -> dict[str, Any]:
        """Raises Rejected, Misconfigured, Unavailable, and OutcomeUnknown where a task may exist now."""
        answer = self._http.request("POST", "/tasks/", body=body, creates=True)
        if answer.ok:
            try:
                task = answer.json()
            except ValueError:
                task = None
            if isinstance(task, dict) and task_id(task):
                return task
            raise OutcomeUnknown("the answer holds no task", code=str(answer.status))
        detail = answer.one_line((*self._secrets, *secrets))
        if answer.status in (401, 403):
            raise Misconfigured(f"DOK refuses the credentials: {detail}", code=str(answer.status))
        if answer.status in (400, 413, 422):
            raise Rejected(f"DOK refuses the task: {detail}", failure=_failure(detail), code=str(answer.status))
        if answer.status == 429:
            raise Unavailable("DOK asks to slow down", retry_after_s=answer.retry_after_s, code="429")
        raise OutcomeUnknown(f"DOK answered {answer.status}", code=str(answer.status))

    def download(self, url: str) -> Iterator[bytes] | None:
        return self._http.download(url)

    def read_stream(self, url: str, token: str, *, offset: int, max_bytes: int) -> bytes:
        """What the stream has told beyond `offset` bytes by now. [?] It is taken to begin anew with each connection."""
        skipped, kept, until = 0, bytearray(), time.monotonic() + STREAM_TIMEOUT_S
        try:
            with connect(
                url,
                additional_headers={"Authorization": f"Bearer {token}"},
                open_timeout=CONNECT_TIMEOUT_S,
                close_timeout=0.2,
                compression=None,
                max_size=LIST_LIMIT_BYTES,
                proxy=None,
            ) as stream:
                while len(kept) < max_bytes and time.monotonic() < until:
                    data = stream.recv(timeout=IDLE_S, decode=False)  # a log need not be UTF-8
                    skip = min(len(data), offset - skipped)
                    skipped += skip
                    kept += data[skip:]
        except (TimeoutError, ConnectionClosed):
            pass  # silent for now, or at its end
        except (OSError, InvalidHandshake, InvalidURI, ValueError) as error:  # ValueError: no port, no header
            raise Unavailable("the log stream cannot be opened", code=type(error).__name__) from None
        return bytes(kept[:max_bytes])

    def close(self) -> None:
        self._http.close()

    def _read(self, answer: Answer, secrets: tuple[str, ...] = ()) -> Any:
        if answer.ok:
            if not answer.body:
                return None
            try:
                return answer.json()
            except ValueError:
                raise Unavailable("the answer cannot be read", code=str(answer.status)) from None
        detail = answer.one_line((*self._secrets, *secrets))
        match answer.status:
            case 404:
                raise NotFound("DOK does not know it", code="404")
            case 401:
                raise Misconfigured(f"DOK refuses the credentials: {detail}", code="401")
            case 403:
                raise Forbidden(f"DOK does not allow it: {detail}", code="403")
            case 400 | 422:
                raise Rejected(f"DOK refuses: {detail}", code=str(answer.status))
            case 429:
                raise Unavailable("DOK asks to slow down", retry_after_s=answer.retry_after_s, code="429")
        raise Unavailable(f"DOK answered {answer.status}", code=str(answer.status))


class Forbidden(Misconfigured):
    """403: the key lacks the right, or the thing is in the wrong state for this act (DOK uses it for both)."""


def segment(value: str) -> str:
    """A value of theirs or ours as one part of a path."""
    return quote(value, safe="")


def _failure(detail: str) -> str:
    return "image" if "image" in detail or "registry" in detail else "portal_fault"


def text(value: object) -> str:
    return value if isinstance(value, str) else ""
