"""A wire to the store that counts what passes and can be spoilt: an HTTP proxy on loopback, for whom it is set as the
proxy and for whom takes it for the store itself."""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import threading
from collections import Counter
from dataclasses import dataclass, field
from urllib.parse import urlsplit

BLOCK = 65_536


@dataclass
class StoreWire:
    """`parts`: the parts that the store took (200), by number. `received`: body bytes of PUTs that came this way."""

    upstream: str  # the store's address, http://host:port
    parts: Counter[int] = field(default_factory=Counter)
    received: int = 0
    refused: int = 0  # tries while it was cut

    def __post_init__(self) -> None:
        address = urlsplit(self.upstream)
        assert address.hostname and address.port
        self._upstream = (address.hostname, address.port)
        self._cut_at: int | None = None
        self._is_cut = False
        self._answer = b""
        self._flip = False
        self._going = threading.Event()
        self._going.set()
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> StoreWire:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        self._going.set()

    # --- how it is spoilt; each lasts until `mend` ---

    def cut_at(self, received: int) -> None:
        """When so many body bytes have passed in all, every connection breaks and none is made."""
        self._cut_at = received

    def cut(self) -> None:
        self._is_cut, self._cut_at, self.refused = True, None, 0
        with self._lock:
            ends, self._open = self._open, set()
        for end in ends:
            _reset(end)

    def answer_puts(self, status: int, code: str = "") -> None:
        """The store takes no part, and says so."""
        body = f"<?xml version='1.0'?><Error><Code>{code}</Code></Error>".encode()
        self._answer = (
            f"HTTP/1.1 {status} x\r\nContent-Length: {len(body)}\r\nContent-Type: application/xml\r\n"
            "Access-Control-Allow-Origin: *\r\n\r\n"
        ).encode() + body

    def flip_a_bit(self) -> None:
        """In each body the first byte arrives as another one."""
        self._flip = True

    def hold(self) -> None:
        """Nothing breaks, and nothing is read or answered any more."""
        self._going.clear()

    def mend(self) -> None:
        self._is_cut, self._cut_at, self._answer, self._flip = False, None, b"", False
        self._going.set()

    @property
    def is_cut(self) -> bool:
        return self._is_cut

    # --- inside ---

    def _accept(self) -> None:
        while True:
            try:
                client, _address = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        if self._is_cut:
            self.refused += 1
            _reset(client)
            return
        try:
            server = socket.create_connection(self._upstream, timeout=60)
        except OSError:
            _reset(client)
            return
        with self._lock:
            self._open |= {client, server}
        with contextlib.suppress(OSError, ValueError), client, server:
            while self._one(client, server):
                pass
        with self._lock:
            self._open -= {client, server}

    def _one(self, client: socket.socket, server: socket.socket) -> bool:
        head, rest = _head(client)
        if not head:
            return False
        method, target, _version = head.split(b"\r\n", 1)[0].split(b" ", 2)
        path = re.sub(rb"^https?://[^/]+", b"", target)
        head = head.replace(target, path, 1)
        if re.search(rb"(?i)\r\nexpect: 100-continue", head):
            head = re.sub(rb"(?i)\r\nexpect: 100-continue", b"", head)
            client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        length, is_put = _length(head), method == b"PUT"
        spoilt = self._answer if is_put else b""
        if not spoilt:
            server.sendall(head)
        while length:
            self._going.wait()
            block = rest or client.recv(min(BLOCK, length))
            rest = b""
            if not block:
                return False
            length -= len(block)
            if is_put:
                with self._lock:
                    self.received += len(block)
                    is_over = self._cut_at is not None and self.received >= self._cut_at
                if is_over:
                    self.cut()
                    return False
                if self._flip:
                    block, self._flip = bytes([block[0] ^ 1]) + block[1:], False
            if not spoilt:
                server.sendall(block)
        self._going.wait()
        if spoilt:
            client.sendall(spoilt)
            return True
        status = _answer(server, client, method)
        number = re.search(rb"[?&]partNumber=(\d+)", path)
        if is_put and status == 200 and number:
            with self._lock:
                self.parts[int(number[1])] += 1
        return True


def _head(end: socket.socket) -> tuple[bytes, bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        block = end.recv(BLOCK)
        if not block:
            return b"", b""
        data += block
    head, _blank, rest = data.partition(b"\r\n\r\n")
    return head + b"\r\n\r\n", rest


def _length(head: bytes) -> int:
    found = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    return int(found[1]) if found else 0


def _answer(server: socket.socket, client: socket.socket, method: bytes) -> int:
    head, rest = _head(server)
    if not head:
        raise OSError("the store closed the connection")
    status = int(head.split(b" ", 2)[1])
    client.sendall(head + rest)
    if method == b"HEAD" or status in (204, 304):
        return status
    if re.search(rb"(?i)\r\ntransfer-encoding: *chunked", head):
        tail = rest
        while not tail.endswith(b"0\r\n\r\n"):
            block = server.recv(BLOCK)
            client.sendall(block)
            tail = (tail + block)[-16:]
        return status
    length = _length(head) - len(rest)
    while length > 0:
        block = server.recv(min(BLOCK, length))
        if not block:
            raise OSError("the store closed the connection")
        client.sendall(block)
        length -= len(block)
    return status


def _reset(end: socket.socket) -> None:
    """As a broken network does: no orderly goodbye, and whoever reads there wakes up."""
    with contextlib.suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
