"""A loopback store that answers GET and PUT, as presigned addresses do: enough for a job's inputs, output and log."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FileServer:
    """Objects by path. `refuse` holds paths that answer 403, `gets` what was asked for."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.history: list[tuple[str, bytes]] = []  # every PUT in order
        self.refuse: set[str] = set()
        self.gets: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/{path}"

    def put_url(self, path: str) -> str:
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
                    self._answer(200, store.objects[path])
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

            def _answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler
