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
    assert given - set(EVENTS) == set()


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
