"""DOK's door to a task's HTTP port: an address of its own for each task, while the task runs.

The real one is https://<id>.container.sakurausercontent.com behind Sakura's TLS; here it is a port on loopback that
passes bytes on to the program's port. A sandbox shares our network, so two tasks with one port would meet.
"""

from __future__ import annotations

import contextlib
import socket
import threading

from portal.providers.emulators.machine import Job

_NOBODY_LISTENS = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_LOOK_EVERY_S = 0.5  # whether the task still runs


class Doors:
    def __init__(self) -> None:
        self._doors: dict[str, str] = {}  # task -> its address
        self._lock = threading.Lock()

    def address(self, job: Job) -> str | None:
        """None: the task does not run, or shows no port."""
        http = job.request["containers"][0].get("http")
        if job.state != "running" or not http:
            return None
        with self._lock:
            if job.id not in self._doors:
                listener = socket.create_server(("127.0.0.1", 0))
                self._doors[job.id] = f"http://127.0.0.1:{listener.getsockname()[1]}"
                threading.Thread(target=self._serve, args=(job, listener, http["port"]), daemon=True).start()
            return self._doors[job.id]

    def _serve(self, job: Job, listener: socket.socket, port: int) -> None:
        with listener:
            listener.settimeout(_LOOK_EVERY_S)
            while job.state == "running":
                try:
                    visitor, _address = listener.accept()
                except TimeoutError:
                    continue
                threading.Thread(target=_let_in, args=(visitor, port), daemon=True).start()
        with self._lock:
            del self._doors[job.id]


def _let_in(visitor: socket.socket, port: int) -> None:
    visitor.settimeout(None)
    try:
        program = socket.create_connection(("127.0.0.1", port), timeout=5)
    except OSError:
        with contextlib.suppress(OSError), visitor:
            visitor.recv(65_536)  # an answer to a question that nobody read would be a reset
            visitor.sendall(_NOBODY_LISTENS)
        return
    program.settimeout(None)
    back = threading.Thread(target=_pass_on, args=(program, visitor), daemon=True)
    back.start()
    _pass_on(visitor, program)
    back.join()
    visitor.close()
    program.close()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
