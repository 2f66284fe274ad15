"""A job that waits goes to a plan that is free now, by a click: never once its provider may have it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import F
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from portal.accounts.access import require
from portal.accounts.models import User
from portal.accounts.roles import Permission
from portal.billing import holds
from portal.catalog.models import Offering
from portal.jobs import next_try, tasks
from portal.jobs.estimates import quote
from portal.jobs.models import Attempt, Job
from portal.jobs.offers import Offer, offers_now
from portal.jobs.places import place_at
from portal.jobs.states import AttemptState, JobState, WaitingReason

WAITS_FOR = (WaitingReason.QUOTA, WaitingReason.CAPACITY, WaitingReason.UNREACHABLE, WaitingReason.MAINTENANCE)
SHOWN = 2


class CannotMove(Exception):
    """`message` says why and what to do; the job waits on where it is."""

    def __init__(self, message: str | Promise) -> None:
        super().__init__(message)
        self.message = message


@dataclass(frozen=True)
class Faster:
    """A plan on which enough GPUs were seen free a moment ago. `more`: yen that a whole run costs more than here, or
    less where it is below 0."""

    offer: Offer
    most: int
    more: int


def faster_of(job: Job, attempt: Attempt | None, *, now: datetime) -> list[Faster]:
    """The cheapest first. No query beyond what every form reads of the plans."""
    if attempt is None or not _waits(job, attempt):
        return []
    here = quote(attempt.offering, attempt.price, gpus=job.gpus, time_limit_s=job.time_limit_s).maximum
    found = []
    for offer in offers_now(job.organization):
        offering = offer.offering
        if offering.pk == attempt.offering_id or offering.architecture != attempt.offering.architecture:
            continue
        if offer.seen is None or (offer.seen.free_gpus or 0) < job.gpus or not offering.allows_gpus(job.gpus):
            continue
        most = quote(offering, offer.price, gpus=job.gpus, time_limit_s=job.time_limit_s).maximum
        if most <= job.cost_cap:
            found.append(Faster(offer, most, most - here))
    return sorted(found, key=lambda one: one.most)[:SHOWN]


def move(job: Job, wanted: Offering, *, seen_price: int, by: User) -> None:
    """`seen_price`: the id of the price that the person was shown. Its place in the line here is given up.

    Raises CannotMove, Refused, OverBudget, NotPermitted; nothing is changed then.
    """
    require(by, Permission.SUBMIT, job.project)
    if job.submitted_by_id != by.pk:
        require(by, Permission.STOP_ANY, job.project)
    with transaction.atomic():
        # As in cancellation: the attempt first, so that a worker that is about to take it waits or has taken it.
        alive = Attempt.objects.filter(job=job).exclude(state=AttemptState.ENDED)
        attempt = alive.select_for_update(of=("self",)).select_related("offering").first()
        locked = Job.objects.select_for_update(of=("self",)).select_related("organization", "project").get(pk=job.pk)
        if attempt is None or not _waits(locked, attempt):
            raise CannotMove(_("The job has been sent meanwhile, or it is over: it stays where it is."))
        attempt.job = locked
        place = place_at(locked.project, locked, wanted, now=timezone.now())
        if place.price.pk != seen_price:
            raise CannotMove(_("The price of that plan has changed. Look at it again."))
        there = quote(
            place.offering, place.price, gpus=locked.gpus, time_limit_s=locked.time_limit_s, cost_cap=locked.cost_cap,
            tries=locked.retries + 1,
        )  # fmt: skip
        if there.maximum > locked.cost_cap:
            raise CannotMove(_("A whole run there costs more than the job's cost cap."))
        if (missing := there.hold - holds.left_of(locked.code)) > 0:
            holds.grow(locked.code, amount=missing, by=f"user:{by.pk}")
        Attempt.objects.filter(pk=attempt.pk).update(state=AttemptState.ENDED, epoch=F("epoch") + 1)
        next_try.go_elsewhere(attempt, place, because=next_try.CHOSEN, detail="", by=f"user:{by.pk}")
        tasks.nudge(tasks.hand_off, place.account.pk)


def _waits(job: Job, attempt: Attempt) -> bool:
    return (
        job.state == JobState.SUBMITTED
        and job.stop_requested_at is None
        and job.waiting_reason in WAITS_FOR
        and attempt.state == AttemptState.INTENDED
    )
