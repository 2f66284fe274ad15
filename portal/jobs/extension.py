"""More time for a job that runs: its hold grows first, then the provider is asked to move the limit.

Steps of a quarter of an hour. A job's time is paid for as a whole, at submit and at each extension: what was promised
is never cut short because others spent the money meanwhile. A job that its cap ends before its time limit needs but a
higher cap; where the limit itself has to move, the provider must be one that can (tracking carries it there).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from portal.accounts.access import require
from portal.accounts.models import User
from portal.accounts.roles import Permission
from portal.audit import recording as audit
from portal.billing import holds
from portal.billing.holds import OverBudget, Released
from portal.catalog.models import Price
from portal.catalog.pricing import cost_of_job
from portal.core.templatetags.formats import duration, yen
from portal.jobs import tasks
from portal.jobs.ending import End, end_of, warning_at
from portal.jobs.estimates import whole_yen
from portal.jobs.fitting import longest_s
from portal.jobs.models import Attempt, Job, JobEvent
from portal.jobs.states import AttemptState, JobState
from portal.providers.registry import gives_time

STEP_S = 900
CHOICES_S = (STEP_S, 2 * STEP_S, 4 * STEP_S, 16 * STEP_S)


class CannotExtend(Exception):
    """The job cannot be given so much more time; the sentence says why."""

    def __init__(self, message: str | Promise) -> None:
        super().__init__(message)
        self.message = message


@dataclass(frozen=True)
class Extension:
    """What more time comes to. `yen`: set aside besides what is; `time_limit_s`: from the job's start."""

    seconds: int
    yen: int
    time_limit_s: int
    end: End
    ends_at: datetime


def extension_of(attempt: Attempt, *, seconds: int, held: int) -> Extension:
    """`held`: yen set aside for the job in all. Raises CannotExtend for what no money helps against."""
    job = attempt.job
    if job.state != JobState.RUNNING or attempt.state != AttemptState.RUNNING or attempt.started_at is None:
        raise CannotExtend(_("Only a job that runs can be given more time."))
    if job.stop_requested_at is not None:
        raise CannotExtend(_("The job is being stopped."))
    if attempt.asked_more_s:
        raise CannotExtend(_("The provider has not confirmed the last extension yet. Try again in a moment."))
    before = end_of(attempt, held=held)
    until_s = before.paid_s + seconds
    if until_s > job.time_limit_s and not gives_time(attempt.account.kind, attempt.account.options):
        raise CannotExtend(
            format_lazy(
                _("{provider} cannot change the time limit of a job that runs. Copy it with a longer one."),
                provider=attempt.offering.provider.name,
            )
        )
    if until_s > (longest := longest_s(attempt.offering)):
        raise CannotExtend(format_lazy(_("No job runs longer than {time} there."), time=duration(longest)))
    return Extension(
        seconds,
        _cost(attempt.price, job, until_s) - _cost(attempt.price, job, before.paid_s),
        max(job.time_limit_s, until_s),
        before,
        attempt.started_at + timedelta(seconds=until_s),
    )


def _cost(price: Price, job: Job, seconds: int) -> int:
    return whole_yen(cost_of_job(price, gpus=job.gpus, seconds=seconds))


def extend(job: Job, *, seconds: int, seen_end_s: int, by: User) -> Extension:
    """Hold what the time costs, move the end, nudge who asks the provider: one transaction, then.

    `seen_end_s`: the end as the person saw it, in seconds from the start; sent twice, the second finds another one.
    Raises CannotExtend, NotPermitted; nothing is held then.
    """
    require(by, Permission.SUBMIT, job.project)
    if job.submitted_by_id != by.pk:
        require(by, Permission.STOP_ANY, job.project)
    if seconds <= 0 or seconds % STEP_S:
        raise CannotExtend(_("A job is given more time in steps of 15 minutes."))
    if not job.project.is_open:
        raise CannotExtend(_("The project is closed: it takes on no more cost."))
    actor = f"user:{by.pk}"
    with transaction.atomic():
        attempt, locked = _locked(job)
        more = extension_of(attempt, seconds=seconds, held=holds.amounts_of([job.code]).get(job.code, 0))
        if more.end.after_s != seen_end_s:
            raise CannotExtend(_("The job's end has changed since you opened the page. Look at it and decide again."))
        try:
            held = holds.grow(job.code, amount=more.yen, by=actor)
        except OverBudget as refused:
            raise CannotExtend(_sentence(refused, more.yen)) from None
        except Released:
            raise CannotExtend(_("Only a job that runs can be given more time.")) from None
        left_s = (more.ends_at - timezone.now()).total_seconds()
        moved_s = more.time_limit_s - locked.time_limit_s
        locked.touch(time_limit_s=more.time_limit_s, cost_cap=locked.cost_cap + more.yen)
        attempt.warned_min = warning_at(left_s, end_of(attempt, held=held))
        attempt.asked_more_s, attempt.asked_more_yen = (moved_s, more.yen) if moved_s else (0, 0)
        attempt.save(update_fields=["warned_min", "asked_more_s", "asked_more_yen"])
        told = {"seconds": seconds, "yen": more.yen, "ends_at": more.ends_at.isoformat()}
        JobEvent.objects.create(job=locked, kind="limit", reason="extended", by=actor, detail=told)
        told |= {"time_limit_s": more.time_limit_s, "held_yen": held}
        audit.record("job.extended", f"job:{job.code}", actor=actor, chain=locked.organization.code, detail=told)
        if moved_s:
            tasks.nudge(tasks.track, attempt.account_id)
    job.refresh_from_db()
    return more


def _locked(job: Job) -> tuple[Attempt, Job]:
    """The attempt first, as everywhere."""
    rows = Attempt.objects.filter(job=job).exclude(state=AttemptState.ENDED).select_for_update(of=("self",))
    attempt = rows.select_related("account", "price", "offering__provider").first()
    locked = Job.objects.select_for_update(of=("self",)).select_related("organization").get(pk=job.pk)
    if attempt is None:
        raise CannotExtend(_("Only a job that runs can be given more time."))
    attempt.job = locked
    return attempt, locked


def _sentence(refused: OverBudget, needed: int) -> str | Promise:
    """What stands in the way of so many yen, as a limit of its kind and not as the job form says it."""
    sentences = {
        "credit": _("This costs {needed} more, and {left} of the credit is left. Ask an administrator for credit."),
        "budget": _("This costs {needed} more, and {left} of the budget is left. Ask an administrator to raise it."),
        "approval": _("This costs {needed} more, and only {left} may be spent without an approval."),
        "stopped": _("The budget is spent to the point where it stops jobs. Ask an administrator to raise it."),
    }
    return format_lazy(sentences[refused.limit_kind], needed=yen(needed), left=yen(refused.left))
