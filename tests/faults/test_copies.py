"""One form sent by everything that can send it twice, over HTTP, to both web processes at once: one job, one answer."""

from __future__ import annotations

import secrets
import threading
from collections import Counter

import pytest

from tests.bench.form import Answer
from tests.faults.stack import PLACES, Stack

pytestmark = [pytest.mark.faults, pytest.mark.timeout(0)]


def copies_at_once(stack: Stack, copies: int, kind: str) -> str:
    """The one code that all were answered."""
    key, together = secrets.token_hex(12), threading.Barrier(copies)
    answers: list[Answer | BaseException] = []

    def send() -> None:
        client = stack.client(kind)
        together.wait(60)
        try:
            answers.append(client.send(key))
        except BaseException as problem:
            answers.append(problem)

    threads = [threading.Thread(target=send) for _ in range(copies)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counted = Counter((answer.status, answer.code) if isinstance(answer, Answer) else answer for answer in answers)
    assert (len(counted), sum(counted.values())) == (1, copies), counted
    status, code = counted.popitem()[0]  # type: ignore[misc]
    assert status == 302
    return str(code)


def one_form_many_times(stack: Stack, *, copies: int, rounds: int) -> None:
    before = stack.sql("SELECT count(*) FROM jobs_job")[0][0]
    codes = [copies_at_once(stack, copies, stack.chance.choice(list(PLACES))) for _ in range(rounds)]
    assert stack.sql("SELECT count(*) FROM jobs_job")[0][0] - before == len(set(codes)) == rounds
    stack.assert_all_handed_over_once(codes, f"{copies} copies in {rounds} rounds")


def test_one_form_sent_50_times_at_once_is_one_job(stack: Stack) -> None:
    one_form_many_times(stack, copies=50, rounds=2)


@pytest.mark.faults_full
def test_one_form_sent_200_times_at_once_is_one_job_in_20_rounds(stack: Stack) -> None:
    one_form_many_times(stack, copies=200, rounds=20)
