"""Things that go wrong, on request: POST /_emulator/fault with the token of access.json, an object or a list of them.

What is no fault is answered with 422 and one sentence, and nothing of the request holds. Jobs are named by their id at
the provider (an array by its number: all of it), by their name, or * for all. Of a kind the newest counts.

A call goes wrong. `on` is submit, find, get, list, cancel, log, artifact, check, file (SFTP alone), or * for all:
    {"on": "submit", "fault": "503:0.1:after"}     STATUS:RATE:before|after, the side effect; over SSH an exit code
    {"on": "submit", "status": 503, "rate": 0.1, "phase": "after", "times": 1, "headers": {"Retry-After": "9"}}
    {"on": "list", "latency_s": 30}                {"on": "submit", "status": 200, "body": "any text"}
    {"on": "get", "malformed": "20_mb"}            or empty, html, invalid_utf8, wrong_type; missing_id: the true
                                                   answer without any id, if the phase is after
    {"on": "get", "reset": true}                   {"on": "submit", "reset_in_body": true, "phase": "after"}: half of it

Something is wrong with all answers, until {"clear": true}:
    {"on": "list", "listing_lag_s": 90}            new jobs are missing from lists (here the longest counts)
    {"vanished": "JOB", "for_s": 600}              from get, lists, and for cancel; without for_s for good
    {"backwards": "JOB", "times": 3}               what has ended is shown running again in so many answers
    {"clock_skew_s": -900}                         all times that the provider tells, Date headers among them
    {"revoked": 401}                               or 403. Over SSH the key is refused, and log-ins that are open end
    {"same_id": true, "times": 1}                  a submit is answered with the id of the job before it
    {"log_bytes_per_s": 1}                         {"log_burst_mb": 200}: so much stands before the log's own bytes
    {"log_garbled": true}                          no UTF-8 before it      {"log_cut_every_s": 5}: and the connection
    {"usage_duplicated": true}                     {"usage_late_s": 3888000}: what ended since is not told yet
    {"usage_corrected_by_s": -60}                  {"usage_negative": true}: the same lines with other numbers

DOK's log is its stream and the download at the end, the other's is the file read by SFTP; slurmrestd has none. Usage is
DOK's bill, slurmdb, and sacct. The numbers of one kind, such as a log that drips and is cut, go in one object.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TypeVar

from portal.providers.emulators.fault_kinds import (
    Backwards,
    Clear,
    ClockSkew,
    Fault,
    Kind,
    ListingLag,
    LogFault,
    Revoked,
    SameId,
    UsageFault,
    Vanished,
)
from portal.providers.emulators.fault_requests import read
from portal.providers.emulators.machine import Job

One = TypeVar("One")


class Faults:
    def __init__(self) -> None:
        self._kept: list[Kind] = []
        self._lock = threading.Lock()
        self.when_changed: Callable[[], object] = lambda: None

    def command(self, wanted: object) -> None:
        """Add faults, or clear all. Raises ValueError, one sentence, for what is no fault."""
        asked = read(wanted)
        with self._lock:
            for one in asked:
                if isinstance(one, Clear):
                    self._kept.clear()
                else:
                    self._kept.append(one)
        self.when_changed()

    # --- one call -----------------------------------------------------------------------------------------------------

    def take(self, operation: str) -> Fault | None:
        """The fault that hits this call, counted down; None: all goes well."""
        with self._lock:
            for fault in self._all(Fault):
                if fault.on in (operation, "*") and fault.times != 0 and random.random() < fault.rate:
                    fault.times -= 1
                    return fault
        return None

    def takes_same_id(self) -> bool:
        """Whether this submit is to be answered with the id of the job before it; counted down."""
        with self._lock:
            for fault in self._all(SameId):
                if fault.times != 0:
                    fault.times -= 1
                    return True
        return False

    # --- all answers --------------------------------------------------------------------------------------------------

    def shown(self, jobs: Iterable[Job]) -> list[Job]:
        """As one answer shows them: some not at all, others running again, all at the provider's clock.

        To be looked at, and for nothing else: these may be copies.
        """
        with self._lock:
            skew_s, again = self._skew_s(), set[str]()
            there = [job for job in jobs if not self._has_vanished(job)]
            for fault in self._all(Backwards):
                hit = {job.id for job in there if _is(job, fault.backwards) and job.state == "ended" and job.started_at}
                if hit and fault.times != 0:
                    fault.times -= 1
                    again |= hit
        return [_moved(_running(job) if job.id in again else job, skew_s) for job in there]

    def listed(self, jobs: Iterable[Job]) -> list[Job]:
        """As a list shows them: without the newest ones, where lists lag behind."""
        newest = self.now() - self.listing_lag_s()
        return [job for job in self.shown(jobs) if job.created_at <= newest]

    def knows(self, job: Job) -> bool:
        with self._lock:
            return not self._has_vanished(job)

    def listing_lag_s(self) -> float:
        """How long a new job is missing from lists."""
        with self._lock:
            return max((fault.listing_lag_s for fault in self._all(ListingLag)), default=0.0)

    def now(self) -> float:
        """The provider's clock, POSIX seconds."""
        with self._lock:
            return time.time() + self._skew_s()

    def skew_s(self) -> float:
        with self._lock:
            return self._skew_s()

    def refusal(self) -> int:
        """The status that answers a key that was revoked; 0: it is good."""
        with self._lock:
            return self._newest(Revoked, Revoked(0)).revoked

    def of_log(self) -> LogFault:
        with self._lock:
            return self._newest(LogFault, LogFault())

    def of_usage(self) -> UsageFault:
        with self._lock:
            return self._newest(UsageFault, UsageFault())

    # --- under the lock -----------------------------------------------------------------------------------------------

    def _all(self, kind: type[One]) -> list[One]:
        return [one for one in self._kept if isinstance(one, kind)]

    def _newest(self, kind: type[One], otherwise: One) -> One:
        return self._all(kind)[-1] if self._all(kind) else otherwise

    def _skew_s(self) -> float:
        return self._newest(ClockSkew, ClockSkew(0)).clock_skew_s

    def _has_vanished(self, job: Job) -> bool:
        return any(fault.lasts and _is(job, fault.vanished) for fault in self._all(Vanished))


def hang(fault: Fault | None) -> None:
    if fault is not None and fault.latency_s:
        time.sleep(fault.latency_s)


def _is(job: Job, name: str) -> bool:
    return name in ("*", job.id, job.id.partition("_")[0], job.name)


def _running(job: Job) -> Job:
    return replace(job, state="running", outcome="", exit_code=None, ended_at=None, stop_asked_at=None, extra={})


def _moved(job: Job, skew_s: float) -> Job:
    if not skew_s:
        return job

    def moved(at: float | None) -> float | None:
        return None if at is None else at + skew_s

    extra = dict(job.extra)
    if artifact := extra.get("artifact"):
        extra["artifact"] = {**artifact, "at": artifact["at"] + skew_s}
    return replace(
        job,
        created_at=job.created_at + skew_s,
        started_at=moved(job.started_at),
        ended_at=moved(job.ended_at),
        stop_asked_at=moved(job.stop_asked_at),
        extra=extra,
    )
