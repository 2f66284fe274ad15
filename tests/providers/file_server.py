"""A loopback store that answers GET and PUT, as presigned addresses do: enough for a job's inputs, output and log.

A POST is a claim, answered as the portal does: the first copy may run.
"""

from __future__ import annotations

import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs


class FileServer:
    """Objects by path. `refuse` holds paths that answer 403, `gets` what was asked for.

    `sent`: the bytes of each answer that had some. `cuts`: after so many the next answers break off, one number for
    each. `has_ranges`: whether an answer can begin in the middle. `claims` holds the form of each POST, `claimed` the
    copy that may run, `lost_answers` how many of them will not be heard.
    """

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.history: list[tuple[str, bytes]] = []  # every PUT in order
        self.refuse: set[str] = set()
        self.gets: list[str] = []
        self.cuts: list[int] = []
        self.has_ranges = True
        self.sent: list[int] = []
        self.claims: list[tuple[str, dict[str, str]]] = []
        self.claimed: dict[str, str] = {}
        self.lost_answers = 0
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/{path}"

    def put_url(self, path: str) -> str:
        return self.url(path)

    def claim_url(self, path: str) -> str:
        return self.url(path)

    def get(self, path: str) -> bytes | None:
        return self.objects.get(path)

    def put(self, path: str, data: bytes | str) -> str:
        self.objects[path] = data.encode() if isinstance(data, str) else data
        return self.url(path)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        store = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                path = self.path.lstrip("/").partition("?")[0]
                store.gets.append(path)
                if path in store.refuse:
                    self._answer(403, b"no")
                elif path in store.objects:
                    self._answer_part(store.objects[path])
                else:
                    self._answer(404, b"none")

            def do_PUT(self) -> None:
                path = self.path.lstrip("/").partition("?")[0]
                data = self.rfile.read(int(self.headers["Content-Length"]))
                if path in store.refuse:
                    self._answer(403, b"no")
                    return
                store.objects[path] = data
                store.history.append((path, data))
                self._answer(200, b"")

            def do_POST(self) -> None:
                path = self.path.lstrip("/").partition("?")[0]
                form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                with store._lock:
                    store.claims.append((path, {name: values[0] for name, values in form.items()}))
                    mine = store.claimed.setdefault(path, form["copy"][0]) == form["copy"][0]
                    lost, store.lost_answers = store.lost_answers > 0, max(0, store.lost_answers - 1)
                if lost:
                    self.close_connection = True
                else:
                    self._answer(403 if path in store.refuse else 200 if mine else 409, b"")

            def _answer_part(self, body: bytes) -> None:
                asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")) if store.has_ranges else None
                start = int(asked[1]) if asked else 0
                if asked and start >= len(body):
                    self._answer(416, b"")
                    return
                rest = body[start:]
                cut = store.cuts.pop(0) if store.cuts else len(rest)
                self.send_response(206 if asked else 200)
                self.send_header("Content-Length", str(len(rest)))
                if asked:
                    self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
                self.end_headers()
                self.wfile.write(rest[:cut])
                store.sent.append(len(rest[:cut]))
                self.close_connection = cut < len(rest)

            def _answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler
