"""Every state of a job and of an attempt, and the only ways between them."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import models
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy


class JobState(models.TextChoices):
    DRAFT = "draft", pgettext_lazy("job state", "Draft")
    SUBMITTED = "submitted", pgettext_lazy("job state", "Queued")
    PLACING = "placing", pgettext_lazy("job state", "Queued")
    QUEUED = "queued", pgettext_lazy("job state", "Queued")
    STARTING = "starting", pgettext_lazy("job state", "Preparing")
    RUNNING = "running", pgettext_lazy("job state", "Running")
    FINISHING = "finishing", pgettext_lazy("job state", "Saving")
    SUCCEEDED = "succeeded", pgettext_lazy("job state", "Completed")
    FAILED = "failed", pgettext_lazy("job state", "Failed")
    CANCELLED = "cancelled", pgettext_lazy("job state", "Stopped")
    EXPIRED = "expired", pgettext_lazy("job state", "Ended at a limit")

    @property
    def is_final(self) -> bool:
        return self in FINAL

    @property
    def face(self) -> Face:
        return FACES[self]


@dataclass(frozen=True)
class Face:
    """How a state looks: the badge's class and its icon."""

    badge: str
    icon: str


FACES: dict[JobState, Face] = {
    JobState.DRAFT: Face("plain", "file"),
    JobState.SUBMITTED: Face("", "clock"),
    JobState.PLACING: Face("", "clock"),
    JobState.QUEUED: Face("", "clock"),
    JobState.STARTING: Face("run", "run"),
    JobState.RUNNING: Face("run", "run"),
    JobState.FINISHING: Face("run", "run"),
    JobState.SUCCEEDED: Face("ok", "ok"),
    JobState.FAILED: Face("err", "err"),
    JobState.CANCELLED: Face("", "stop"),
    JobState.EXPIRED: Face("warn", "clock"),
}
FINAL = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED})
ACTIVE = frozenset(set(JobState) - FINAL - {JobState.DRAFT})

_ENDS = {JobState.FINISHING, JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED}
JOB_TRANSITIONS: dict[JobState, frozenset[JobState]] = {
    JobState.DRAFT: frozenset({JobState.SUBMITTED}),
    JobState.SUBMITTED: frozenset({JobState.QUEUED, JobState.STARTING, JobState.RUNNING, *_ENDS}),
    JobState.PLACING: frozenset({JobState.SUBMITTED, *_ENDS}),
    # Back to submitted: the provider certainly did not get it, or refused it and another place is tried.
    JobState.QUEUED: frozenset({JobState.SUBMITTED, JobState.STARTING, JobState.RUNNING, *_ENDS}),
    JobState.STARTING: frozenset({JobState.SUBMITTED, JobState.QUEUED, JobState.RUNNING, *_ENDS}),
    JobState.RUNNING: frozenset({JobState.SUBMITTED, *_ENDS}),
    # The remote job has ended; log and results are being fetched.
    JobState.FINISHING: frozenset({JobState.SUBMITTED, *FINAL}),
    **{final: frozenset() for final in FINAL},
}


class AttemptState(models.TextChoices):
    """One try at one provider."""

    INTENDED = "intended", pgettext_lazy("attempt state", "To be sent")
    SENDING = "sending", pgettext_lazy("attempt state", "Being sent")  # may already have been sent
    UNKNOWN = "unknown", pgettext_lazy("attempt state", "Being checked")  # the answer was lost: look, never repeat
    ACCEPTED = "accepted", pgettext_lazy("attempt state", "Accepted")
    RUNNING = "running", pgettext_lazy("attempt state", "Running")
    STOPPING = "stopping", pgettext_lazy("attempt state", "Stopping")
    ENDED = "ended", pgettext_lazy("attempt state", "Ended")


ATTEMPT_TRANSITIONS: dict[AttemptState, frozenset[AttemptState]] = {
    # Unknown without having been sent: the provider lists it, and the database was restored from before that.
    AttemptState.INTENDED: frozenset({AttemptState.SENDING, AttemptState.UNKNOWN, AttemptState.ENDED}),
    AttemptState.SENDING: frozenset(
        {AttemptState.INTENDED, AttemptState.UNKNOWN, AttemptState.ACCEPTED, AttemptState.RUNNING, AttemptState.ENDED}
    ),
    AttemptState.UNKNOWN: frozenset(
        {
            AttemptState.SENDING,
            AttemptState.INTENDED,  # looked for often enough and certainly not there
            AttemptState.ACCEPTED,
            AttemptState.RUNNING,
            AttemptState.STOPPING,
            AttemptState.ENDED,
        }
    ),
    AttemptState.ACCEPTED: frozenset(
        {AttemptState.RUNNING, AttemptState.STOPPING, AttemptState.UNKNOWN, AttemptState.ENDED}
    ),
    AttemptState.RUNNING: frozenset({AttemptState.STOPPING, AttemptState.UNKNOWN, AttemptState.ENDED}),
    AttemptState.STOPPING: frozenset({AttemptState.UNKNOWN, AttemptState.ENDED}),
    AttemptState.ENDED: frozenset(),
}


class WaitingReason(models.TextChoices):
    APPROVAL = "approval", _("Waiting for approval")
    BUDGET = "budget", _("Waiting for budget")
    QUOTA = "quota", _("Waiting for other jobs of this account to end")
    CAPACITY = "capacity", _("Waiting for a free GPU")
    RESERVATION = "reservation", _("Waiting for the reserved time")
    DATA_TRANSFER = "data_transfer", _("Waiting for data")
    IMAGE_PULL = "image_pull", _("Fetching the container image")
    MAINTENANCE = "maintenance", _("The provider is under maintenance")
    UNREACHABLE = "unreachable", _("The provider cannot be reached; we keep trying")
    DEPENDENCY = "dependency", _("Waiting for another job")


class FailureClass(models.TextChoices):
    NO_CAPACITY = "no_capacity", _("No free GPU")
    INTERRUPTED = "interrupted", _("Interrupted by the provider")
    MACHINE = "machine", _("Machine fault")
    IMAGE = "image", _("Container image could not be used")
    PROGRAM = "program", _("The program ended with an error")
    OUT_OF_MEMORY = "out_of_memory", _("Out of memory")
    TIME_LIMIT = "time_limit", _("Time limit reached")
    DATA_MISSING = "data_missing", _("Input data missing or damaged")
    ACCESS_REFUSED = "access_refused", _("Access refused")
    OVER_BUDGET = "over_budget", _("Over budget")
    PORTAL = "portal_fault", _("Fault on our side")
