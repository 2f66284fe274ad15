"""Many jobs from one form: a sweep's tasks are submitted and tried again together, each a job like any other.

Money, job, event and audit link of every task are written in one transaction, in a handful of statements whatever their
number; what happens to a task afterwards is the life of its job.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from portal.accounts.access import NotPermitted, require
from portal.accounts.models import Project, User
from portal.accounts.roles import Permission
from portal.audit import recording as audit
from portal.billing.holds import OverBudget, hold_each
from portal.jobs import tasks
from portal.jobs.estimates import quote
from portal.jobs.models import Attempt, Job, JobEvent, JobInput, Placement, SubmitKey, Sweep, SweepTask
from portal.jobs.parameters import Parameters, environment_of
from portal.jobs.places import Place, Refused, first_place, place_at
from portal.jobs.placing import placements_of
from portal.jobs.request import JobRequest
from portal.jobs.states import JobState
from portal.jobs.submission import digest_of, hold_for, inputs_of, job_of, told_of

BATCH = 500  # rows in a statement
INPUTS_MAX = 100_000  # tasks times files: rows that one submit writes
TRIED_AGAIN = (JobState.FAILED, JobState.EXPIRED, JobState.CANCELLED)


def submit_sweep(project: Project, *, request: JobRequest, points: Sequence[Parameters], key: str, by: User) -> Sweep:
    """One job for each of `points` (at least one), each with the cost cap and the time limit of `request`.

    The same key and content again answer with the same sweep. Raises OverBudget, NotPermitted, Refused; nothing is
    stored then.
    """
    digest = _digest(project, request, points)
    try:
        with transaction.atomic():
            return _store(project, request, points, key, digest, by)
    except (IntegrityError, NotPermitted, Refused, OverBudget):
        known = SubmitKey.objects.filter(user=by, key=key, digest=digest).select_related("job__task__sweep").first()
        if known is not None:  # clicked twice: the first answer is this one's too
            return known.job.task.sweep
        if SubmitKey.objects.filter(user=by, key=key).exists():
            raise Refused(
                _("This form has already created jobs. To create others with what it says now, send it again."), "key"
            ) from None
        raise


def _digest(project: Project, request: JobRequest, points: Sequence[Parameters]) -> str:
    content = json.dumps([digest_of(project, request), [dict(point) for point in points]], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def _store(
    project: Project, request: JobRequest, points: Sequence[Parameters], key: str, digest: str, by: User
) -> Sweep:
    now = timezone.now()
    require(by, Permission.SUBMIT, project)
    place = replace(place_at(project, request, request.offering, now=now), placed=request.placed)
    inputs = inputs_of(project, request)
    if len(inputs) * len(points) > INPUTS_MAX:
        raise Refused(
            format_lazy(
                _("{tasks} tasks that read {files} files each are too many. Put the files into one archive."),
                tasks=f"{len(points):,}", files=f"{len(inputs):,}",
            ),
            "inputs",
        )  # fmt: skip
    held = hold_for(project, request, place)
    sweep = Sweep.objects.create(
        project=project, submitted_by=by, name=request.name, names=list(points[0]), task_count=len(points),
        created_at=now,
    )  # fmt: skip
    model = job_of(project, request, place, by=by, now=now)  # secrets are sealed once for all
    jobs = [
        _like(model, environment={**request.environment, **environment_of(point, number=n, count=len(points))})
        for n, point in enumerate(points, start=1)
    ]
    Job.objects.bulk_create(jobs, batch_size=BATCH)
    SubmitKey.objects.create(user=by, key=key, digest=digest, job=jobs[0])
    if request.placed:
        Placement.objects.bulk_create(placements_of(jobs, request.placed, chosen=place.offering), batch_size=BATCH)
    JobInput.objects.bulk_create(
        (
            JobInput(job=job, data_file=file, path=path, size_bytes=file.size_bytes, sha256=file.sha256)
            for job in jobs
            for path, file in inputs.items()
        ),
        batch_size=2_000,
    )
    _begin(sweep, [(n, 1, point, job) for (n, point), job in zip(enumerate(points, 1), jobs, strict=True)], place,
           held=held, actor=f"user:{by.pk}", told={**told_of(project, request, held), "sweep": sweep.code})  # fmt: skip
    return sweep


def _like(job: Job, **other: Any) -> Job:
    """A new job, not stored, with the columns of `job` that say what to run, where, how long and for how much."""
    kept = {field.attname: getattr(job, field.attname) for field in Job._meta.concrete_fields if field.name in COPIED}
    return Job(**{**kept, **other})


COPIED = frozenset({
    "organization", "project", "submitted_by", "name", "template", "script", "script_name", "command", "image",
    "environment", "datasets", "secret_names", "sealed_secrets", "offering", "price", "offer_snapshot", "gpus",
    "time_limit_s", "cost_cap", "alternatives", "retries", "submitted_at", "state_since",
})  # fmt: skip


def _begin(
    sweep: Sweep, rows: Sequence[tuple[int, int, Parameters, Job]], place: Place, *, held: int, actor: str,
    told: Mapping[str, Any],
) -> None:  # fmt: skip
    """Attempts, events, money and links of stored jobs; `rows`: number, turn, parameters and job of each task."""
    jobs = [job for _number, _turn, _point, job in rows]
    Attempt.objects.bulk_create(
        [Attempt(job=job, number=1, account=place.account, offering=place.offering, price=place.price) for job in jobs],
        batch_size=BATCH,
    )
    JobEvent.objects.bulk_create(
        [
            JobEvent(job=job, at=job.submitted_at, kind="state", after=JobState.SUBMITTED, reason="submitted", by=actor)
            for job in jobs
        ],
        batch_size=BATCH,
    )
    SweepTask.objects.bulk_create(
        [SweepTask(sweep=sweep, number=n, turn=turn, job=job, parameters=dict(point)) for n, turn, point, job in rows],
        batch_size=BATCH,
    )
    organization = sweep.project.organization
    codes = [job.code for job in jobs]
    hold_each(organization, project=sweep.project, job_codes=codes, amount=held, by=actor)
    audit.record_each("job.submitted", [(f"job:{code}", told) for code in codes], actor=actor, chain=organization.code)
    tasks.nudge(tasks.hand_off, place.account.pk)


# --- again ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Again:
    """What trying the failed tasks again would mean."""

    numbers: tuple[int, ...]
    hold_each: int  # yen
    price: int  # id of the price that this is reckoned by; 0: the place takes no jobs now
    erased_secrets: tuple[str, ...]  # names; a sweep with secrets cannot be tried again

    @property
    def hold(self) -> int:
        return self.hold_each * len(self.numbers)


def again_of(sweep: Sweep) -> Again:
    rows = list(_ended_badly(sweep).values_list("number", "job_id"))
    if not rows:
        return Again((), 0, 0, ())
    job = Job.objects.select_related("offering", "project__organization").get(pk=rows[0][1])
    try:
        place = place_at(job.project, job, first_place(job), now=timezone.now())
        each, price = _hold_again(job, place), place.price.pk
    except Refused:
        each, price = 0, 0
    return Again(tuple(n for n, _job in rows), each, price, tuple(job.secret_names))


def try_again(sweep: Sweep, *, seen_price: int, by: User) -> int:
    """A new job for each task whose newest one failed, was stopped or ended at a limit; how many. Sent twice it finds
    none the second time. Limits and place are those of now, the price is the one that was shown (its id): nobody pays
    another. Raises OverBudget, NotPermitted, Refused."""
    require(by, Permission.SUBMIT, sweep.project)
    with transaction.atomic():
        locked = Sweep.objects.select_for_update(of=("self",)).select_related("project__organization").get(pk=sweep.pk)
        before = list(_ended_badly(locked).select_related("job__offering").order_by("number"))
        if not before:
            return 0
        first, now = before[0].job, timezone.now()
        if first.secret_names:
            raise Refused(
                _("The secrets of these jobs were erased when they ended. Create a new sweep and enter them again.")
            )
        place = place_at(locked.project, first, first_place(first), now=now)
        held = _hold_again(first, place)
        if place.price.pk != seen_price:
            raise Refused(_("The price of that plan has changed. Look at it again."))
        jobs = [
            _like(
                task.job, submitted_by_id=by.pk, submitted_at=now, state_since=now, offering_id=place.offering.pk,
                price_id=place.price.pk, offer_snapshot=place.snapshot(),
            )
            for task in before
        ]  # fmt: skip
        Job.objects.bulk_create(jobs, batch_size=BATCH)
        old = {task.job_id: job for task, job in zip(before, jobs, strict=True)}
        JobInput.objects.bulk_create(_inputs_again(old), batch_size=2_000)
        SweepTask.objects.filter(pk__in=[task.pk for task in before]).update(newest=False)
        rows = [(t.number, t.turn + 1, t.parameters, job) for t, job in zip(before, jobs, strict=True)]
        told = {
            "project": locked.project.code, "offering": place.offering.slug, "gpus": first.gpus,
            "time_limit_s": first.time_limit_s, "held_yen": held, "sweep": locked.code,
        }  # fmt: skip
        _begin(locked, rows, place, held=held, actor=f"user:{by.pk}", told=told)
    return len(jobs)


def _ended_badly(sweep: Sweep) -> Any:
    return SweepTask.objects.filter(sweep=sweep, newest=True, job__state__in=TRIED_AGAIN).order_by("number")


def _hold_again(job: Job, place: Place) -> int:
    reckoned = quote(
        place.offering, place.price, gpus=job.gpus, time_limit_s=job.time_limit_s, cost_cap=job.cost_cap,
        tries=job.retries + 1,
    )  # fmt: skip
    if job.cost_cap < reckoned.minimum:
        raise Refused(
            format_lazy(_("The cost cap must be at least {yen} yen on this offering."), yen=f"{reckoned.minimum:,}")
        )
    return reckoned.hold


def _inputs_again(old: Mapping[int, Job]) -> Iterator[JobInput]:
    for one in JobInput.objects.filter(job__in=old).iterator(chunk_size=2_000):
        yield JobInput(
            job=old[one.job_id], data_file_id=one.data_file_id, path=one.path, size_bytes=one.size_bytes,
            sha256=one.sha256,
        )  # fmt: skip
