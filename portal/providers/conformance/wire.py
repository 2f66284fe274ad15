"""A wire between adapter and provider that can be spoilt: what no provider does on request, and every network does."""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from urllib.parse import urlsplit

from portal.providers.base import Account

PIECE_BYTES = 65_536


class Wire:
    """Forwards TCP on loopback to the account's endpoint. `account` is the same account, reached through it."""

    def __init__(self, account: Account) -> None:
        host, port = _address(account.endpoint)
        self._upstream = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        own = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.account = replace(account, endpoint=own, credentials=_pinned_to_any_host(account))
        if "://" in account.endpoint:
            self.account = replace(
                self.account, endpoint=account.endpoint.replace(urlsplit(account.endpoint).netloc, own, 1)
            )
        self._lock = threading.Lock()
        self._open: list[tuple[socket.socket, socket.socket]] = []
        self._mode: Callable[[socket.socket, bytes], bool] = _forward
        self.requests = 0  # connections taken
        self.answers = 0  # pieces of them that have come since `cut_answer`
        threading.Thread(target=self._accept, daemon=True, name="wire").start()

    # --- how it is spoilt; each lasts until the next ----------------------------------------------------------------

    def mend(self) -> None:
        self._mode = _forward

    def refuse(self) -> None:
        """Nobody can connect any more, and what is connected breaks off. For good."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """Break off every connection now, as a reset."""
        with self._lock:
            pairs, self._open = self._open, []
        for pair in pairs:
            for end in pair:
                _reset(end)

    def cut_answers(self) -> None:
        """Answers break off before their first byte. The requests arrived."""

        def spoilt(client: socket.socket, data: bytes) -> bool:
            _reset(client)
            return False

        self._mode = spoilt

    def replace_answers(self, answer: bytes) -> None:
        """Whatever the provider answers, these bytes come instead. The requests arrived."""

        def spoilt(client: socket.socket, data: bytes) -> bool:
            with contextlib.suppress(OSError):
                client.sendall(answer)
            return False

        self._mode = spoilt

    def swallow_answers(self) -> None:
        """Nothing comes back, and nothing breaks off."""
        self._mode = lambda client, data: True

    def drip_answers(self, *, every_s: float = 0.5) -> None:
        """One byte at a time."""

        def spoilt(client: socket.socket, data: bytes) -> bool:
            try:
                for place in range(len(data)):
                    client.sendall(data[place : place + 1])
                    time.sleep(every_s)
            except OSError:
                return False
            return True

        self._mode = spoilt

    def cut_answer(self, number: int) -> None:
        """The answer of this number from now on breaks off before its first byte; 0: none, they are only counted."""
        self.answers = 0

        def spoilt(client: socket.socket, data: bytes) -> bool:
            with self._lock:
                self.answers += 1
                is_it = self.answers == number
            if is_it:
                _reset(client)
            return not is_it and _forward(client, data)

        self._mode = spoilt

    # --- inside -----------------------------------------------------------------------------------------------------

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.refuse()

    def _accept(self) -> None:
        while True:
            try:
                client, _address = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._upstream, timeout=5)
            except OSError:
                _reset(client)
                continue
            server.settimeout(None)
            self.requests += 1
            with self._lock:
                self._open.append((client, server))
            for source, target, answers in ((client, server, False), (server, client, True)):
                threading.Thread(target=self._pump, args=(source, target, answers), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, answers: bool) -> None:
        try:
            while data := source.recv(PIECE_BYTES):
                if answers:
                    if not self._mode(target, data):
                        break
                else:
                    target.sendall(data)
        except OSError:
            pass
        for end in (target, source):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def _forward(client: socket.socket, data: bytes) -> bool:
    """Pass an answer on. False: this connection is done."""
    try:
        client.sendall(data)
    except OSError:
        return False
    return True


def _reset(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        end.shutdown(socket.SHUT_RD)
    with contextlib.suppress(OSError):
        end.close()


def _address(endpoint: str) -> tuple[str, int]:
    if "://" in endpoint:
        parts = urlsplit(endpoint)
        return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    host, _colon, port = endpoint.rpartition(":")
    return host.strip("[]"), int(port)


def _pinned_to_any_host(account: Account) -> dict[str, str]:
    """The same host key, for the wire's own port."""
    credentials = dict(account.credentials)
    if "known_hosts" in credentials:
        lines = credentials["known_hosts"].splitlines()
        credentials["known_hosts"] = "\n".join(re.sub(r"^(?!#|@|\s*$)\S+", "*", line) for line in lines)
    return credentials
