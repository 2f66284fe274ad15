"""The ends that the portal itself sees to, of jobs at a provider: at the cost cap, long past the time limit, where a
budget stops all; the warnings before the first two; and time limits that have moved, carried to the provider."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from portal.audit import recording as audit
from portal.billing import budgets, holds
from portal.billing.tasks import watch_budgets
from portal.celery import nudge
from portal.core.failpoints import failpoint
from portal.core.plain_text import one_line
from portal.jobs.estimates import affordable_s
from portal.jobs.models import Attempt, Job, JobEvent
from portal.jobs.states import FailureClass
from portal.providers.base import Adapter, MoreTime
from portal.providers.errors import Misconfigured, NotFound, ProviderError, Rejected

log = structlog.get_logger(__name__)

BY = "portal:tracking"
STOP_TAKES_S = 15  # from asking for a stop to its end at the provider
OVER_TIME_GRACE_S = 300  # a provider ends a job at its time limit by itself, some minutes late at worst
WARNED_MIN = (10, 30)  # minutes before the end


@dataclass(frozen=True)
class End:
    """When a running job ends at the latest. `after_s`: seconds from its start."""

    after_s: int
    paid_s: int  # until when its money lasts, if not its time limit ends it before
    is_at_cap: bool  # the money ends it before its time limit does

    @property
    def reason(self) -> str:
        return "cost_cap" if self.is_at_cap else "time_limit"


def end_of(attempt: Attempt, *, held: int) -> End:
    """`held`: yen set aside for the job in all, used or not."""
    job = attempt.job
    # Of what is set aside for several runs, one that took too long may have used more than its part.
    pays_for_s = affordable_s(attempt.price, gpus=job.gpus, yen=min(job.cost_cap, held) - job.earlier_cost)
    if pays_for_s < job.time_limit_s:
        return End(max(0, pays_for_s - STOP_TAKES_S), pays_for_s, is_at_cap=True)
    return End(job.time_limit_s, job.time_limit_s, is_at_cap=False)


def warning_at(left_s: float, end: End) -> int:
    """The warning, in minutes, that is due with so much left; 0: none. A job that was never to run longer has none."""
    return next((m for m in WARNED_MIN if left_s <= 60 * m < end.after_s), 0)


def see_to_ends(attempts: Sequence[Attempt]) -> None:
    """Warn, once each, of ends in 30 and in 10 minutes; ask for those that are due. Attempts as tracking reads them.

    One statement where nothing is due, and warnings take as many whatever the number of jobs.
    """
    now = timezone.now()
    watched = {a.job.organization_id for a in attempts if a.may_be_stopped}  # type: ignore[attr-defined]
    stops = budgets.stops_of(watched) if watched else ()
    # Else it is the cap, or pays for the time limit.
    several = [attempt.job.code for attempt in attempts if attempt.job.retries]
    held = holds.amounts_of(several) if several else {}
    to_warn: list[tuple[Attempt, int, End]] = []
    for attempt in attempts:
        job = attempt.job
        if job.stop_requested_at is not None:
            continue
        if job.project in stops:
            _want_stop(job, "budget_stopped", FailureClass.OVER_BUDGET, now)
            nudge(watch_budgets, job.organization_id)
        if attempt.started_at is None or job.stop_requested_at is not None:
            continue
        ran_s = (now - attempt.started_at).total_seconds()
        end = end_of(attempt, held=held.get(job.code, job.cost_cap))
        if end.is_at_cap and ran_s >= end.after_s:
            _want_stop(job, "over_budget", FailureClass.OVER_BUDGET, now)
        elif not end.is_at_cap and ran_s > end.after_s + OVER_TIME_GRACE_S:
            _want_stop(job, "over_time", FailureClass.TIME_LIMIT, now)
        elif (minutes := warning_at(end.after_s - ran_s, end)) and _is_new(minutes, attempt):
            to_warn.append((attempt, minutes, end))
    if to_warn:
        _warn(to_warn, now)


def _is_new(minutes: int, attempt: Attempt) -> bool:
    return not attempt.warned_min or minutes < attempt.warned_min


def _warn(to_warn: Iterable[tuple[Attempt, int, End]], now: datetime) -> None:
    due = {attempt.pk: (minutes, end) for attempt, minutes, end in to_warn}
    with transaction.atomic():
        # Whoever holds one of them is ending it, or gives it more time: the next round looks again.
        locked = Attempt.objects.select_for_update(of=("self",), skip_locked=True).filter(pk__in=due).order_by("pk")
        events = []
        for attempt in locked.only("job_id", "warned_min", "started_at"):
            minutes, end = due[attempt.pk]
            if attempt.started_at is None or not _is_new(minutes, attempt):
                continue
            attempt.warned_min = minutes
            ends_at = attempt.started_at + timedelta(seconds=end.after_s)
            detail = {"minutes": minutes, "limit": end.reason, "ends_at": ends_at.isoformat()}
            events.append((attempt, JobEvent(job_id=attempt.job_id, at=now, kind="limit", reason="ends_soon", by=BY)))
            events[-1][1].detail = detail
        Attempt.objects.bulk_update([attempt for attempt, _event in events], ["warned_min"])
        JobEvent.objects.bulk_create([event for _attempt, event in events])
        Job.objects.filter(pk__in=[attempt.job_id for attempt, _event in events]).update(version=F("version") + 1)


# --- later than it was ------------------------------------------------------------------------------------------------


def carry_new_limits(attempts: Sequence[Attempt], adapter: Adapter) -> None:
    """Tell the provider of time limits that have moved, again and again until it answers. What it refuses is taken
    back: the limit, the cap and the money held for it."""
    for attempt in attempts:
        if not attempt.asked_more_s or attempt.job.stop_requested_at is not None:
            continue
        if not isinstance(adapter, MoreTime):
            _settle_limit(attempt, refused="no such ability")
            continue
        try:
            adapter.set_time_limit(attempt.remote_id, time_limit_s=attempt.job.time_limit_s)
        except NotFound:
            continue  # it is over: what is left of the money comes back with its end
        except (Rejected, Misconfigured) as no:
            log.warning("time limit not moved", job=attempt.job.code, reason=no.summary)
            _settle_limit(attempt, refused=no.summary)
        except ProviderError as later:
            log.warning("time limit not moved yet", job=attempt.job.code, reason=later.summary)
        else:
            _settle_limit(attempt)


def _settle_limit(attempt: Attempt, *, refused: str = "") -> None:
    failpoint("ending.before_settling_limit")
    with transaction.atomic():
        locked = Attempt.objects.select_for_update(of=("self",)).get(pk=attempt.pk)
        if locked.asked_more_s != attempt.asked_more_s:
            return
        job = Job.objects.select_for_update(of=("self",)).select_related("organization").get(pk=attempt.job_id)
        seconds, yen = locked.asked_more_s, locked.asked_more_yen
        Attempt.objects.filter(pk=locked.pk).update(asked_more_s=0, asked_more_yen=0)
        if refused:
            holds.shrink(job.code, amount=yen, by=BY)
            job.touch(time_limit_s=job.time_limit_s - seconds, cost_cap=job.cost_cap - yen)
            audit.record(
                "job.extension_refused",
                f"job:{job.code}",
                actor=BY,
                chain=job.organization.code,
                detail={"seconds": seconds, "yen": yen},
            )
        else:
            job.touch()
        reason = "extension_refused" if refused else "extension_confirmed"
        said = {"provider": one_line(refused)} if refused else {}
        JobEvent.objects.create(job=job, kind="limit", reason=reason, by=BY, detail=said)
    attempt.asked_more_s = 0


def _want_stop(job: Job, reason: str, failure: FailureClass, now: datetime) -> None:
    with transaction.atomic():
        locked = Job.objects.select_for_update(of=("self",)).select_related("organization").get(pk=job.pk)
        if (locked.cost_cap, locked.time_limit_s) != (job.cost_cap, job.time_limit_s):
            return  # somebody gave it more time since it was read: the next round looks again
        if locked.stop_requested_at is None and not locked.is_final:
            locked.touch(stop_requested_at=now, failure=failure)
            JobEvent.objects.create(job=locked, kind="stop", reason=reason, by=BY)
            audit.record(
                "job.stop_requested",
                f"job:{locked.code}",
                actor=BY,
                chain=locked.organization.code,
                detail={"reason": reason},
            )
    job.refresh_from_db(fields=["stop_requested_at", "failure"])
