"""The broker is killed and comes back empty, is off, or takes connections and never answers, while forms come in."""

from __future__ import annotations

import time

import pytest

from tests.faults.stack import Stack

pytestmark = [pytest.mark.faults, pytest.mark.timeout(0)]


def off_for_the_whole_of(stack: Stack, forms: int) -> None:
    stack.kill_broker()
    submitted = stack.submit(forms)
    stack.start_broker()
    stack.assert_all_handed_over_once(submitted.codes, f"broker off, slowest form {submitted.slowest_s:.2f} s")


def test_broker_killed_and_back_empty_while_forms_come_in(stack: Stack) -> None:
    with stack.submitting(30, every_s=0.05) as submitted:
        time.sleep(stack.chance.uniform(0.2, 1.5))
        stack.kill_broker()
        time.sleep(stack.chance.uniform(0.5, 1.5))
        stack.start_broker()
    stack.assert_all_handed_over_once(submitted.codes, "broker killed")


def test_broker_off_for_the_whole_of_30_forms(stack: Stack) -> None:
    off_for_the_whole_of(stack, 30)


@pytest.mark.faults_full
def test_broker_off_for_the_whole_of_500_forms(stack: Stack) -> None:
    off_for_the_whole_of(stack, 500)


def test_broker_that_never_answers_keeps_no_form_waiting(stack: Stack) -> None:
    with stack.stopped(stack.broker.pid):
        submitted = stack.submit(6)
        began = time.monotonic()
        page = stack.client("sakura_dok").get("/jobs/new/")
        page_s = time.monotonic() - began
    stack.say(f"broker stalled: slowest form {submitted.slowest_s:.2f} s, the form's page {page_s:.2f} s")
    assert ([answer.status for answer in submitted.answers], page.status) == ([302] * 6, 200)
    stack.assert_all_handed_over_once(submitted.codes, "broker stalled")
    assert max(submitted.slowest_s, page_s) < 4  # the promise is 2; a busy machine gets twice that
