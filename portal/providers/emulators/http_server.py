"""The HTTP side that the REST emulators share: keep-alive, bounded bodies, one write per answer, faults."""

from __future__ import annotations

import hmac
import json
import socket
import struct
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

from portal.providers.emulators.faults import Fault, Faults, hang

_BODY_LIMIT = 8 << 20


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Raises ValueError."""
        return json.loads(self.body)


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
        fault = self.faults.take(self.service.operation(request))
        if fault is not None and fault.phase == "before":
            hang(fault)
            if fault.fails:
                self._fail(fault)
                return
        answer = self.service.answer(request)
        if fault is not None and fault.phase == "after":
            hang(fault)
            if fault.fails:
                self._fail(fault)
                return
        self._send(answer)

    do_GET = do_POST = do_PUT = do_DELETE = _handle

    def _control(self, request: Request) -> Answer:
        if not hmac.compare_digest(request.headers.get("authorization", ""), f"Bearer {self.control_token}"):
            return Answer(401, {"detail": "the token is in access.json"})
        if request.method != "POST" or request.path != "/_emulator/fault":
            return Answer(404, {"detail": "POST /_emulator/fault"})
        try:
            self.faults.command(request.json())
        except (TypeError, ValueError) as error:
            return Answer(422, {"detail": str(error)})
        return Answer(200, {"ok": True})

    def _fail(self, fault: Fault) -> None:
        if fault.reset:
            self.close_connection = True
            # A linger of zero seconds makes closing a reset.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.rfile.close()
            self.wfile.close()
            self.connection.close()
            raise ConnectionAbortedError
        self._send(Answer(fault.status, fault.body or "injected fault", fault.headers))

    def _send(self, answer: Answer) -> None:
        content = answer.content
        if isinstance(content, Path):
            self._send_file(answer, content)
            return
        if isinstance(content, bytes):
            body, kind = content, "application/octet-stream"
        elif isinstance(content, str):
            body, kind = content.encode(), "text/plain; charset=utf-8"
        else:
            body, kind = json.dumps(content, ensure_ascii=False).encode(), "application/json"
        if answer.status == HTTPStatus.NO_CONTENT:
            body = b""
        self._head(answer, kind, len(body))
        self.wfile.write(body)
        self.wfile.flush()

    def _send_file(self, answer: Answer, path: Path) -> None:
        with path.open("rb") as file:
            size = path.stat().st_size
            self._head(answer, "application/octet-stream", size)
            while size > 0 and (piece := file.read(min(1 << 20, size))):  # a log may grow meanwhile
                self.wfile.write(piece)
                size -= len(piece)
        self.wfile.flush()

    def _head(self, answer: Answer, kind: str, length: int) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Access logs would hold signed addresses."""
