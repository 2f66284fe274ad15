import pytest
from django.utils import translation

from portal.jobs.explaining import CAUSES, explanation_of
from portal.jobs.failure_rules import CURES, CURES_OF_CLASSES, RULES, Cause
from portal.jobs.states import FailureClass
from portal.jobs.wording import FAILURES, LOST


def test_every_class_and_every_cause_of_a_rule_is_explained() -> None:
    assert [failure for failure in FailureClass if explanation_of(None, failure) is None] == []
    by_class_alone = {rule.cause for rule in RULES} - set(CAUSES)
    assert by_class_alone == {Cause.IMAGE_UNUSABLE}  # "could not be fetched or started" says it


@pytest.mark.parametrize(
    ("cause", "failure", "expected"),
    [
        (Cause.DISK_FULL, FailureClass.PROGRAM, CAUSES[Cause.DISK_FULL]),
        (Cause.PROGRAM_ERROR, FailureClass.PROGRAM, FAILURES[FailureClass.PROGRAM]),
        (Cause.LOST, FailureClass.INTERRUPTED, LOST),
        # Which of them it was is in no code of the machine: nobody is told that it was not their program.
        (Cause.OUTPUT_NOT_SAVED, FailureClass.PORTAL, CAUSES[Cause.OUTPUT_NOT_SAVED]),
        (Cause.NOT_STARTED, FailureClass.PORTAL, CAUSES[Cause.NOT_STARTED]),
        (None, FailureClass.NO_CAPACITY, FAILURES[FailureClass.NO_CAPACITY]),
        (None, "", None),
    ],
)
def test_the_cause_is_said_where_it_says_more_than_the_class(cause: Cause | None, failure: str, expected) -> None:
    assert explanation_of(cause, failure) == expected


def test_every_sentence_is_there_in_japanese() -> None:
    sentences = [text for one in CAUSES.values() for text in (one.happened, one.next_step)]
    with translation.override("en"):
        english = [str(text) for text in sentences]
    with translation.override("ja"):
        untranslated = [text for text, other in zip(map(str, sentences), english, strict=True) if text == other]
    assert untranslated == []


def test_every_cause_and_class_that_cures_are_listed_for_has_one() -> None:
    assert [one for one, cures in (CURES | CURES_OF_CLASSES).items() if not cures] == []
