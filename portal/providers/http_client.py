"""One bounded way to speak HTTP, shared by the providers' clients: every outcome ends as one of errors.py's classes.

Connecting takes at most 3 s, silence at most 10 s, a whole answer or a MiB of a download at most 30 s; bodies have a
limit; no redirect is followed and no proxy is taken from the environment. Nothing is repeated here: what may be
repeated, the caller knows.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import httpcore
import httpx

from portal.providers.endpoints import refuse_no_host
from portal.providers.errors import Misconfigured, OutcomeUnknown, ProviderError, Unavailable
from portal.providers.redaction import without

CONNECT_TIMEOUT_S = 3.0
READ_TIMEOUT_S = 10.0
ANSWER_TIMEOUT_S = 30.0
JSON_LIMIT_BYTES = 1 << 20
LIST_LIMIT_BYTES = 32 << 20  # a page of a hundred tasks carries a hundred scripts; a cluster tells all its jobs at once
PIECE_BYTES = 1 << 20

# Certain to have had no effect: no connection, so nothing was sent.
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol, httpx.InvalidURL)


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes = field(repr=False)
    headers: httpx.Headers = field(repr=False)

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    def json(self) -> Any:
        """Raises ValueError: also for text that is no UTF-8, and for nesting or numbers beyond reason."""
        try:
            return json.loads(self.body)
        except RecursionError as error:
            raise ValueError("nested too deeply") from error

    def one_line(self, secrets: Iterable[str]) -> str:
        """The beginning of the body for an operator to read, without the secrets."""
        text = self.body[:JSON_LIMIT_BYTES].decode(errors="replace")
        if "<html" in text[:2000].lower():
            return "an HTML page"
        return without(" ".join(text.split()), secrets)[:200]

    @property
    def retry_after_s(self) -> float | None:
        value = self.headers.get("Retry-After", "")
        return float(value) if value.isascii() and value.isdigit() and len(value) < 7 else None


class HttpClient:
    """Connections to one provider account. Thread-safe. `headers` and `auth` are secrets. Raises Misconfigured."""

    def __init__(
        self, base_url: str, *, headers: Mapping[str, str] | None = None, auth: tuple[str, str] | None = None
    ) -> None:
        if not all(value.isascii() and value.isprintable() for value in (headers or {}).values()):
            raise Misconfigured("the account's credentials hold letters that no header can carry")
        self._base_url = base_url.rstrip("/")
        try:
            url = httpx.URL(self._base_url)
        except httpx.InvalidURL:
            raise Misconfigured("the endpoint is not an address") from None
        if url.port is not None and not 0 < url.port < 65_536:
            raise Misconfigured("the endpoint's port is none")
        refuse_no_host(url.host)
        timeout = httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S, pool=READ_TIMEOUT_S)
        limits = httpx.Limits(max_connections=16, max_keepalive_connections=8, keepalive_expiry=30)
        options: dict[str, Any] = {"timeout": timeout, "trust_env": False, "follow_redirects": False}
        # Nothing compressed: a few bytes of brotli can become gigabytes before anybody counts them.
        plain = {"Accept-Encoding": "identity"}
        self._client = httpx.Client(
            headers={**(headers or {}), **plain}, auth=auth, transport=_Transport(limits), **options
        )
        # Signed addresses lie at other hosts: our credentials do not go there.
        self._bare = httpx.Client(headers=plain, transport=_Transport(limits), **options)

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: object = None,
        creates: bool = False,
        limit: int = JSON_LIMIT_BYTES,
    ) -> Answer:
        """Ask once. `creates`: a lost answer raises OutcomeUnknown instead of Unavailable."""
        lost = OutcomeUnknown if creates else Unavailable
        content = None if body is None else json.dumps(body, ensure_ascii=False).encode(errors="replace")
        headers = {"Content-Type": "application/json"} if content is not None else {}
        with (
            _named_errors(lost),
            _ends_within(ANSWER_TIMEOUT_S),
            self._client.stream(
                method, self._base_url + path, params=params, content=content, headers=headers
            ) as response,
        ):
            data = _bounded(response.iter_raw(), limit, lost)
            return Answer(response.status_code, data, response.headers)

    def download(self, url: str) -> Iterator[bytes] | None:
        """A signed address as a stream in pieces of at most 1 MiB; None where it answers 404. Raises Unavailable."""
        if not url.startswith(("http://", "https://")):
            raise Unavailable("the download address is not an http(s) address")
        with _named_errors(Unavailable), _ends_within(ANSWER_TIMEOUT_S):
            request = self._bare.build_request("GET", url)
            response = self._bare.send(request, stream=True)
        if response.status_code == httpx.codes.OK:
            return _pieces(response)
        response.close()
        if response.status_code == httpx.codes.NOT_FOUND:
            return None
        raise Unavailable("the download was refused", code=str(response.status_code))

    def close(self) -> None:
        self._client.close()
        self._bare.close()


@contextmanager
def _named_errors(lost: type[ProviderError]) -> Iterator[None]:
    """The library's errors as ours. Their texts are dropped: they may hold addresses."""
    try:
        yield
    except _NOT_SENT as error:
        raise Unavailable("no connection", code=type(error).__name__) from None
    except (httpx.HTTPError, httpx.StreamError) as error:
        what = "no answer in time" if isinstance(error, httpx.TimeoutException) else "the connection broke off"
        raise lost(what, code=type(error).__name__) from None


def _bounded(pieces: Iterable[bytes], limit: int, lost: type[ProviderError]) -> bytes:
    data = bytearray()
    for piece in pieces:
        data += piece
        if len(data) > limit:
            raise lost("the answer is larger than it may be", code="too_large")
    return bytes(data)


_until: ContextVar[float | None] = ContextVar("until", default=None)


@contextmanager
def _ends_within(seconds: float) -> Iterator[None]:
    """For all reads of this thread together: httpx's own limits begin anew with every byte that drips in."""
    token = _until.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _until.reset(token)


class _Transport(httpx.HTTPTransport):
    def __init__(self, limits: httpx.Limits) -> None:
        super().__init__(trust_env=False, limits=limits)
        # httpx offers no way to hand one in; tests/providers/test_http_client.py sees when this ends.
        self._pool._network_backend = _Network(self._pool._network_backend)  # type: ignore[attr-defined]


class _Network(httpcore.NetworkBackend):
    def __init__(self, real: httpcore.NetworkBackend) -> None:
        self._real = real

    def connect_tcp(self, *args: Any, **options: Any) -> httpcore.NetworkStream:
        return _Stream(self._real.connect_tcp(*args, **options))


class _Stream(httpcore.NetworkStream):
    def __init__(self, real: httpcore.NetworkStream) -> None:
        self._real = real

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        until = _until.get()
        if until is not None:
            left = until - time.monotonic()
            if left <= 0:
                raise httpcore.ReadTimeout("the answer drips")
            timeout = left if timeout is None else min(timeout, left)
        return self._real.read(max_bytes, timeout)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._real.write(buffer, timeout)

    def close(self) -> None:
        self._real.close()

    def start_tls(self, *args: Any, **options: Any) -> httpcore.NetworkStream:
        return _Stream(self._real.start_tls(*args, **options))

    def get_extra_info(self, info: str) -> Any:
        return self._real.get_extra_info(info)


def _pieces(response: httpx.Response) -> Iterator[bytes]:
    """A piece that takes longer than a whole answer may is dripping."""
    pieces = response.iter_raw(PIECE_BYTES)
    try:
        while True:
            with _named_errors(Unavailable), _ends_within(ANSWER_TIMEOUT_S):
                piece = next(pieces, None)
            if piece is None:
                return
            yield piece
    finally:
        response.close()
