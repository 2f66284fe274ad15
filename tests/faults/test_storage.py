"""The store answers 503, or nobody, while jobs need it for what their machines are told: they wait, and then go on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from tests.faults.stack import Stack

pytestmark = [pytest.mark.faults, pytest.mark.timeout(0)]

BUSY = b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
SCRIPT = "#!/bin/sh\n" + "# a line that takes room in the store\n" * 8000
WAITING = "<b>データの準備を待っています</b>"


def waits_for_the_store(stack: Stack, what: str, spoilt: AbstractContextManager[None]) -> None:
    # A test before this one may have taken the database away a second ago.
    stack.wait_until(lambda: {stack.client("sakura_dok").get("/jobs/").status for _ in range(4)} == {200})
    with spoilt:
        submitted = stack.submit(6, script=SCRIPT)
        stack.wait_until(
            lambda: all(is_waiting(stack, code) for code in submitted.codes),
            lambda: stack.states(submitted.codes),
        )
        assert stack.handed_over(submitted.codes) == 0
    stack.say(f"{what}: slowest form {submitted.slowest_s:.2f} s")
    assert submitted.slowest_s < 4
    stack.let_time_pass()  # of the waits between two tries
    stack.assert_all_handed_over_once(submitted.codes, what)
    stack.wait_until(lambda: {state for (state,) in final_states(stack, submitted.codes)} == {"succeeded"})


def is_waiting(stack: Stack, code: str) -> bool:
    page = stack.client("sakura_dok").get(f"/jobs/{code}/")
    assert page.status == 200
    return WAITING in page.text


def final_states(stack: Stack, codes: list[str]) -> list[tuple[str]]:
    return stack.sql("SELECT state FROM jobs_job WHERE code = ANY(%s)", codes)


@contextmanager
def mended(stack: Stack) -> Iterator[None]:
    """The wire to the store has been spoilt."""
    try:
        yield
    finally:
        stack.storage.mend()
        stack.storage.cut()


def test_store_that_answers_503_keeps_jobs_waiting(stack: Stack) -> None:
    stack.storage.replace_answers(BUSY)
    waits_for_the_store(stack, "store 503", mended(stack))


@pytest.mark.faults_full
def test_store_that_never_answers_keeps_jobs_waiting(stack: Stack) -> None:
    stack.storage.swallow_answers()
    waits_for_the_store(stack, "store silent", mended(stack))


@pytest.mark.faults_full
def test_store_that_answers_a_byte_at_a_time_keeps_jobs_waiting(stack: Stack) -> None:
    stack.storage.drip_answers()
    waits_for_the_store(stack, "store slow", mended(stack))
