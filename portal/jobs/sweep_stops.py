"""The tasks of a sweep are stopped together: the wish is one row, carried out some jobs at a time."""

from __future__ import annotations

from celery import shared_task
from django.db import transaction
from django.db.models import QuerySet

from portal.accounts.access import require
from portal.accounts.models import User
from portal.accounts.roles import Permission
from portal.audit import recording as audit
from portal.celery import nudge, publish
from portal.jobs.cancellation import stop_for
from portal.jobs.models import Job, Stop, Sweep
from portal.jobs.states import FINAL, JobState

WAITING = (JobState.SUBMITTED, JobState.PLACING, JobState.QUEUED)
STOPPED_AT_ONCE = 100


def ask_stop_of(sweep: Sweep, what: Stop, *, by: User) -> None:
    """Write the wish down and nudge those who carry it out: a thousand stops take longer than a page may.

    Raises NotPermitted.
    """
    require(by, Permission.SUBMIT if sweep.submitted_by_id == by.pk else Permission.STOP_ANY, sweep.project)
    with transaction.atomic():
        locked = Sweep.objects.select_for_update(of=("self",)).select_related("project__organization").get(pk=sweep.pk)
        if locked.stop_wanted == Stop.ALL or not unfinished(locked, what).exists():
            return
        Sweep.objects.filter(pk=sweep.pk).update(stop_wanted=what, stop_wanted_by=by)
        audit.record(
            "sweep.stop_requested",
            f"sweep:{sweep.code}",
            actor=f"user:{by.pk}",
            chain=locked.project.organization.code,
            detail={"what": what.value},
        )
        nudge(stop_sweeps)


def unfinished(sweep: Sweep, what: Stop) -> QuerySet[Job]:
    """Jobs of its newest tasks that a stop would end and nobody has asked to."""
    jobs = Job.objects.filter(task__sweep=sweep, task__newest=True, stop_requested_at=None)
    return jobs.filter(state__in=WAITING) if what == Stop.WAITING else jobs.exclude(
        state__in=[*FINAL, JobState.FINISHING]
    )  # fmt: skip


def carry_out_stops() -> bool:
    """Some of the jobs that somebody wants stopped. True: there may be more."""
    for sweep in Sweep.objects.exclude(stop_wanted="").select_related("stop_wanted_by").order_by("pk"):
        what, by = Stop(sweep.stop_wanted), sweep.stop_wanted_by
        assert by is not None  # written with the wish
        found = list(unfinished(sweep, what).order_by("-pk")[:STOPPED_AT_ONCE])  # the last first: they begin last
        for job in found:
            stop_for(job, by=by)
        if found:
            return True
        Sweep.objects.filter(pk=sweep.pk, stop_wanted=what).update(stop_wanted="", stop_wanted_by=None)
    return False


@shared_task(name="jobs.stop_sweeps")  # type: ignore[untyped-decorator]
def stop_sweeps() -> None:
    """Sweeps that somebody wants stopped -> the wish written at each of their jobs, some at a time."""
    if carry_out_stops():
        publish(stop_sweeps)
