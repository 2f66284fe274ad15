"""One act on many jobs: first what it will do to each and cost at most, then each by its own use-case and permission.

The key of a copy follows from the form's key and the job's code: sent twice, the form makes each copy once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext as _

from portal.accounts.access import NotPermitted, access_of
from portal.accounts.models import Project, User
from portal.accounts.roles import Permission
from portal.billing.holds import OverBudget, room_for
from portal.core.templatetags.formats import yen
from portal.jobs.attaching import NO_CHOICES
from portal.jobs.cancellation import ask_stop
from portal.jobs.estimates import quote
from portal.jobs.forms import JobForm, values_of_job
from portal.jobs.models import Job, SubmitKey
from portal.jobs.offers import Offer, offers_now
from portal.jobs.places import Refused
from portal.jobs.request import JobRequest
from portal.jobs.states import JobState
from portal.jobs.submission import submit

MOST = 100


@dataclass(frozen=True)
class Copy:
    """A job to be submitted again. `most`: yen with tax that it can cost; `prices`: ids of those it is reckoned by."""

    job: Job
    project: Project
    request: JobRequest
    most: int
    prices: frozenset[int]


@dataclass(frozen=True)
class Refusal:
    """What cannot be done to a job, in a sentence."""

    job: Job
    why: str | Promise


@dataclass(frozen=True)
class Done:
    """`made`: the new job of a copy."""

    job: Job
    said: str | Promise
    made: Job | None = None


def stoppable(jobs: Iterable[Job], *, by: User) -> tuple[list[Job], list[Refusal]]:
    """Those that a stop can reach now, and the others. No query."""
    can, cannot = [], []
    for job in jobs:
        why = _not_stopped_because(job, by)
        if why:
            cannot.append(Refusal(job, why))
        else:
            can.append(job)
    return can, cannot


def stop_many(jobs: Iterable[Job], *, by: User) -> tuple[list[Done], list[Refusal]]:
    """Each in transactions of its own: what stands in the way of one keeps no other running."""
    done: list[Done] = []
    refused: list[Refusal] = []
    for job in jobs:
        try:
            asked = ask_stop(job, by=by)
        except NotPermitted:
            refused.append(Refusal(job, _not_stopped_because(job, by)))
            continue
        if asked and job.is_final:
            done.append(Done(job, _("Stopped before it was sent. Nothing is charged.")))
        elif asked or (job.stop_requested_at and not job.is_final):
            done.append(Done(job, _("The stop is requested. It ends when the provider confirms it.")))
        elif job.state == JobState.CANCELLED:
            done.append(Done(job, _("It is stopped.")))
        else:
            refused.append(Refusal(job, _not_stopped_because(job, by)))
    return done, refused


def _not_stopped_because(job: Job, by: User) -> str:
    needed = Permission.SUBMIT if job.submitted_by_id == by.pk else Permission.STOP_ANY
    if not access_of(by).may_in(job.project, needed):
        return _("Your role lets you stop only jobs of your own.")
    if job.is_final:
        return _("It has already ended.")
    if job.stop_requested_at:
        return _("It is already being stopped.")
    if job.state == JobState.FINISHING:
        return _("It has finished computing and is saving its results.")
    return ""


def copies_of(
    jobs: Sequence[Job], *, by: User, key: str, seen_prices: str = "", with_room: bool = True
) -> tuple[list[Copy], list[Refusal]]:
    """The same jobs to be submitted again where they were, and those of which that is not possible.

    Of each the shape is checked as on the form; what is left to spend, if asked for, in the order given. Statements: a
    few for each project and for each job that reads data, none for the others.
    """
    copies: list[Copy] = []
    refused: list[Refusal] = []
    rooms: dict[int, int] = {}
    for job in jobs:
        try:
            copy = _copy(job, by, key, seen_prices)
            if with_room:
                rooms.setdefault(copy.project.pk, room_for(copy.project).left)
                _take(rooms, copy)
        except Refused as no:
            refused.append(Refusal(job, no.message))
        else:
            copies.append(copy)
    return copies, refused


def submit_copies(copies: Iterable[Copy], *, by: User, key: str) -> tuple[list[Done], list[Refusal]]:
    """Each in a transaction of its own, by the rules of any submit. Sent again with the same key, the same jobs."""
    done: list[Done] = []
    refused: list[Refusal] = []
    for copy in copies:
        try:
            made = submit(copy.project, request=copy.request, key=key_for(copy.job, key), by=by)
        except (Refused, OverBudget) as no:
            refused.append(Refusal(copy.job, no.message))
        except NotPermitted:
            refused.append(Refusal(copy.job, _may_not_submit()))
        else:
            done.append(Done(copy.job, _("Submitted again."), made))
    return done, refused


def count_unsent(jobs: Iterable[Job], *, by: User, key: str) -> int:
    """How many of them this form has not made a copy of yet. One query."""
    keys = [key_for(job, key) for job in jobs]
    return len(keys) - SubmitKey.objects.filter(user=by, key__in=keys).count()


def key_for(job: Job, key: str) -> str:
    return hashlib.sha256(f"{key}:{job.code}".encode()).hexdigest()


def _copy(job: Job, by: User, key: str, seen_prices: str) -> Copy:
    """Raises Refused with the first thing that stands in the way."""
    if not access_of(by).may_in(job.project, Permission.SUBMIT):
        raise Refused(_may_not_submit())
    if not job.project.is_open:
        raise Refused(_("Its project is closed."))
    if job.secret_names:
        raise Refused(_("It has secrets, whose values are not kept. Copy it by itself and type them again."))
    offers = offers_now(job.organization)
    values = {name: value if isinstance(value, list) else str(value) for name, value in values_of_job(job).items()}
    data = {**values, "project": job.project.code, "key": key_for(job, key), "seen_prices": seen_prices}
    form = JobForm(data, projects=[job.project], offers=offers, choices=NO_CHOICES)
    if not form.is_valid():
        raise Refused(str(next(iter(form.errors.values()))[0]))
    project, request = form.request()
    places = [o for o in offers if o.offering == request.offering or o.offering in request.alternatives]
    return Copy(job, project, request, _most(request, places), frozenset(offer.price.pk for offer in places))


def _most(request: JobRequest, places: Sequence[Offer]) -> int:
    """Yen that are put aside: at the dearest of its places that the cap allows, as submission reckons it."""
    quotes = {
        offer.offering.pk: quote(
            offer.offering,
            offer.price,
            gpus=request.gpus,
            time_limit_s=request.time_limit_s,
            cost_cap=request.cost_cap,
            tries=request.retries + 1,
        )
        for offer in places
    }
    own = quotes[request.offering.pk].hold
    return max([own, *(one.hold for one in quotes.values() if one.maximum <= request.cost_cap)])


def _take(rooms: dict[int, int], copy: Copy) -> None:
    left = rooms[copy.project.pk]
    if copy.most > left:
        raise Refused(
            _("It can cost %(most)s, and beside those above only %(left)s is left to spend.")
            % {"most": yen(copy.most), "left": yen(max(0, left))}
        )
    rooms[copy.project.pk] = left - copy.most


def _may_not_submit() -> str:
    return _("Your role in its project does not let you create jobs.")
