"""PostgreSQL restarted, `immediate` and `fast`, at random moments while forms come in."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.faults.stack import Stack

pytestmark = [pytest.mark.faults, pytest.mark.timeout(0)]

HOW = {"immediate": signal.SIGQUIT, "fast": signal.SIGINT}
RESTART_TAKES_S = 60  # at most; the supervisor gives a server up that ends five times in a minute


def restarted_under_forms(stack: Stack, restarts: list[str], *, forms: int, apart_s: float) -> list[str]:
    with stack.submitting(forms, every_s=0.05) as submitted:
        for how in restarts:
            time.sleep(stack.chance.uniform(0.3, 1.0) + apart_s)
            os.kill(stack.portal.pid_of("postgres"), HOW[how])
            stack.wait_until(lambda: not database_answers(stack), within_s=RESTART_TAKES_S)
            stack.wait_until(lambda: database_answers(stack), within_s=RESTART_TAKES_S)
    refusals = [answer for answer in submitted.answers if answer.status != 302]
    stack.say(f"{len(restarts)} restarts under {forms} forms: {len(refusals)} answered 503")
    assert [answer.status for answer in refusals if answer.status != 503] == []
    assert [answer.text for answer in refusals if not is_our_page(answer.text)] == []
    assert submitted.unanswered == 0
    return submitted.codes


def database_answers(stack: Stack) -> bool:
    try:
        return stack.sql("SELECT 1") == [(1,)]
    except Exception:
        return False


def is_our_page(html: str) -> bool:
    return "ただいま利用できません" in html and "Not available right now" in html and "Traceback" not in html


def test_database_restarted_twice_while_forms_come_in(stack: Stack) -> None:
    codes = restarted_under_forms(stack, ["immediate", "fast"], forms=30, apart_s=0)
    stack.let_time_pass()  # for those that were being handed over; the full set waits for the end of their leases
    stack.assert_all_handed_over_once(codes, "database restarted")


@pytest.mark.faults_full
def test_database_restarted_twenty_times_while_forms_come_in(stack: Stack) -> None:
    restarts = [stack.chance.choice(list(HOW)) for _ in range(20)]
    codes = restarted_under_forms(stack, restarts, forms=2000, apart_s=16)
    stack.assert_all_handed_over_once(codes, "database restarted")


@contextmanager
def away(stack: Stack) -> Iterator[None]:
    """Until the block ends; the supervisor is stopped, so that it does not start it again before."""
    assert stack.portal.process
    with stack.stopped(stack.portal.process.pid):
        os.kill(stack.portal.pid_of("postgres"), signal.SIGQUIT)
        stack.wait_until(lambda: not database_answers(stack))
        yield
    stack.wait_until(lambda: database_answers(stack))


def test_pages_say_so_while_the_database_is_away(stack: Stack) -> None:
    client = stack.client("sakura_dok")
    began = time.monotonic()
    with away(stack):
        pages = [client.get(path) for path in ("/jobs/", "/catalog/")]
        pages += [stack.client("sakura_dok").send("while the database is away")]
    stack.say(f"database away: three pages within {time.monotonic() - began:.1f} s")
    assert [(page.status, is_our_page(page.text)) for page in pages] == [(503, True)] * 3


@pytest.mark.faults_full
def test_pages_are_back_soon_after_the_database_was_away_for_long(stack: Stack) -> None:
    with away(stack):
        ends_at = time.monotonic() + 75
        while time.monotonic() < ends_at:
            assert stack.client("sakura_dok").get("/catalog/").status == 503
    took_s = stack.wait_until(lambda: stack.client("sakura_dok").get("/catalog/").status == 200)
    stack.say(f"database away for 75 s: pages were back {took_s:.1f} s after it")
    assert took_s < 10
