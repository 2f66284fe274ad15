"""The wish to stop. It is written down at once; the job has ended only when the provider says so."""

from __future__ import annotations

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from portal.accounts.access import require
from portal.accounts.models import User
from portal.accounts.roles import Permission
from portal.audit import recording as audit
from portal.billing import holds
from portal.jobs import tasks
from portal.jobs.models import Attempt, Job, JobEvent
from portal.jobs.states import AttemptState, JobState


def ask_stop(job: Job, *, by: User) -> bool:
    """Record the wish and nudge those who carry it out; a job that was never sent ends at once, its hold released.

    False when it was asked before or there is nothing left to stop. Raises NotPermitted.
    """
    require(by, Permission.SUBMIT if job.submitted_by_id == by.pk else Permission.STOP_ANY, job.project)
    return stop_for(job, by=by)


def stop_for(job: Job, *, by: User) -> bool:
    """`ask_stop` for somebody whose right to it was seen when they asked."""
    while True:
        try:
            asked = _ask_stop(job, actor=f"user:{by.pk}", by=by)
        except _AnotherAttempt:
            continue
        job.refresh_from_db()
        return asked


class _AnotherAttempt(Exception):
    """The job went on to its next attempt while we waited for the one before."""


def _ask_stop(job: Job, *, actor: str, by: User) -> bool:
    with transaction.atomic():
        # The attempt is locked first, as everywhere: a worker that is about to take it waits or has taken it.
        alive = Attempt.objects.filter(job=job).exclude(state=AttemptState.ENDED)
        attempt = alive.select_for_update().first()
        locked = Job.objects.select_for_update(of=("self",)).select_related("organization").get(pk=job.pk)
        # Whoever ends an attempt and begins the next holds the job's row too, so that this sees what they wrote.
        if alive.values_list("pk", flat=True).first() != (attempt and attempt.pk):
            raise _AnotherAttempt
        if not locked.can_stop:
            return False
        now = timezone.now()
        never_sent = attempt is None or attempt.state == AttemptState.INTENDED
        if never_sent:
            holds.release(locked.code, by=actor)  # before the audit chain, as at submit: one order of locks
        locked.touch(stop_requested_at=now, stop_requested_by=by)
        JobEvent.objects.create(job=locked, at=now, kind="stop", reason="stop_requested", by=actor)
        audit.record("job.stop_requested", f"job:{locked.code}", actor=actor, chain=locked.organization.code)
        if never_sent:
            if attempt is not None:
                # The epoch too: what somebody has read of the attempt before is of no use to them any more.
                Attempt.objects.filter(pk=attempt.pk).update(state=AttemptState.ENDED, epoch=F("epoch") + 1)
            locked.move_to(JobState.CANCELLED, reason="stopped_before_sending", by=actor)
        elif attempt is not None and not attempt.remote_id:
            tasks.nudge(tasks.hand_off, attempt.account_id)
        elif attempt is not None:
            tasks.nudge(tasks.track, attempt.account_id)
    return True
