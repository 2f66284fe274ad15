from __future__ import annotations

from typing import Any

import pytest

from portal.jobs.states import (
    ACTIVE,
    ATTEMPT_TRANSITIONS,
    FACES,
    FINAL,
    JOB_TRANSITIONS,
    AttemptState,
    JobState,
)

TABLES: list[tuple[Any, Any]] = [(JobState, JOB_TRANSITIONS), (AttemptState, ATTEMPT_TRANSITIONS)]


def reachable(table: Any, start: Any) -> set[Any]:
    found, new = {start}, {start}
    while new:
        new = {after for state in new for after in table[state]} - found
        found |= new
    return found


@pytest.mark.parametrize(("states", "table"), TABLES)
def test_every_state_has_its_ways_and_none_leads_to_itself(states: Any, table: Any) -> None:
    assert set(table) == set(states)
    assert [state for state in states if state in table[state]] == []


def test_a_final_state_is_never_left_and_every_other_can_end() -> None:
    assert {state for state in JobState if not JOB_TRANSITIONS[state]} == FINAL
    assert [state for state in JobState if not reachable(JOB_TRANSITIONS, state) & FINAL] == []
    assert [state for state in AttemptState if AttemptState.ENDED not in reachable(ATTEMPT_TRANSITIONS, state)] == []
    assert ATTEMPT_TRANSITIONS[AttemptState.ENDED] == frozenset()


def test_from_a_draft_every_state_but_placing_can_be_reached() -> None:
    assert set(JobState) - reachable(JOB_TRANSITIONS, JobState.DRAFT) == {JobState.PLACING}
    assert reachable(ATTEMPT_TRANSITIONS, AttemptState.INTENDED) == set(AttemptState)


def test_a_job_succeeds_only_after_its_results_were_saved() -> None:
    assert {state for state in JobState if JobState.SUCCEEDED in JOB_TRANSITIONS[state]} == {JobState.FINISHING}


def test_what_may_have_been_sent_is_never_simply_sent_again() -> None:
    sends = {state for state in AttemptState if AttemptState.SENDING in ATTEMPT_TRANSITIONS[state]}
    assert sends == {AttemptState.INTENDED, AttemptState.UNKNOWN}


def test_a_job_is_a_draft_or_active_or_final() -> None:
    assert (ACTIVE | FINAL | {JobState.DRAFT}, ACTIVE & FINAL) == (set(JobState), frozenset())
    assert {state for state in JobState if state.is_final} == FINAL
    assert set(FACES) == set(JobState)
