"""Rows to the plain offers that the rule of placement ranks, and its decisions to rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from django.db import connection
from django.db.models import Count

from portal.accounts.models import Organization
from portal.catalog.availability import standings
from portal.catalog.models import CapacityObservation, Offering, Price, PriceUnit, ProviderAccount
from portal.catalog.pricing import METERED, SECONDS, prices_at, with_tax
from portal.core.caching import Briefly
from portal.jobs.fitting import longest_s
from portal.jobs.line import AT_WORK
from portal.jobs.models import Attempt, Job, Placement
from portal.jobs.placement import rule
from portal.jobs.placement.rule import Placed
from portal.jobs.placement.spelling import decision_json, input_json
from portal.jobs.states import AttemptState
from portal.providers.registry import TAKES_LOGINS

LAST = 20  # attempts at a plan that tell how it takes jobs
LATELY_S = 10


class Offered(Protocol):
    """A plan that jobs can be sent to, as the form and a fail-over both have it."""

    @property
    def offering(self) -> Offering: ...
    @property
    def price(self) -> Price: ...
    @property
    def seen(self) -> CapacityObservation | None: ...
    @property
    def account(self) -> ProviderAccount | None: ...


@dataclass(frozen=True)
class Row:
    """The plainest thing that is Offered."""

    offering: Offering
    price: Price
    seen: CapacityObservation | None
    account: ProviderAccount | None


@dataclass(frozen=True)
class Past:
    """Of the last attempts at a plan that were sent or turned away: how many, how many the provider took, and the
    median of the seconds from their creation to their start."""

    tries: int = 0
    taken: int = 0
    wait_s: int | None = None


def plain(offered: Iterable[Offered], *, at: datetime) -> list[rule.Offer]:
    """What the rule ranks. Two statements, and none within some seconds of the last time."""
    rows = list(offered)
    past = _past(tuple(sorted(row.offering.pk for row in rows)))
    lines = _lines(tuple(sorted({row.account.pk for row in rows if row.account and row.account.concurrent_limit})))
    return [_plain(row, at, past, lines) for row in rows]


def _plain(row: Offered, at: datetime, past: dict[int, Past], lines: dict[int, int]) -> rule.Offer:
    offering, price, seen, account = row.offering, row.price, row.seen, row.account
    learnt = past.get(offering.pk, Past())
    return rule.Offer(
        key=str(offering.pk),
        provider=offering.provider.slug,
        gpu_model=offering.gpu_model,
        memory_gb=offering.gpu_memory_gb,
        gpus_min=offering.gpus_min,
        gpus_max=offering.gpus_max,
        gpus_step=offering.gpus_step,
        gpus_per_node=offering.gpus_per_node,
        architecture=offering.architecture,
        country=offering.site.country if offering.site else "",
        longest_s=longest_s(offering),
        containers=offering.containers,
        takes_logins=account is not None and account.kind in TAKES_LOGINS,
        yen=with_tax(price),
        unit_s=SECONDS[PriceUnit(price.unit)],
        per_gpu=price.per_gpu,
        minimum_s=price.minimum_s,
        answers=account is None or account.failing_since is None,
        seen=seen.state if seen and seen.state != "unknown" else "",
        seen_age_s=max(0, int((at - seen.observed_at).total_seconds())) if seen else 0,
        free_gpus=seen.free_gpus if seen else None,
        line=lines.get(account.pk, 0) if account else 0,
        past_tries=learnt.tries,
        past_taken=learnt.taken,
        past_wait_s=learnt.wait_s,
    )


def named_rows(job: Job, *, at: datetime) -> list[Row]:
    """The plan of each attempt and those named beside, as they stand now; of these only what they were when named."""
    named = {one["slug"]: one["architecture"] for one in job.alternatives}
    tried = set(job.attempts.values_list("offering__slug", flat=True))
    offerings = [
        offering
        for offering in Offering.objects.filter(slug__in={*named, *tried}).select_related("provider", "site")
        if offering.slug in tried or offering.architecture == named[offering.slug]
    ]
    standing = standings(offerings, organization=Organization(pk=job.organization_id), at=at)
    rows = prices_at(at).filter(offering__in=offerings, unit__in=METERED).order_by("valid_from", "pk")
    prices = {price.offering_id: price for price in rows}
    return [
        Row(one, prices[one.pk], standing[one.pk].seen, standing[one.pk].account)
        for one in offerings
        if one.pk in prices and standing[one.pk].account
    ]


def placement_of(job: Job, number: int, placed: Placed, *, chosen: Offering) -> Placement:
    """Its row, not stored yet."""
    first = placed.decision.first
    assert first is not None and first.key == str(chosen.pk)
    return Placement(
        job=job,
        number=number,
        version=placed.policy.version,
        input=input_json(placed.spec, placed.offers, at=placed.at, policy=placed.policy),
        decision=decision_json(placed.decision),
        chosen=chosen.slug,
    )


def placements_of(jobs: Sequence[Job], placed: Placed, *, chosen: Offering) -> list[Placement]:
    """Of many jobs that are placed alike, their first attempts."""
    one = placement_of(jobs[0], 1, placed, chosen=chosen)
    told = {"version": one.version, "input": one.input, "decision": one.decision, "chosen": one.chosen}
    return [Placement(job=job, number=1, **told) for job in jobs]


_known = Briefly(LATELY_S)


def forget_lately() -> None:
    """For tests, as offers.forget_offers."""
    _known.clear()


def _past(offerings: tuple[int, ...]) -> dict[int, Past]:
    return _known.get(("past", offerings), lambda: past_of(offerings))


def _lines(accounts: tuple[int, ...]) -> dict[int, int]:
    return _known.get(("lines", accounts), lambda: lines_of(accounts)) if accounts else {}


# Sent and accepted, or turned away with a word; one that a person has stopped before says nothing of the plan.
_PAST = """
SELECT o.id, count(*), count(a.accepted_at),
       percentile_disc(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM a.started_at - a.created_at)) FILTER
           (WHERE a.started_at IS NOT NULL)
FROM unnest(%s::bigint[]) AS o(id) CROSS JOIN LATERAL (
    SELECT accepted_at, started_at, created_at FROM jobs_attempt
    WHERE offering_id = o.id AND (accepted_at IS NOT NULL OR (state = 'ended' AND last_error <> ''))
    ORDER BY id DESC LIMIT %s
) AS a
GROUP BY o.id
"""


def past_of(offerings: Sequence[int]) -> dict[int, Past]:
    """By the offering's pk, of those with any attempt."""
    with connection.cursor() as cursor:
        cursor.execute(_PAST, [list(offerings), LAST])
        rows = cursor.fetchall()
    return {
        pk: Past(tries, taken, None if wait_s is None else max(0, int(wait_s))) for pk, tries, taken, wait_s in rows
    }


def lines_of(accounts: Sequence[int]) -> dict[int, int]:
    """By the account's pk, of those that run so many at once and no more: how many jobs must end before one that comes
    now may be sent; 0: it goes at once."""
    rows = (
        Attempt.objects.unfinished()
        .filter(account__in=accounts, state__in=[*AT_WORK, AttemptState.INTENDED])
        .values_list("account", "account__concurrent_limit")
        .annotate(count=Count("pk"))
    )
    return {pk: max(0, count - limit + 1) for pk, limit, count in rows if limit is not None}
