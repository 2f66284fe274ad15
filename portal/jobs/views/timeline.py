"""How far a job is, how long it runs and what it costs by now: read from what is stored, nothing is guessed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from portal.catalog.pricing import cost_of_job
from portal.jobs.estimates import Quote, quote
from portal.jobs.metering import seconds_between
from portal.jobs.models import Attempt, Job, JobEvent
from portal.jobs.states import AttemptState, FailureClass, JobState

SILENT = timedelta(minutes=2)  # a provider that has not spoken of a running job for so long is worth a word
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
        return Shown(_("Cost cap or budget reached"), state.face.badge, state.face.icon)
    if state == JobState.EXPIRED and job.failure == FailureClass.TIME_LIMIT:
        return Shown(FailureClass.TIME_LIMIT.label, state.face.badge, state.face.icon)
    return Shown(state.label, state.face.badge, state.face.icon)


def unknown_since(attempt: Attempt | None) -> datetime | None:
    """Since when nobody knows whether the provider has it: from its last sign of it, or else from the sending."""
    if attempt is None or attempt.state != AttemptState.UNKNOWN:
        return None
    return attempt.seen_at or attempt.sent_at or attempt.created_at


def silent_since(job: Job, attempt: Attempt | None, *, now: datetime) -> datetime | None:
    if (
        attempt is None
        or attempt.seen_at is None
        or job.state not in (JobState.QUEUED, JobState.STARTING, JobState.RUNNING)
    ):
        return None
    return attempt.seen_at if now - attempt.seen_at > SILENT else None


def provider_answers(job: Job, attempt: Attempt | None, *, now: datetime) -> bool:
    """Whether its news of the job come at present, and with them the lines of its log. Reads the attempt's account."""
    if attempt is None:
        return True
    silent = unknown_since(attempt) or silent_since(job, attempt, now=now)
    return silent is None and attempt.account.failing_since is None


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
    waits_from = job.submitted_at
    for event in events:
        if event.after == JobState.SUBMITTED and JobState.FINISHING in entered:
            # It ran, was interrupted and begins anew: what was before is in its events.
            entered.clear()
            waits_from = event.at
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

    steps = [
        Step(pgettext_lazy("timeline", "Accepted"), "done", "check", at=job.submitted_at),
        Step(
            JobState.QUEUED.label,
            status(waits_from, left_queue or final_at, state in _WAITING),
            "clock" if state in _WAITING else "check",
            seconds=_between(waits_from, left_queue or final_at or now),
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
            seconds=ran_s(job, now=now) if job.started_at else _between(ran_from, saving_from or final_at or now),
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
    return None if start is None else seconds_between(start, end)


def ran_s(job: Job, *, now: datetime) -> int | None:
    """Run time as it is metered: a job that ran at all is charged its first second. None: it has not started."""
    if job.started_at is None:
        return None
    seconds = seconds_between(job.started_at, job.ended_at or now)
    return max(1, seconds) if job.ended_at else seconds


def tick(job: Job, *, now: datetime) -> int:
    """Changes with the clock as often as what a page shows of the job is worth asking for; 0 once it has ended."""
    if job.is_final:
        return 0
    since = now - (job.started_at or job.submitted_at)
    return int(now.timestamp()) // (5 if since < timedelta(minutes=10) else 60)


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
    reckoned = _quote(job)
    is_live = job.started_at is not None and not job.is_final
    seconds = (ran_s(job, now=now) or 0) if is_live else 0
    return Cost(
        used_now(job, now=now),
        job.cost_cap,
        job.earlier_cost + reckoned.hold,
        max(job.gpu_seconds, seconds * job.gpus),
        reckoned,
        is_live,
    )


def used_now(job: Job, *, now: datetime) -> int:
    """Yen: what the run time until now costs, at most what was set aside; once the job has ended, what was charged."""
    seconds = ran_s(job, now=now)
    if seconds is None or job.is_final:
        return job.cost
    exact = cost_of_job(job.price, gpus=job.gpus, seconds=min(seconds, job.time_limit_s))
    return max(job.cost, job.earlier_cost + min(int(exact), _quote(job).hold))


def _quote(job: Job) -> Quote:
    """Of the present attempt, with what those before it have left of the cap."""
    left = max(0, job.cost_cap - job.earlier_cost)
    return quote(job.offering, job.price, gpus=job.gpus, time_limit_s=job.time_limit_s, cost_cap=left)
