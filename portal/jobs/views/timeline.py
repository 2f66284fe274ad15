"""How far a job is and what it costs by now: read from what is stored, nothing is guessed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from portal.catalog.pricing import cost_of_job
from portal.jobs.estimates import Quote, quote
from portal.jobs.models import Attempt, Job, JobEvent
from portal.jobs.states import AttemptState, FailureClass, JobState

_WAITING = (JobState.SUBMITTED, JobState.PLACING, JobState.QUEUED)


@dataclass(frozen=True)
class Shown:
    """A state as its badge shows it."""

    label: str | Promise
    badge: str
    icon: str


def state_shown(job: Job, attempt: Attempt | None = None) -> Shown:
    """The job's state, said more exactly where one word would mislead."""
    state = JobState(job.state)
    if attempt is not None and attempt.state == AttemptState.UNKNOWN and not state.is_final:
        return Shown(_("Being checked"), "warn", "clock")
    if state == JobState.EXPIRED and job.failure == FailureClass.OVER_BUDGET:
        return Shown(_("Cost cap reached"), state.face.badge, state.face.icon)
    if state == JobState.EXPIRED and job.failure == FailureClass.TIME_LIMIT:
        return Shown(FailureClass.TIME_LIMIT.label, state.face.badge, state.face.icon)
    return Shown(state.label, state.face.badge, state.face.icon)


@dataclass(frozen=True)
class Step:
    label: str | Promise
    status: str  # "done", "now", "" (not yet), "skipped" (never happened)
    icon: str
    at: datetime | None = None  # shown as a time of day
    seconds: int | None = None  # shown as a duration
    note: str | Promise = ""
    charging: bool = False


def timeline(job: Job, events: Sequence[JobEvent], *, now: datetime) -> list[Step]:
    """Six steps; `events` are those with a state, oldest first."""
    state = JobState(job.state)
    entered: dict[str, datetime] = {}
    for event in events:
        entered[event.after] = event.at  # after a second try the newest counts
    ran_from = job.started_at or entered.get(JobState.RUNNING)
    prepared_from = entered.get(JobState.STARTING)
    saving_from = entered.get(JobState.FINISHING)
    final_at = entered.get(state) if state.is_final else None
    left_queue = prepared_from or ran_from or saving_from or (final_at if ran_from else None)

    def status(reached: datetime | None, ended: datetime | None, is_now: bool) -> str:
        if is_now:
            return "now"
        if reached is not None and ended is not None:
            return "done"
        return "skipped" if state.is_final or ended is not None else ""

    waited = (left_queue or final_at or now) - job.submitted_at
    steps = [
        Step(pgettext_lazy("timeline", "Accepted"), "done", "check", at=job.submitted_at),
        Step(
            pgettext_lazy("timeline", "Waiting for a machine"),
            status(job.submitted_at, left_queue or final_at, state in _WAITING),
            "clock" if state in _WAITING else "check",
            seconds=_whole(waited.total_seconds()),
        ),
        Step(
            pgettext_lazy("timeline", "Preparing"),
            status(prepared_from, ran_from or final_at, state == JobState.STARTING),
            "run" if state == JobState.STARTING else "check",
            seconds=_between(prepared_from, ran_from or (None if state == JobState.STARTING else final_at) or now),
            note="" if prepared_from or not ran_from else _("Not reported separately"),
        ),
        Step(
            pgettext_lazy("timeline", "Running"),
            status(ran_from, saving_from or final_at, state == JobState.RUNNING),
            "run" if state == JobState.RUNNING else "check",
            at=ran_from,
            seconds=_between(ran_from, job.ended_at or saving_from or final_at or now),
            charging=ran_from is not None,
        ),
        Step(
            pgettext_lazy("timeline", "Saving results"),
            status(saving_from, final_at, state == JobState.FINISHING),
            "run" if state == JobState.FINISHING else "check",
            seconds=_between(saving_from, final_at or now),
        ),
    ]
    if state.is_final:
        ends = {JobState.SUCCEEDED: "done", JobState.FAILED: "failed"}
        steps.append(
            Step(state_shown(job).label, ends.get(state, "ended"), state.face.icon, at=final_at or job.ended_at)
        )
    else:
        steps.append(Step(JobState.SUCCEEDED.label, "", "ok"))
    return steps


def _between(start: datetime | None, end: datetime) -> int | None:
    return None if start is None else _whole((end - start).total_seconds())


def _whole(seconds: float) -> int:
    return max(0, int(seconds))


@dataclass(frozen=True)
class Cost:
    """Yen with tax. While the job runs `used` follows the clock; afterwards it is what was charged."""

    used: int
    cap: int
    forecast: int  # if it runs until its limit
    gpu_seconds: int
    quote: Quote
    is_live: bool

    @property
    def used_percent(self) -> int:
        return min(100, self.used * 100 // self.cap)

    @property
    def forecast_percent(self) -> int:
        return min(100, self.forecast * 100 // self.cap)


def cost_now(job: Job, *, now: datetime) -> Cost:
    reckoned = quote(job.offering, job.price, gpus=job.gpus, time_limit_s=job.time_limit_s, cost_cap=job.cost_cap)
    used, gpu_seconds = job.cost, job.gpu_seconds
    is_live = False
    if job.started_at is not None and not job.is_final:
        is_live = True
        seconds = _whole(((job.ended_at or now) - job.started_at).total_seconds())
        exact = cost_of_job(job.price, gpus=job.gpus, seconds=min(seconds, job.time_limit_s))
        used, gpu_seconds = max(used, min(int(exact), reckoned.hold)), max(gpu_seconds, seconds * job.gpus)
    return Cost(used, job.cost_cap, reckoned.hold, gpu_seconds, reckoned, is_live)
