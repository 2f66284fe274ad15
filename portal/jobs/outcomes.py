"""How a job has ended, from what the provider says of its attempt: a pure function."""

from __future__ import annotations

from dataclasses import dataclass

from portal.jobs.models import Attempt, Job
from portal.jobs.states import FailureClass, JobState
from portal.providers.base import RemoteState
from portal.providers.bootstrap import BootstrapExit

VANISHED = "not listed any more"  # our reason where the provider gives none


@dataclass(frozen=True)
class Outcome:
    state: JobState
    reason: str  # a key of portal.jobs.wording
    failure: FailureClass | None = None


def outcome_of(job: Job, attempt: Attempt) -> Outcome:
    """A stop is never success, and only exit code 0 is."""
    if attempt.remote_reason == VANISHED:  # whatever else was wished meanwhile: how it ended nobody knows
        return Outcome(JobState.FAILED, "lost", FailureClass.INTERRUPTED)
    remote = RemoteState(attempt.remote_state)
    if remote == RemoteState.SUCCEEDED and attempt.exit_code in (0, None):
        return Outcome(JobState.SUCCEEDED, "succeeded")
    if remote == RemoteState.TIMED_OUT or job.failure == FailureClass.TIME_LIMIT:
        return Outcome(JobState.EXPIRED, "time_limit", FailureClass.TIME_LIMIT)
    if job.failure == FailureClass.OVER_BUDGET:
        return Outcome(JobState.EXPIRED, "over_budget", FailureClass.OVER_BUDGET)
    stopped = (RemoteState.CANCELLED, RemoteState.FAILED, RemoteState.INTERRUPTED)
    if job.stop_requested_at is not None and remote in stopped:
        return Outcome(JobState.CANCELLED, "stopped")
    if remote == RemoteState.CANCELLED:
        return Outcome(JobState.CANCELLED, "stopped_at_provider")
    if remote == RemoteState.OUT_OF_MEMORY:
        return Outcome(JobState.FAILED, "out_of_memory", FailureClass.OUT_OF_MEMORY)
    if remote == RemoteState.INTERRUPTED:
        return Outcome(JobState.FAILED, "interrupted", FailureClass.INTERRUPTED)
    if attempt.exit_code is None and any(word in attempt.remote_reason.lower() for word in ("image", "registry")):
        return Outcome(JobState.FAILED, "image_not_fetched", FailureClass.IMAGE)
    return _by_exit_code(attempt)


def _by_exit_code(attempt: Attempt) -> Outcome:
    match attempt.exit_code:
        case BootstrapExit.INPUT_MISMATCH:
            return Outcome(JobState.FAILED, "input_missing", FailureClass.DATA_MISSING)
        case BootstrapExit.NO_TOOL:
            return Outcome(JobState.FAILED, "image_lacks_tools", FailureClass.IMAGE)
        case BootstrapExit.SECOND_COPY if attempt.claimed_by:
            # The job we follow is the one that may run: it had begun, and the provider started it anew.
            return Outcome(JobState.FAILED, "interrupted", FailureClass.INTERRUPTED)
        case BootstrapExit.NOT_STARTED | BootstrapExit.SECOND_COPY:
            return Outcome(JobState.FAILED, "not_started", FailureClass.PORTAL)
        case BootstrapExit.OUTPUT_NOT_SAVED:
            return Outcome(JobState.FAILED, "output_not_saved", FailureClass.PORTAL)
    return Outcome(JobState.FAILED, "program_error", FailureClass.PROGRAM)
