"""Logs as a fault has them told: with other bytes before their own, drop by drop, over connections that break."""

from __future__ import annotations

import time
from collections.abc import Callable

from portal.providers.emulators.fault_kinds import LogFault

_GARBLED = b"\xff\xfe\xc3(\n"  # UTF-8 has none of these three bytes so
_LINE = b"x" * 63 + b"\n"


class SpoiltLog:
    """One reading of one log. `read(offset, size)` gives the log's own bytes."""

    def __init__(self, fault: LogFault, read: Callable[[int, int], bytes]) -> None:
        self._fault, self._read = fault, read
        self._first = _GARBLED if fault.log_garbled else b""
        self.added_bytes = len(self._first) + int(fault.log_burst_mb * 1_000_000)  # before the log's own
        self._ends_at = time.monotonic() + fault.log_cut_every_s if fault.log_cut_every_s else float("inf")

    @property
    def is_garbled(self) -> bool:
        return self._fault.log_garbled

    @property
    def is_cut(self) -> bool:
        """The connection has to break now."""
        return time.monotonic() >= self._ends_at

    def read(self, offset: int, size: int) -> bytes:
        """At most `size` bytes, often less; none: that is all for now."""
        size = min(size, max(1, int(self._fault.log_bytes_per_s // 10))) if self._fault.log_bytes_per_s else size
        if offset >= self.added_bytes:
            return self._read(offset - self.added_bytes, size)
        if offset < len(self._first):
            return self._first[offset : offset + size]
        begin = (offset - len(self._first)) % len(_LINE)
        return (_LINE * (size // len(_LINE) + 2))[begin : begin + min(size, self.added_bytes - offset)]

    def pause_s(self, told: int) -> float:
        """How long to wait after so many bytes; not beyond the cut."""
        if not self._fault.log_bytes_per_s:
            return 0.0
        return max(0.0, min(told / self._fault.log_bytes_per_s, self._ends_at - time.monotonic()))
