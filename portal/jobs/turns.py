"""How many threads of a process may be busy with one provider account: one that hangs delays no other."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable

PAUSE_MAX_S = 30.0


class Turns:
    """At most `limit` at once per key. Who finds all places taken leaves word; somebody inside does it again."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._busy: Counter[int] = Counter()
        self._again: set[int] = set()

    def run(self, key: int, work: Callable[[], None]) -> bool:
        """False: it was left to those inside. No call is lost: whoever leaves last looks for word first."""
        with self._lock:
            if self._busy[key] >= self._limit:
                self._again.add(key)
                return False
            self._busy[key] += 1
        while True:
            try:
                work()
            except BaseException:
                with self._lock:
                    self._busy[key] -= 1
                raise
            with self._lock:
                if key not in self._again:
                    self._busy[key] -= 1
                    return True
                self._again.discard(key)


class Pauses:
    """After a provider could not be used it is left alone for 1, 2, 4 ... 30 s, or as long as it asked for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failures: defaultdict[int, int] = defaultdict(int)
        self._until: dict[int, float] = {}

    def is_paused(self, key: int) -> bool:
        return time.monotonic() < self._until.get(key, 0.0)

    def failed(self, key: int, wait_s: float | None = None) -> None:
        with self._lock:
            backoff = min(2.0 ** self._failures[key], PAUSE_MAX_S)
            self._failures[key] = min(self._failures[key] + 1, 10)
            self._until[key] = time.monotonic() + max(backoff, min(wait_s or 0.0, 1800.0))

    def worked(self, key: int) -> None:
        with self._lock:
            self._failures.pop(key, None)
            self._until.pop(key, None)
