from __future__ import annotations

import ast
from pathlib import Path

import pytest
from django.conf import settings
from django.utils import translation

from portal.jobs.models import JobEvent
from portal.jobs.states import FailureClass, JobState
from portal.jobs.wording import EVENTS, FAILURES, event_sentence

SOURCE = Path(settings.BASE_DIR) / "portal" / "jobs"


def test_every_failure_says_what_happened_and_what_to_do_next() -> None:
    assert set(FAILURES) == set(FailureClass)
    with translation.override("en"):
        unfinished = [
            str(sentence)
            for explanation in FAILURES.values()
            for sentence in (explanation.happened, explanation.next_step)
            if not str(sentence).endswith(".")
        ]
    assert unfinished == []


def test_every_reason_that_the_code_gives_has_its_sentence() -> None:
    given = set()
    for path in SOURCE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("move_to", "create", "_note"):
                words = [keyword.value for keyword in node.keywords if keyword.arg == "reason"] + node.args[2:3]
                given.update(word.value for word in words if isinstance(word, ast.Constant) and word.value)
    assert len(given) > 5
    assert given - set(EVENTS) == {"elsewhere", "extended"}  # sentences with names, times and yen


@pytest.mark.parametrize(
    ("why", "said"),
    [
        ("no_capacity", "A had no free GPU: given to B, as allowed, for at most ¥1,200."),
        ("unreachable", "A could not take the job: given to B, as allowed, for at most ¥1,200."),
    ],
)
def test_a_move_names_both_places_and_what_it_may_cost(why: str, said: str) -> None:
    names = {"from_ja": "あ", "from_en": "A", "to_ja": "い", "to_en": "B"}
    event = JobEvent(reason="elsewhere", detail={"why": why, "at_most_yen": 1200, **names})
    with translation.override("en"):
        assert str(event_sentence(event)) == said


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        ("time_limit", "30 minutes before its end: at 1 Dec 08:00 the time limit is reached, and it is stopped"),
        ("cost_cap", "30 minutes before its end: at 1 Dec 08:00 the cost cap is reached, and it is stopped"),
    ],
)
def test_a_warning_says_when_and_at_which_limit_in_the_time_of_japan(limit: str, said: str) -> None:
    told = {"minutes": 30, "limit": limit, "ends_at": "2026-11-30T23:00:00+00:00"}
    with translation.override("en"):
        assert str(event_sentence(JobEvent(reason="ends_soon", detail=told))) == said


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (1, "Read back from the storage, 1 file was not what had been sent there, and was removed: a.txt"),
        (9, "Read back from the storage, 9 files were not what had been sent there, and were removed: a.txt, b.txt …"),
    ],
)
def test_files_that_could_not_be_kept_are_named(count: int, said: str) -> None:
    event = JobEvent(reason="results_damaged", detail={"count": count, "paths": ["a.txt", "b.txt"][:count]})
    with translation.override("en"):
        assert event_sentence(event) == said


def test_every_sentence_is_still_said_somewhere() -> None:
    code = "\n".join(path.read_text() for path in SOURCE.rglob("*.py") if path.name != "wording.py")
    assert [reason for reason in EVENTS if f'"{reason}"' not in code] == []


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (JobEvent(reason="accepted"), "The provider accepted the job"),
        (JobEvent(reason="accepted", after="queued"), "The provider accepted the job"),
        (JobEvent(reason="", after="running"), "Running"),
        (JobEvent(reason="QOSMaxGRESPerUser <b>"), "QOSMaxGRESPerUser <b>"),
        (JobEvent(reason=""), ""),
    ],
)
def test_an_event_is_a_sentence_a_state_or_the_providers_own_words(event: JobEvent, said: str) -> None:
    with translation.override("en"):
        assert str(event_sentence(event)) == said
        assert str(JobState.RUNNING.label) == "Running"
