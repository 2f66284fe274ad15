"""A worker told to stop in the middle of its work, one that hangs, and two schedulers at once."""

from __future__ import annotations

import os
import re
import signal

import pytest

from portal.launcher.processes import started_at
from tests.faults.stack import Stack

pytestmark = [pytest.mark.faults, pytest.mark.timeout(0)]

STOPS_WITHIN_S = 30


def test_worker_told_to_stop_ends_soon_however_much_waits(stack: Stack) -> None:
    """40 hand-overs of 4 seconds each: what is under way is finished, the rest is left to others."""
    log = stack.portal.folder / "start.log"
    said_before = len(log.read_text())
    stack.tell_emulator("sakura_dok", on="submit", latency_s=4)
    try:
        codes = stack.submit(40, kinds=["sakura_dok"]).codes
        stack.wait_until(lambda: stack.handed_over(codes) > 0)
        pid = stack.portal.pid_of("worker1")
        was = started_at(pid)
        os.kill(pid, signal.SIGTERM)
        took_s = stack.wait_until(lambda: started_at(pid) != was)
    finally:
        stack.tell_emulator("sakura_dok", clear=True)
    stack.wait_until(lambda: "worker 1" in log.read_text()[said_before:])
    said = re.findall(r"worker 1.*", log.read_text()[said_before:])
    stack.say(f"worker told to stop: gone after {took_s:.1f} s, {len(codes)} hand-overs of 4 s waiting")
    assert (took_s < STOPS_WITHIN_S, "status 0" in said[0]) == (True, True), said
    stack.assert_all_handed_over_once(codes, "worker stopped")
