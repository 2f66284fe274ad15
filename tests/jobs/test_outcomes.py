import pytest
from django.utils import timezone

from portal.jobs.models import Attempt, Job
from portal.jobs.outcomes import VANISHED, outcome_of


@pytest.mark.parametrize(
    ("remote", "code", "job", "state", "failure"),
    [
        ("succeeded", 0, {}, "succeeded", None),
        ("succeeded", None, {}, "succeeded", None),
        ("succeeded", 3, {}, "failed", "program"),
        ("failed", 1, {}, "failed", "program"),
        ("failed", 94, {}, "failed", "portal_fault"),
        ("failed", 95, {}, "failed", "portal_fault"),
        ("failed", 96, {}, "failed", "data_missing"),
        ("failed", 97, {}, "failed", "image"),
        ("failed", 98, {}, "failed", "portal_fault"),
        ("timed_out", None, {}, "expired", "time_limit"),
        ("out_of_memory", 137, {}, "failed", "out_of_memory"),
        ("interrupted", None, {}, "failed", "interrupted"),
        ("cancelled", None, {}, "cancelled", None),
        ("cancelled", None, {"stop_requested_at": timezone.now()}, "cancelled", None),
        ("failed", 143, {"stop_requested_at": timezone.now()}, "cancelled", None),
        ("interrupted", None, {"stop_requested_at": timezone.now()}, "cancelled", None),
        ("succeeded", 0, {"stop_requested_at": timezone.now()}, "succeeded", None),
        ("cancelled", None, {"stop_requested_at": timezone.now(), "failure": "over_budget"}, "expired", "over_budget"),
        ("failed", 143, {"stop_requested_at": timezone.now(), "failure": "over_budget"}, "expired", "over_budget"),
    ],
)
def test_outcome(remote: str, code: int | None, job: dict[str, object], state: str, failure: str | None) -> None:
    outcome = outcome_of(Job(**job), Attempt(remote_state=remote, exit_code=code))
    assert (outcome.state, outcome.failure) == (state, failure)


@pytest.mark.parametrize(
    ("reason", "code", "failure"),
    [
        ("invalid registry permission", None, "image"),
        ("Image not found", None, "image"),
        ("machine is gone", None, "program"),
        ("invalid registry permission", 1, "program"),  # it ran: its image was there
    ],
)
def test_an_image_that_was_never_fetched(reason: str, code: int | None, failure: str) -> None:
    attempt = Attempt(remote_state="failed", remote_reason=reason, exit_code=code)
    assert outcome_of(Job(), attempt).failure == failure


def test_a_second_beginning_of_a_job_that_had_begun_is_an_interruption() -> None:
    outcome = outcome_of(Job(), Attempt(remote_state="failed", exit_code=98, claimed_by="a copy"))
    assert (outcome.state, outcome.reason, outcome.failure) == ("failed", "interrupted", "interrupted")


def test_of_a_job_that_vanished_nobody_knows_how_it_ended() -> None:
    """Also when it should have ended at its limit in the meantime."""
    job = Job(stop_requested_at=timezone.now(), failure="time_limit")
    outcome = outcome_of(job, Attempt(remote_state="interrupted", remote_reason=VANISHED))
    assert (outcome.state, outcome.reason, outcome.failure) == ("failed", "lost", "interrupted")
