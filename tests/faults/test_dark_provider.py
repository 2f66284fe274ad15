"""One provider takes connections and answers nobody while forms for all three come in: the others go on, and nothing is
lost when it is back."""

from __future__ import annotations

import pytest

from tests.faults.stack import PLACES, Stack

pytestmark = [pytest.mark.faults, pytest.mark.timeout(0)]

TOLD = ("提供会社に接続できません", "確認中")  # "cannot be reached", "being checked": never "failed"


def goes_dark(stack: Stack, kind: str, *, forms: int) -> list[str]:
    others = [other for other in PLACES if other != kind]
    before = hand_over_times(stack, stack.submit(12, kinds=others).codes)
    with stack.stopped(stack.portal.pid_of(kind)):
        dark = stack.submit(forms, kinds=[kind])
        beside = stack.submit(12, kinds=others)
        during = hand_over_times(stack, beside.codes)
        took_s = stack.wait_until(lambda: all(words_of(stack, kind, code) for code in dark.codes))
    slowest_s = max(dark.slowest_s, beside.slowest_s)
    stack.say(
        f"{kind} dark: to the others at most {max(before):.2f} s before it, {max(during):.2f} s meanwhile; slowest form"
        f" {slowest_s:.2f} s; all pages told it after {took_s:.1f} s"
    )
    assert slowest_s < 4
    return dark.codes


def hand_over_times(stack: Stack, codes: list[str]) -> list[float]:
    """Seconds from submitted to accepted of each."""
    stack.wait_until(lambda: stack.handed_over(codes) == len(codes), lambda: stack.states(codes), within_s=20)
    rows = stack.sql(
        "SELECT extract(epoch FROM accepted_at - submitted_at) FROM jobs_attempt a JOIN jobs_job j ON j.id = job_id"
        " WHERE j.code = ANY(%s)",
        codes,
    )
    return [float(seconds) for (seconds,) in rows]


def words_of(stack: Stack, kind: str, code: str) -> str:
    """What the job's page says of its provider, if anything."""
    page = stack.client(kind).get(f"/jobs/{code}/")
    assert page.status == 200
    return next((words for words in TOLD if f"<b>{words}" in page.text), "")


def test_provider_goes_dark_while_forms_come_in(stack: Stack) -> None:
    kind = stack.chance.choice(list(PLACES))
    codes = goes_dark(stack, kind, forms=4)
    stack.let_time_pass()  # of the pauses between two calls; the full set waits for their end
    stack.assert_all_handed_over_once(codes, f"{kind} back")


@pytest.mark.faults_full
@pytest.mark.parametrize("kind", PLACES)
def test_each_provider_goes_dark_while_many_forms_come_in(stack: Stack, kind: str) -> None:
    codes = goes_dark(stack, kind, forms=60)
    stack.assert_all_handed_over_once(codes, f"{kind} back")
