"""What members owe each other for a month: of every charge for another's machine the rule's share goes to the host.

The contracting member issues the invoice and carries the customer's risk. Unless the rule says otherwise it settles
what customers paid with credit given to them (trial, grant, refund, compensation) like any other charge: who gives
credit also bears it. A member whose name alone is on the service gets nothing by this settlement. A pair without a rule
is not settled, and said to be so: there is no share that everybody would agree to.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from django.db import connection, transaction
from django.db.models import Exists, OuterRef

from portal.audit import recording as audit
from portal.billing.models import (
    GIVEN,
    BillingPeriod,
    Charge,
    PeriodState,
    RevenueRule,
    Settlement,
    SettlementDispute,
    SettlementLine,
)
from portal.catalog.models import Provider, SaleForm
from portal.core.periods import BillingMonth

NOTE_MAX = 1000


class NotZeroSum(Exception):
    """What members end up with is not what customers were charged: nothing may be settled by these figures."""


@dataclass(frozen=True)
class Line:
    """One offering's charges by one rule, in yen. `net` is rounded once; `fee` is what is left."""

    offering_id: int | None  # None: storage
    rule: RevenueRule
    gross: int
    given: int
    gpu_seconds: int

    @property
    def net(self) -> int:
        return self.rule.share_of(self.gross, given=self.given, gpu_seconds=self.gpu_seconds)

    @property
    def fee(self) -> int:
        return self.gross - self.net


@dataclass(frozen=True)
class Pair:
    """`contracting_id` owes `host_id` the net."""

    contracting_id: int
    host_id: int
    lines: tuple[Line, ...]

    @property
    def members(self) -> tuple[int, int]:
        return self.contracting_id, self.host_id

    @property
    def gross(self) -> int:
        return sum(line.gross for line in self.lines)

    @property
    def fee(self) -> int:
        return sum(line.fee for line in self.lines)

    @property
    def net(self) -> int:
        return sum(line.net for line in self.lines)


@dataclass(frozen=True)
class WithoutRule:
    contracting_id: int
    host_id: int
    sale_form: SaleForm
    day: date  # of use: the first that no rule covers
    gross: int


@dataclass(frozen=True)
class Transfer:
    """What two members pay in the end, both directions set off against each other."""

    payer_id: int
    payee_id: int
    amount: int


@dataclass(frozen=True)
class Position:
    """`collected` from customers, `paid` to hosts, `received` as host, in yen."""

    member_id: int
    collected: int
    paid: int
    received: int

    @property
    def balance(self) -> int:
        return self.collected - self.paid + self.received


@dataclass(frozen=True)
class Settled:
    """A month as its charges have it now. Members are in the order of their ids."""

    month: BillingMonth
    charged: int
    pairs: tuple[Pair, ...]
    without_rule: tuple[WithoutRule, ...]
    positions: tuple[Position, ...]

    @property
    def transfers(self) -> list[Transfer]:
        return transfers(self.pairs)


def settle(month: BillingMonth) -> Settled:
    """Reads only. Raises NotZeroSum, which is a fault of this file."""
    charged, parts = _charges(month)
    rules = _Rules(RevenueRule.objects.filter(valid_from__lte=month.last_day))
    known: dict[tuple[int, int], dict[tuple[int | None, RevenueRule], list[int]]] = defaultdict(dict)
    unknown: dict[tuple[int, int, SaleForm], list[_Part]] = defaultdict(list)
    for part in parts:
        if part.contracting_id == part.host_id:
            continue
        if (rule := rules.of(part)) is None:
            unknown[part.contracting_id, part.host_id, part.sale_form].append(part)
            continue
        sums = known[part.contracting_id, part.host_id].setdefault((part.offering_id, rule), [0, 0, 0])
        for place, amount in enumerate((part.gross, part.given, part.gpu_seconds)):
            sums[place] += amount
    pairs = tuple(
        Pair(*of, tuple(Line(*key, *sums) for key, sums in sorted(lines.items(), key=_by_offering)))
        for of, lines in sorted(known.items())
    )
    positions = _positions(parts, pairs)
    if sum(position.balance for position in positions) != charged:
        raise NotZeroSum(str(month))
    without_rule = tuple(
        WithoutRule(*key, day=min(part.day for part in missing), gross=sum(part.gross for part in missing))
        for key, missing in sorted(unknown.items())
    )
    return Settled(month, charged, pairs, without_rule, positions)


@transaction.atomic
def close(month: BillingMonth, *, by: str) -> list[Settlement]:
    """Write down what each pair owes that has rules for all its charges, and whose contracting member has closed the
    month with all its customers. What is written stays, whatever comes later. The settlements of the month.

    Repeatable, also by two at once: a pair that is there is left alone.
    """
    list(Provider.objects.select_for_update(no_key=True).order_by("pk").values_list("pk"))  # one close at a time
    there = {row.members for row in settlements_of(month)}
    settled = settle(month)
    waits = {(missing.contracting_id, missing.host_id) for missing in settled.without_rule}
    charging = not_closed(month)
    for pair in settled.pairs:
        if pair.members not in there | waits and pair.contracting_id not in charging:
            _write(pair, month, by)
    return settlements_of(month)


def not_closed(month: BillingMonth) -> set[int]:
    """Members who have charges of the month with somebody for whom it is not closed yet: more may come."""
    closed = BillingPeriod.objects.filter(
        organization=OuterRef("organization"),
        issuer=OuterRef("contracting_member"),
        month=month.first_day,
        state=PeriodState.CLOSED,
    )
    charges = Charge.objects.filter(day__range=(month.first_day, month.last_day)).exclude(Exists(closed))
    return set(charges.order_by().values_list("contracting_member", flat=True).distinct())


def settlements_of(month: BillingMonth) -> list[Settlement]:
    return list(Settlement.objects.filter(month=month.first_day).order_by("pk"))


def changed_since(settled: Settled, closed: Iterable[Settlement]) -> list[Settlement]:
    """Settlements whose charges add up to something else now: a charge came into a month that was settled."""
    now: dict[tuple[int, int], int] = defaultdict(int)
    for pair in settled.pairs:
        now[pair.members] += pair.gross
    for missing in settled.without_rule:
        now[missing.contracting_id, missing.host_id] += missing.gross
    return [row for row in closed if now[row.members] != row.gross]


def dispute(settlement: Settlement, *, note: str, by: str) -> SettlementDispute:
    with transaction.atomic():
        audit.record("settlement.disputed", f"settlement:{settlement.code}", actor=by)
        return SettlementDispute.objects.create(settlement=settlement, note=note, by=by)


STATEMENT_HEADER = (
    "settlement", "month", "contracting_member", "host_member", "offering", "sale_form", "percent", "yen_per_gpu_hour",
    "rule_from", "rule_source", "rule_confirmed", "gpu_seconds", "given_yen", "gross_yen", "fee_yen", "net_yen",
)  # fmt: skip


def statement(settlement: Settlement) -> list[tuple[Any, ...]]:
    """What both members check: one row for each offering and rule, in English as between their back offices, then the
    sum, and what was said against it."""
    head = (
        settlement.code,
        f"{settlement.month:%Y-%m}",
        settlement.contracting_member.slug,
        settlement.host_member.slug,
    )
    lines = list(settlement.lines.select_related("offering", "rule").order_by("offering__slug", "rule_id"))
    rows: list[tuple[Any, ...]] = [
        (
            *head,
            line.offering.slug if line.offering else "storage",
            line.rule.sale_form,
            line.rule.percent,
            line.rule.yen_per_gpu_hour,
            line.rule.valid_from.isoformat(),
            line.rule.source,
            "yes" if line.rule.confirmed else "no",
            line.gpu_seconds,
            line.given,
            line.gross,
            line.fee,
            line.net,
        )
        for line in lines
    ]
    sums = (sum(line.gpu_seconds for line in lines), sum(line.given for line in lines))
    rows.append((*head, "total", *[None] * 6, *sums, settlement.gross, settlement.fee, settlement.net))
    rows += [(*head, "dispute", *[None] * 4, one.note, *[None] * 6) for one in settlement.disputes.order_by("pk")]
    return rows


def transfers(owed: Iterable[Pair | Settlement]) -> list[Transfer]:
    """One per two members, from whoever owes more. None where both owe the same."""
    between: dict[tuple[int, int], int] = defaultdict(int)
    for one in owed:
        payer, payee = one.members
        first, second = sorted((payer, payee))
        between[first, second] += one.net if payer == first else -one.net
    return [
        Transfer(*((first, second) if amount > 0 else (second, first)), amount=abs(amount))
        for (first, second), amount in sorted(between.items())
        if amount
    ]


# --- how it is added up ----------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Part:
    """Charges for what was used on one day of one offering, between the same members."""

    contracting_id: int
    service_id: int
    host_id: int
    offering_id: int | None
    day: date
    gross: int
    given: int
    gpu_seconds: int

    @property
    def sale_form(self) -> SaleForm:
        return SaleForm.of(contracting=self.contracting_id, service=self.service_id, host=self.host_id)


# The sum of all is made by the same statement, so that no charge comes between it and its parts.
_CHARGES = """
SELECT contracting_member_id, service_member_id, host_member_id, offering_id, used_on,
    coalesce(sum(amount), 0)::bigint, coalesce(sum(given), 0)::bigint, coalesce(sum(gpu_seconds), 0)::bigint,
    grouping(contracting_member_id) = 1
FROM (
    SELECT charge.contracting_member_id, charge.service_member_id, charge.host_member_id, charge.offering_id,
        coalesce(record.day, storage.day) AS used_on, charge.amount, record.gpu_seconds,
        (
            SELECT sum(used.amount) FROM billing_credituse used JOIN billing_credit credit ON credit.id = used.credit_id
            WHERE used.charge_id = charge.id AND credit.kind = ANY(%(given)s)
        ) AS given
    FROM billing_charge charge
    LEFT JOIN usage_usagerecord record ON record.id = charge.record_id
    LEFT JOIN usage_storageusage storage ON storage.id = charge.storage_id
    WHERE charge.day BETWEEN %(first)s AND %(last)s
) AS used
GROUP BY GROUPING SETS ((), (contracting_member_id, service_member_id, host_member_id, offering_id, used_on))
"""


def _charges(month: BillingMonth) -> tuple[int, list[_Part]]:
    """What was charged in all, and its parts."""
    with connection.cursor() as cursor:
        cursor.execute(_CHARGES, {"first": month.first_day, "last": month.last_day, "given": list(GIVEN)})
        rows = cursor.fetchall()
    return sum(row[5] for row in rows if row[-1]), [_Part(*row[:-1]) for row in rows if not row[-1]]


class _Rules:
    def __init__(self, rows: Iterable[RevenueRule]) -> None:
        self._by_key: dict[tuple[int, int | None, str], list[RevenueRule]] = defaultdict(list)
        for rule in sorted(rows, key=lambda rule: (rule.valid_from, rule.pk)):
            self._by_key[rule.contracting_member_id, rule.host_member_id, rule.sale_form].append(rule)

    def of(self, part: _Part) -> RevenueRule | None:
        """A rule that names the host goes before one for any, however old it is."""
        for host in (part.host_id, None):
            begun = [r for r in self._by_key[part.contracting_id, host, part.sale_form] if r.valid_from <= part.day]
            if begun:
                return begun[-1]
        return None


def _by_offering(line: tuple[tuple[int | None, RevenueRule], list[int]]) -> tuple[int, int]:
    (offering_id, rule), _sums = line
    return offering_id or 0, rule.pk


def _positions(parts: Sequence[_Part], pairs: Sequence[Pair]) -> tuple[Position, ...]:
    sums: dict[int, list[int]] = defaultdict(lambda: [0, 0, 0])
    for part in parts:
        sums[part.contracting_id][0] += part.gross
    for pair in pairs:
        sums[pair.contracting_id][1] += pair.net
        sums[pair.host_id][2] += pair.net
    return tuple(Position(member, *amounts) for member, amounts in sorted(sums.items()))


def _write(pair: Pair, month: BillingMonth, by: str) -> None:
    row = Settlement.objects.create(
        month=month.first_day,
        contracting_member_id=pair.contracting_id,
        host_member_id=pair.host_id,
        gross=pair.gross,
        fee=pair.fee,
        net=pair.net,
        closed_by=by,
    )
    SettlementLine.objects.bulk_create(
        SettlementLine(
            settlement=row,
            offering_id=line.offering_id,
            rule=line.rule,
            gpu_seconds=line.gpu_seconds,
            given=line.given,
            gross=line.gross,
            fee=line.fee,
            net=line.net,
        )
        for line in pair.lines
    )
    audit.record(
        "settlement.closed",
        f"settlement:{row.code}",
        actor=by,
        detail={"month": str(month), "gross": row.gross, "fee": row.fee, "net": row.net},
    )
