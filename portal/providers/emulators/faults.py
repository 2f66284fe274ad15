"""Things that go wrong, on request: POST /_emulator/fault with the token of access.json.

    {"on": "submit", "status": 503, "rate": 1, "phase": "after", "times": 1}
    {"on": "list", "latency_s": 30}    {"on": "get", "reset": true}    {"on": "submit", "status": 200, "body": "<html>"}
    {"on": "list", "listing_lag_s": 90}    {"clear": true}

`on` is submit, find, get, list, cancel, log, artifact, check, or * for all. `phase` says whether the side effect comes
first.
"""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Fault:
    on: str
    status: int = 0
    rate: float = 1.0
    phase: str = "before"
    latency_s: float = 0.0
    reset: bool = False
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    listing_lag_s: float = 0.0
    times: int = -1  # how often it still happens; below 0: until cleared

    @property
    def fails(self) -> bool:
        return bool(self.status or self.reset)


class Faults:
    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def command(self, wanted: dict[str, Any]) -> None:
        """Add one fault, or clear all. Raises TypeError, ValueError for what is no fault."""
        if wanted.get("clear"):
            with self._lock:
                self._faults.clear()
            return
        fault = Fault(**wanted)
        if fault.phase not in ("before", "after"):
            raise ValueError("phase is before or after")
        with self._lock:
            self._faults.append(fault)

    def take(self, operation: str) -> Fault | None:
        """The fault that hits this call, counted down; None: all goes well."""
        with self._lock:
            for fault in self._faults:
                if fault.on not in (operation, "*") or fault.listing_lag_s or fault.times == 0:
                    continue
                if random.random() < fault.rate:
                    fault.times -= 1
                    return fault
        return None

    def listing_lag_s(self) -> float:
        """How long a new job is missing from lists."""
        with self._lock:
            return max((fault.listing_lag_s for fault in self._faults), default=0.0)


def hang(fault: Fault | None) -> None:
    if fault is not None and fault.latency_s:
        time.sleep(fault.latency_s)
