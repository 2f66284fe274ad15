"""A job whose attempt is over goes on: elsewhere, where the person has named other places, or again.

Elsewhere, when a provider has no free GPU or certainly did not receive the job; again, when the provider interrupted
it. Never while it is unknown whether the attempt before runs. What was asked for at submit is asked of each place
again, and no place is taken where the job could cost more than is left of what was set aside for it.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from django.utils import timezone

from portal.audit import recording as audit
from portal.billing import holds
from portal.catalog.models import Offering
from portal.core.plain_text import one_line
from portal.jobs.estimates import quote
from portal.jobs.models import Attempt, Job, JobEvent
from portal.jobs.outcomes import VANISHED, Outcome
from portal.jobs.placement.rule import Why, barred, placed
from portal.jobs.placement.spelling import read_input
from portal.jobs.places import Place, Refused, place_at
from portal.jobs.placing import named_rows, placement_of, plain
from portal.jobs.states import FailureClass, JobState

CHOSEN = "chosen"  # why a job went elsewhere: somebody said so
ELSEWHERE_AFTER = timedelta(seconds=60)  # a provider that cannot be reached may be back within a minute


def other_place(job: Job, *, not_by: int | None = None) -> Place | None:
    """The cheapest of the places named at submit that was not tried and takes the job now, for what is set aside.

    `not_by`: the account (its id) that cannot be reached, and with it all that it runs.
    """
    if not job.alternatives:
        return None
    if job.strategy:
        return _place_by_needs(job, not_by)
    now, left = timezone.now(), holds.left_of(job.code)
    tried = set(job.attempts.values_list("offering__slug", flat=True))
    named = {one["slug"]: one["architecture"] for one in job.alternatives}
    offerings = Offering.objects.select_related("provider", "site").in_bulk(list(named), field_name="slug")
    for slug, architecture in named.items():
        offering = offerings.get(slug)
        if offering is None or slug in tried or offering.architecture != architecture:
            continue
        try:
            place = place_at(job.project, job, offering, now=now)
        except Refused:
            continue
        if place.account.pk == not_by:
            continue
        if quote(place.offering, place.price, gpus=job.gpus, time_limit_s=job.time_limit_s).maximum <= left:
            return place
    return None


def _place_by_needs(job: Job, not_by: int | None) -> Place | None:
    """Decided again by what is known now, among what was a candidate at submit. The first candidate is also asked as
    any place is; where that says no, the decision is made once more without it."""
    now = timezone.now()
    stored = job.placements.order_by("number").first()
    if stored is None:
        return None
    first_spec, *_ = read_input(stored.input)
    spec = replace(
        first_spec,
        time_limit_s=job.time_limit_s,
        cap_yen=min(job.cost_cap, holds.left_of(job.code)),
    )
    rows = named_rows(job, at=now)
    offers, by_key = plain(rows, at=now), {str(row.offering.pk): row for row in rows}
    why = {key: Why.UNREACHABLE for key, row in by_key.items() if row.account and row.account.pk == not_by}
    why |= {str(pk): Why.TRIED for pk in job.attempts.values_list("offering", flat=True)}
    while True:
        decided = placed(spec, barred(offers, why), at=now)
        if decided.decision.first is None:
            return None
        key = decided.decision.first.key
        try:
            place = place_at(job.project, job, by_key[key].offering, now=now)
        except Refused:
            why[key] = Why.CLOSED
            continue
        most = quote(place.offering, place.price, gpus=job.gpus, time_limit_s=job.time_limit_s).maximum
        if most <= (spec.cap_yen or 0) and place.account.pk != not_by:
            return replace(place, placed=decided)
        why[key] = Why.CLOSED


def go_elsewhere(attempt: Attempt, place: Place, *, because: str, detail: str, by: str) -> None:
    """In the transaction that ends `attempt`, which its provider certainly does not have. `detail`: its words."""
    job, before, offering = attempt.job, attempt.offering, place.offering
    price_now = quote(offering, place.price, gpus=job.gpus, time_limit_s=job.time_limit_s)
    Attempt.objects.create(
        job=job, number=attempt.number + 1, account=place.account, offering=offering, price=place.price
    )
    if place.placed is not None:
        placement_of(job, attempt.number + 1, place.placed, chosen=offering).save(force_insert=True)
    job.touch(
        offering=offering,
        price=place.price,
        # Where somebody moves it by hand, its needs still hold wherever it goes on to.
        offer_snapshot={**place.snapshot(), **({"strategy": job.strategy} if job.strategy else {})},
        waiting_reason="",
    )
    told: dict[str, Any] = {
        "from": before.slug, "to": offering.slug, "why": because, "at_most_yen": price_now.maximum,
    }  # fmt: skip
    if place.placed is not None:
        told |= {"strategy": place.placed.spec.strategy, "of": len(place.placed.decision.candidates)}
    names = {"from_ja": before.name_ja, "from_en": before.name_en, "to_ja": offering.name_ja, "to_en": offering.name_en}
    said = {"provider": one_line(detail)} if detail else {}
    JobEvent.objects.create(job=job, kind="handoff", reason="elsewhere", by=by, detail={**told, **names, **said})
    audit.record("job.placed_elsewhere", f"job:{job.code}", actor=by, chain=job.organization.code, detail=told)


def again(attempt: Attempt, outcome: Outcome, *, log_key: str, by: str) -> bool:
    """In the transaction that settles `attempt`: the job starts anew at the same place. False: it ends here."""
    job = attempt.job
    if outcome.failure != FailureClass.INTERRUPTED or job.stop_requested_at is not None:
        return False
    if attempt.remote_reason == VANISHED:  # nobody knows whether it runs
        return False
    if job.events.filter(reason="tried_again").count() >= job.retries:
        return False
    try:
        place = place_at(job.project, job, attempt.offering, now=timezone.now())
    except Refused:
        return _not_again(job, "not_again_place", by)
    # The price stays the one that was agreed at submit.
    least = quote(attempt.offering, attempt.price, gpus=job.gpus, time_limit_s=job.time_limit_s).minimum
    if least > holds.left_of(job.code):
        return _not_again(job, "not_again_money", by)
    Attempt.objects.create(
        job=job, number=attempt.number + 1, account=place.account, offering=attempt.offering, price=attempt.price
    )
    job.move_to(
        JobState.SUBMITTED,
        reason="tried_again",
        by=by,
        detail={"provider": attempt.remote_reason} if attempt.remote_reason else {},
        started_at=None,
        ended_at=None,
        log_key=log_key,
        earlier_cost=Job.objects.values_list("cost", flat=True).get(pk=job.pk),
    )
    return True


def _not_again(job: Job, reason: str, by: str) -> bool:
    JobEvent.objects.create(job=job, kind="handoff", reason=reason, by=by)
    return False
