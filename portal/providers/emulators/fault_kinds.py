"""The kinds of faults. faults.py has the whole vocabulary with examples; fault_requests.py reads it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

Use = TypeVar("Use")


@dataclass
class Fault:
    """One call goes wrong."""

    on: str
    status: int = 0
    rate: float = 1.0
    phase: str = "before"
    latency_s: float = 0.0
    reset: bool = False
    reset_in_body: bool = False
    body: str = ""
    malformed: str = ""  # one of MALFORMED
    headers: dict[str, str] = field(default_factory=dict)
    times: int = -1  # how often it still happens; below 0: until cleared

    @property
    def fails(self) -> bool:
        return bool(self.status or self.reset or self.reset_in_body or self.malformed)


@dataclass(frozen=True)
class ListingLag:
    listing_lag_s: float
    on: str = "list"


@dataclass(frozen=True)
class Vanished:
    vanished: str
    for_s: float = 0.0  # 0: for good
    since: float = field(init=False, default_factory=time.monotonic)

    @property
    def lasts(self) -> bool:
        return not self.for_s or time.monotonic() < self.since + self.for_s


@dataclass
class Backwards:
    backwards: str
    times: int = -1


@dataclass(frozen=True)
class ClockSkew:
    clock_skew_s: float


@dataclass(frozen=True)
class Revoked:
    revoked: int  # the status of all answers


@dataclass
class SameId:
    same_id: bool
    times: int = -1


@dataclass(frozen=True)
class LogFault:
    """How logs are told. spoilt_logs.py does it."""

    log_bytes_per_s: float = 0.0  # 0: as fast as it goes
    log_burst_mb: float = 0.0
    log_garbled: bool = False
    log_cut_every_s: float = 0.0  # 0: never

    @property
    def is_slow(self) -> bool:
        return bool(self.log_bytes_per_s)


@dataclass(frozen=True)
class UsageFault:
    """What the provider's statements say."""

    usage_duplicated: bool = False
    usage_late_s: float = 0.0
    usage_corrected_by_s: int = 0
    usage_negative: bool = False

    def told(self, uses: list[Use], *, ended_at: Callable[[Use], float | None], now: float) -> list[Use]:
        """Those that are known by now. What has not ended is."""
        if not self.usage_late_s:
            return uses
        return [use for use in uses if (at := ended_at(use)) is None or at <= now - self.usage_late_s]

    def repeated(self, lines: list[Use]) -> list[Use]:
        return [line for line in lines for _ in range(2 if self.usage_duplicated else 1)]

    def seconds(self, counted: int) -> int:
        return (counted + self.usage_corrected_by_s) * (-1 if self.usage_negative else 1)


@dataclass(frozen=True)
class Clear:
    clear: bool


Kind = Fault | ListingLag | Vanished | Backwards | ClockSkew | Revoked | SameId | LogFault | UsageFault | Clear
