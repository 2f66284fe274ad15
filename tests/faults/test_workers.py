"""A worker told to stop in the middle of its work, one that hangs, and two schedulers at once."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from typing import Any

import pytest

from portal.launcher.processes import started_at
from tests.faults.rig import ROOT
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


def silent_worker_is_seen(stack: Stack, *, already_silent_for_s: int) -> float:
    """Seconds from its stop until /readyz names it. What comes in meanwhile is done by the other worker."""
    stack.wait_until(lambda: workers_ready(stack)["detail"] == "")
    with stack.stopped(stack.portal.pid_of("worker1")):
        stack.sql(
            "UPDATE home_heartbeat SET seen_at = seen_at - make_interval(secs => %s) WHERE name LIKE 'worker1@%%'",
            already_silent_for_s,
        )
        codes = stack.submit(9).codes
        took_s = stack.wait_until(lambda: "worker1" in str(workers_ready(stack)["detail"]))
        answer = workers_ready(stack)
        stack.assert_all_handed_over_once(codes, "one worker silent")
    stack.say(f"silent worker seen after {already_silent_for_s + took_s:.1f} s: {answer}")
    assert answer["ok"]  # the other one keeps work going
    assert re.fullmatch(r"silent: worker1 \d+ s", answer["detail"])
    assert 60 <= int(answer["detail"].split()[2]) < 180
    return already_silent_for_s + took_s


HOLDS_ALL_ACCOUNTS = """
import django, sys
django.setup()
from django.db import DatabaseError, transaction
from portal.billing.models import BillingAccount
try:
    with transaction.atomic():
        list(BillingAccount.objects.select_for_update())
        print("holding", flush=True)
        sys.stdin.read()
        BillingAccount.objects.update(held=0)
except DatabaseError as refused:
    print(refused)
"""


def test_process_frozen_in_the_middle_of_a_transaction_keeps_nobody_waiting_for_long(stack: Stack) -> None:
    command = [sys.executable, "-c", HOLDS_ALL_ACCOUNTS]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    frozen = subprocess.Popen(command, env=stack.for_django(), cwd=ROOT, text=True, **pipes)  # type: ignore[call-overload]
    try:
        assert frozen.stdout.readline() == "holding\n"
        done = stack.submit(1)
    finally:
        said, _ = frozen.communicate("")
    stack.say(f"a process frozen with every account locked: the form was answered after {done.slowest_s:.1f} s")
    assert 5 < done.slowest_s < 25
    assert "idle-in-transaction timeout" in said
    stack.assert_all_handed_over_once(done.codes, "frozen in a transaction")


def workers_ready(stack: Stack) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(stack.client("sakura_dok").get("/readyz").text)["workers"]
    return answer


def test_worker_that_hangs_is_seen_while_another_works(stack: Stack) -> None:
    silent_worker_is_seen(stack, already_silent_for_s=55)


@pytest.mark.faults_full
def test_worker_that_hangs_is_seen_within_a_minute(stack: Stack) -> None:
    assert silent_worker_is_seen(stack, already_silent_for_s=0) < 65
    stack.wait_until(lambda: workers_ready(stack)["detail"] == "")


def test_two_schedulers_at_once_hand_nothing_over_twice(stack: Stack) -> None:
    command = [sys.executable, "-m", "celery", "-A", "portal.celery", "beat", "-l", "INFO", "--pidfile="]
    command += ["-s", str(stack.folder / "second-beat")]
    said = stack.folder / "second-beat.log"
    with said.open("wb") as log:
        second = subprocess.Popen(command, env=stack.for_django(), cwd=ROOT, stdout=log, stderr=log)
    try:
        stack.wait_until(lambda: "jobs.sweep" in said.read_text(), said.read_text)
        codes = stack.submit(12).codes
        stack.assert_all_handed_over_once(codes, "two schedulers")
    finally:
        second.terminate()
        assert second.wait(30) == 0
