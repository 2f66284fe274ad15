"""The HTTP side that the REST emulators share: keep-alive, bounded bodies, one write per answer, faults."""

from __future__ import annotations

import contextlib
import hmac
import json
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NoReturn, Protocol
from urllib.parse import parse_qs, urlsplit

from portal.providers.emulators.fault_kinds import Fault, LogFault
from portal.providers.emulators.faults import Faults, hang
from portal.providers.emulators.malformed_bodies import malformed
from portal.providers.emulators.spoilt_logs import SpoiltLog

_BODY_LIMIT = 8 << 20
_PIECE_BYTES = 1 << 20


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Raises ValueError."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            raise ValueError("The body is not JSON.") from None


@dataclass(frozen=True)
class Answer:
    status: int
    content: object = None  # JSON, text, bytes, or the Path of a file
    headers: Mapping[str, str] = field(default_factory=dict)


class Service(Protocol):
    def operation(self, request: Request) -> str:
        """The name of what is asked, as faults call it."""

    def answer(self, request: Request) -> Answer: ...


def serve(service: Service, faults: Faults, *, port: int, control_token: str) -> ThreadingHTTPServer:
    """Start answering on loopback in threads of its own. Port 0 takes a free one: read it from `server_address`."""

    class Handler(_Handler):
        pass

    Handler.service, Handler.faults, Handler.control_token = service, faults, control_token
    server = _Server(("127.0.0.1", port), Handler)
    threading.Thread(target=server.serve_forever, args=(3600,), daemon=True, name="http").start()
    return server


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who leaves in the middle, or is cut off on request, is no news."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # an answer leaves in one piece
    timeout = 300
    service: Service
    faults: Faults
    control_token: str

    def _handle(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        if length > _BODY_LIMIT:
            self.close_connection = True
            self._send(Answer(413, {"detail": "too large"}))
            return
        parts = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, parts.path, query, headers, self.rfile.read(length))
        if request.path.startswith("/_emulator/"):
            self._send(self._control(request))
            return
        operation = self.service.operation(request)
        fault = self.faults.take(operation)
        if fault is not None and fault.phase == "before":
            hang(fault)
            if fault.fails:
                self._fail(fault, Answer(HTTPStatus.OK, b""))
                return
        answer = self.service.answer(request)
        if fault is not None and fault.phase == "after":
            hang(fault)
            if fault.fails:
                self._fail(fault, answer)
                return
        self._send(answer, log=self.faults.of_log() if operation == "log" else LogFault())

    do_GET = do_POST = do_PUT = do_DELETE = _handle

    def _control(self, request: Request) -> Answer:
        if not hmac.compare_digest(request.headers.get("authorization", ""), f"Bearer {self.control_token}"):
            return Answer(401, {"detail": "the token is in access.json"})
        if request.method != "POST" or request.path != "/_emulator/fault":
            return Answer(404, {"detail": "POST /_emulator/fault"})
        try:
            self.faults.command(request.json())
        except ValueError as error:
            return Answer(422, {"detail": str(error)})
        return Answer(200, {"ok": True})

    def _fail(self, fault: Fault, answer: Answer) -> None:
        """`answer` is the true one."""
        if fault.reset:
            self._reset()
        if fault.malformed:
            kind = "text/html" if fault.malformed == "html" else "application/json"
            _, pieces, _ = _content(answer, LogFault())
            content: object = malformed(fault.malformed, b"".join(pieces))
            answer = Answer(fault.status or HTTPStatus.OK, content, {"Content-Type": kind, **fault.headers})
        elif fault.status:
            answer = Answer(fault.status, fault.body or "injected fault", fault.headers)
        elif fault.phase == "before":
            answer = Answer(HTTPStatus.OK, "injected fault", fault.headers)
        self._send(answer, half=fault.reset_in_body)

    def _reset(self) -> NoReturn:
        self.close_connection = True
        # A linger of zero seconds makes closing a reset.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.rfile.close()
        with contextlib.suppress(OSError):
            self.wfile.close()
        self.connection.close()
        raise ConnectionAbortedError

    def _send(self, answer: Answer, *, log: LogFault = LogFault(), half: bool = False) -> None:  # noqa: B008  frozen
        """`log`: how the file is told, where it is one. `half`: the connection is reset in the middle of the body."""
        kind, pieces, length = _content(answer, log)
        self.send_response(answer.status)
        for name, value in {"Content-Type": kind, "Content-Length": str(length), **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        left = length // 2 if half else length
        for piece in pieces:
            self.wfile.write(piece[:left])
            left -= len(piece)
            if left <= 0:
                break
            if log.is_slow:
                self.wfile.flush()
        self.wfile.flush()
        if half or left > 0:
            self._reset()

    def log_message(self, format: str, *args: object) -> None:
        """Access logs would hold signed addresses."""

    def date_time_string(self, timestamp: float | None = None) -> str:
        """The Date header, by the provider's clock."""
        return super().date_time_string(self.faults.now() if timestamp is None else timestamp)


def _content(answer: Answer, log: LogFault) -> tuple[str, Iterator[bytes], int]:
    """Type, pieces and length of the body. Fewer bytes than that many: the connection has to break."""
    content = answer.content
    if answer.status == HTTPStatus.NO_CONTENT:
        return "application/json", iter(()), 0
    if isinstance(content, Path):
        return _file(content, log)
    if isinstance(content, bytes):
        return "application/octet-stream", iter((content,)), len(content)
    if isinstance(content, str):
        body, kind = content.encode(errors="replace"), "text/plain; charset=utf-8"
    else:
        body, kind = json.dumps(content, ensure_ascii=False).encode(), "application/json"
    return kind, iter((body,)), len(body)


def _file(path: Path, fault: LogFault) -> tuple[str, Iterator[bytes], int]:
    size = path.stat().st_size  # a log may grow meanwhile
    file = path.open("rb")
    told = SpoiltLog(fault, lambda offset, wanted: os.pread(file.fileno(), wanted, offset))
    length = told.added_bytes + size

    def pieces() -> Iterator[bytes]:
        with file:
            offset = 0
            while (
                offset < length and not told.is_cut and (piece := told.read(offset, min(_PIECE_BYTES, length - offset)))
            ):
                yield piece
                offset += len(piece)
                time.sleep(told.pause_s(len(piece)))

    return "application/octet-stream", pieces(), length
