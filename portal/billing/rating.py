"""Each usage record becomes one charge, at the price it carries; one that takes another back, a charge below zero.

A charge is what the whole job costs so far, cut to whole yen, less what was charged before: any sum of charges is right
to the yen, and never more comes back than was charged.

It is paid out of the job's hold. What comes after the hold's release is paid out of the credit that is free, up to what
the hold once was and within the budgets. What cannot be paid is never charged: `exact` keeps it, and the audit trail
says how much. What is taken back is free again, for what stands instead before anything else.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import ROUND_DOWN, Decimal
from typing import Any, NamedTuple

from django.db import connection, transaction
from django.db.models import Sum
from django.utils import timezone

from portal.accounts.models import Organization, Project
from portal.audit import recording as audit
from portal.billing import holds, ledger, sums
from portal.billing.credit_uses import Spent, spread
from portal.billing.models import BillingAccount, Charge, ChargeKind, Hold, JobCharge, JobUse, LedgerAccount
from portal.billing.periods import closed_of, day_to_book
from portal.catalog.models import Offering, Price
from portal.catalog.pricing import cost_of_job
from portal.core.bulk import copy_rows, next_ids
from portal.core.periods import day_of
from portal.usage.models import UsageRecord
from portal.usage.recording import Recorded

BY = "portal:rating"
# A price has at most 9 decimals with its tax, and an hour 3,600 seconds: any cost is a multiple of 1/3.6e12 yen.
# Rounding to 15 decimals therefore undoes what division left behind (0.999… of a yen) and invents nothing.
_SNAP = Decimal("1e-15")
_KEPT = Decimal("1e-9")


@transaction.atomic
def rate(record: UsageRecord) -> Charge:
    """Charge one record. The same record again gives the charge that is there."""
    ledger.locked(record.organization_id)
    if not Charge.objects.filter(record=record).exists():
        rate_all([Recorded.of(record)])
    charge: Charge = Charge.objects.get(record=record)
    return charge


class Rated(NamedTuple):
    """A charge that was written, as those above need it who sum many of them."""

    id: int
    record: Recorded
    amount: int  # whole yen
    exact: Decimal
    day: date  # it is booked on


def rate_all(records: Sequence[Recorded]) -> list[Rated]:
    """Charge records that have no charge yet, in their order, and move ledger, credits, holds and sums with it.

    Locks the accounts of their organizations, in one order.
    """
    if not records:
        return []
    accounts = {pk: ledger.locked(pk) for pk in sorted({record.facts.organization_id for record in records})}
    batch = _Batch(records, accounts)
    rated = [batch.rate(record) for record in records]
    _write(batch, rated)
    _add_to_sums(batch, rated)
    of_organization: defaultdict[int, list[Rated]] = defaultdict(list)
    for one in rated:
        of_organization[one.record.facts.organization_id].append(one)
    for pk, account in accounts.items():
        mine = of_organization[pk]
        spread(account, [Spent(one.id, one.record.facts.job_code, one.amount) for one in mine])
        jobs = {one.record.facts.job_code: one.id for one in mine}
        postings = [(f"charge:{charge}", batch.jobs[job_code].moved) for job_code, charge in jobs.items()]
        ledger.post_all(account, postings, by=BY)
    _use_holds(batch)
    _tell_overruns(batch)
    return rated


@dataclass(slots=True)
class _Job:
    """How a job stands, moved along as its records are charged."""

    hold: Hold | None = None
    seconds: dict[tuple[int, int], int] = field(default_factory=dict)  # by price and GPUs
    charged: int = 0
    exact: Decimal = Decimal(0)
    given_back: defaultdict[date, int] = field(
        default_factory=lambda: defaultdict(int)
    )  # by day, for what stands instead
    moved: defaultdict[LedgerAccount, int] = field(default_factory=lambda: defaultdict(int))


class _Batch:
    def __init__(self, records: Sequence[Recorded], accounts: dict[int, BillingAccount]) -> None:
        self.accounts = accounts
        self.ids = next_ids("billing_charge", at_once=len(records))
        self.today = day_of(timezone.now())
        self.closed = closed_of(list(accounts))
        self.booked: dict[tuple[int, int, date], date] = {}
        self.offerings = Offering.objects.in_bulk({record.facts.offering_id for record in records})
        self.jobs = _jobs({record.facts.job_code for record in records})
        priced = {record.facts.price_id for record in records}
        self.prices = Price.objects.in_bulk(priced | {price for job in self.jobs.values() for price, _ in job.seconds})
        for job in self.jobs.values():
            job.exact = self._cost(job).quantize(_KEPT, ROUND_DOWN)
        self.rooms: dict[int, int] = {}  # by project: yen that may be charged without a hold
        self.taken_late: defaultdict[int, int] = defaultdict(int)  # of them by organization, so far
        self.not_charged: list[tuple[Recorded, int, int]] = []  # record, charge, yen
        self.corrected = _charges_of({record.corrects_id for record in records if record.corrects_id})

    def rate(self, record: Recorded) -> Rated:
        of = record.facts
        job = self.jobs[of.job_code]
        used = of.price_id, of.gpus
        job.seconds[used] = job.seconds.get(used, 0) + record.seconds
        total = self._cost(job)
        exact = total.quantize(_KEPT, ROUND_DOWN)
        booked = self._day_to_book(record)
        due = int(total) - job.charged
        amount = self._pay(record, job, due, booked) if due > 0 else self._give_back(job, due, booked)
        rated = Rated(next(self.ids), record, amount, exact - job.exact, booked)
        job.charged += amount
        job.exact = exact
        if due > amount:
            self.not_charged.append((record, rated.id, due - amount))
        self.corrected[record.id] = rated.id
        return rated

    def _day_to_book(self, record: Recorded) -> date:
        of = record.facts
        key = of.organization_id, self.offerings[of.offering_id].contracting_member_id, record.day
        if key not in self.booked:
            self.booked[key] = day_to_book(
                record.day, organization_id=key[0], member_id=key[1], today=self.today, closed=self.closed
            )
        return self.booked[key]

    def _cost(self, job: _Job) -> Decimal:
        """Exact yen so far. A minimum counts once for the job, not for each record."""
        parts = (
            cost_of_job(self.prices[price], gpus=gpus, seconds=seconds)
            for (price, gpus), seconds in job.seconds.items()
        )
        return sum(parts, Decimal(0)).quantize(_SNAP)

    def _give_back(self, job: _Job, due: int, booked: date) -> int:
        """Free for anything, not held again: what a job in a later month holds must not grow beyond its budget."""
        if job.hold and due:
            job.hold.used += due
            if job.hold.released_at is None:
                job.hold.amount += due
            job.given_back[booked] -= due
            job.moved[LedgerAccount.SPENT] += due
            job.moved[LedgerAccount.AVAILABLE] -= due
        return due

    def _pay(self, record: Recorded, job: _Job, due: int, booked: date) -> int:
        if job.hold is None:
            return 0
        instead = min(due, job.given_back[booked])
        job.given_back[booked] -= instead
        if job.hold.released_at is None:
            held = min(due - instead, job.hold.left)
            job.hold.amount += instead
            late = 0
        else:
            held = 0
            late = min(due - instead, job.hold.amount - job.hold.used - instead)
            late = min(late, self._room(record)) if late else 0
            self.taken_late[record.facts.organization_id] += late
        job.hold.used += instead + held + late
        job.moved[LedgerAccount.HELD] -= held
        job.moved[LedgerAccount.AVAILABLE] -= instead + late
        job.moved[LedgerAccount.SPENT] += instead + held + late
        return instead + held + late

    def _room(self, record: Recorded) -> int:
        """Of the project, less what others of its organization took in this batch."""
        of = record.facts
        if of.project_id not in self.rooms:
            project = Project.objects.get(pk=of.project_id)
            room = holds.room_without_hold(self.accounts[of.organization_id], project)
            self.rooms[of.project_id] = room
        return max(0, self.rooms[of.project_id] - self.taken_late[of.organization_id])


def _jobs(codes: Collection[str]) -> dict[str, _Job]:
    """Their holds are locked."""
    jobs = {code: _Job() for code in codes}
    of_these = {"job_code__in": list(codes)}
    for hold in Hold.objects.select_for_update().filter(**of_these).order_by("pk"):
        jobs[hold.job_code].hold = hold
    for use in JobUse.objects.filter(**of_these):
        jobs[use.job_code].seconds[use.price_id, use.gpus] = use.seconds
    charged = JobCharge.objects.filter(**of_these).values("job_code").annotate(sum=Sum("amount")).order_by()
    for code, amount in charged.values_list("job_code", "sum"):
        jobs[code].charged = int(amount)
    return jobs


def _charges_of(record_ids: set[int]) -> dict[int, int]:
    if not record_ids:
        return {}
    return dict(Charge.objects.filter(record__in=record_ids).values_list("record", "pk"))


_COLUMNS = (
    "id", "kind", "record_id", "organization_id", "project_id", "provider_id", "offering_id", "price_id", "job_code",
    "day", "of_month", "corrects_id", "amount", "exact", "tax_percent", "contracting_member_id", "service_member_id",
    "host_member_id", "created_at",
)  # fmt: skip


def _write(batch: _Batch, rated: Sequence[Rated]) -> None:
    now = timezone.now()

    def row(one: Rated) -> tuple[object, ...]:
        record, of = one.record, one.record.facts
        offering = batch.offerings[of.offering_id]
        in_place = one.day == record.day
        return (
            one.id, ChargeKind.USAGE.value if in_place else ChargeKind.CORRECTION.value, record.id, of.organization_id,
            of.project_id, of.provider_id, of.offering_id, of.price_id, of.job_code, one.day,
            None if in_place else record.day.replace(day=1),
            batch.corrected.get(record.corrects_id) if record.corrects_id else None,
            one.amount, one.exact, batch.prices[of.price_id].tax_percent, offering.contracting_member_id,
            offering.service_member_id, offering.host_member_id, now,
        )  # fmt: skip

    copy_rows("billing_charge", _COLUMNS, map(row, rated))


def _use_holds(batch: _Batch) -> None:
    moved = [job.hold for job in batch.jobs.values() if job.hold and any(job.moved.values())]
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE billing_hold SET amount = moved.amount, used = moved.used"
            " FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[]) AS moved (id, amount, used)"
            " WHERE billing_hold.id = moved.id",
            [[hold.pk for hold in moved], [hold.amount for hold in moved], [hold.used for hold in moved]],
        )


def _tell_overruns(batch: _Batch) -> None:
    if not batch.not_charged:
        return
    organizations = Organization.objects.in_bulk(batch.accounts)
    for record, charge, yen in batch.not_charged:
        audit.record(
            "charge.overrun",
            f"job:{record.facts.job_code}",
            actor=BY,
            chain=organizations[record.facts.organization_id].code,
            detail={"charge": charge, "not_charged": yen},
        )


def _add_to_sums(batch: _Batch, rated: Sequence[Rated]) -> None:
    """The database adds, so that writers at the same moment lose nothing."""
    days: defaultdict[tuple[int, date, int, int, int], int] = defaultdict(int)
    months: dict[tuple[str, date], list[int]] = {}
    for one in rated:
        of = one.record.facts
        days[of.organization_id, one.day, of.project_id, of.provider_id, of.offering_id] += one.amount
        month = months.setdefault(
            (of.job_code, one.day.replace(day=1)), [of.organization_id, of.project_id, 0, of.user_id, 0, 0]
        )
        month[2] = of.offering_id
        month[4] += one.amount
        month[5] += one.record.gpu_seconds
    add_to_days([(*key, days[key]) for key in sorted(days)])
    with connection.cursor() as cursor:
        cursor.execute(_ADD_TO_JOBS, _columns([(*key, *months[key]) for key in sorted(months)]))
    sums.add([one.id for one in rated])


def add_to_days(rows: Sequence[tuple[int, date, int, int, int | None, int]]) -> None:
    """(organization, day, project, provider, offering, yen) into the sums that pages read. No offering: storage."""
    with connection.cursor() as cursor:
        cursor.execute(_ADD_TO_DAYS, _columns(rows))


def _columns(rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


_ADD_TO_DAYS = """
    INSERT INTO billing_dailycharge AS known (organization_id, day, project_id, provider_id, offering_id, amount)
    SELECT * FROM unnest(%s::bigint[], %s::date[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[])
    ON CONFLICT (organization_id, day, project_id, provider_id, offering_id)
    DO UPDATE SET amount = known.amount + EXCLUDED.amount
"""
_ADD_TO_JOBS = """
    INSERT INTO billing_jobcharge AS known
        (job_code, month, organization_id, project_id, offering_id, user_id, amount, gpu_seconds)
    SELECT * FROM unnest(
        %s::text[], %s::date[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[])
    ON CONFLICT (job_code, month) DO UPDATE SET
        amount = known.amount + EXCLUDED.amount,
        gpu_seconds = known.gpu_seconds + EXCLUDED.gpu_seconds,
        offering_id = EXCLUDED.offering_id
"""
