"""Lines of a provider's report become records, in bulk. What is told twice changes nothing.

One transaction takes a few thousand lines, in their order. What must be known of the table is read in a handful of
statements, the lines are gone through in memory, and all rows are written at once.

A line that was told before with other numbers is corrected: a row that takes the old one back, a row that stands
instead. Numbers that a line had once and has no longer are an old report that comes again, and change nothing either.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from itertools import groupby
from typing import Any, NamedTuple

from django.db import connection
from django.utils import timezone
from django.utils.translation import gettext as _

from portal.accounts.models import Organization
from portal.catalog.models import Provider
from portal.core.bulk import copy_rows, next_ids
from portal.usage.models import RefusedLine, UsageReport
from portal.usage.recording import AttemptFacts, Recorded, add_to_days, alone_with_reports

GPU_SECOND = "gpu_second"
CLOCKS_DIFFER = timedelta(minutes=5)  # a provider's clock may be that far before ours
LONGEST = timedelta(days=31)  # of one line
_DAY_S = 86_400
_JAPAN_S = 9 * 3600  # no summer time
_EPOCH = date(1970, 1, 1).toordinal()


@dataclass(frozen=True, slots=True)
class ReportLine:
    """What one line of a report says: so many GPU-seconds of an attempt in [started_at, ended_at)."""

    number: int  # in the report, from 1
    source_id: str  # the provider's own id of the line
    attempt_code: str
    started_at: datetime
    ended_at: datetime
    quantity: int | Decimal
    unit: str = GPU_SECOND


FactsOf = Callable[[Collection[str]], Mapping[str, AttemptFacts]]  # by attempt code; unknown ones are missing


@dataclass(frozen=True, slots=True)
class Refusal:
    number: int
    source_id: str
    reason: str  # a sentence


@dataclass(slots=True)
class Intake:
    """What became of the lines. `records` are new, in the order in which they are to be charged."""

    records: list[Recorded] = field(default_factory=list)
    known: int = 0  # lines that were told before
    corrected: int = 0  # lines that were told before with other numbers
    refused: list[Refusal] = field(default_factory=list)

    def add(self, other: Intake) -> None:
        self.records += other.records
        self.known += other.known
        self.corrected += other.corrected
        self.refused += other.refused


def keep(provider: Provider, *, source: str, body: bytes, organization: Organization | None = None) -> UsageReport:
    """The report as it came. The same bytes again give the row that is there. `organization`: whose account told it."""
    known = {"provider": provider, "organization": organization, "source": source, "sha256": sha256(body).hexdigest()}
    UsageReport.objects.bulk_create([UsageReport(**known, body=body)], ignore_conflicts=True)
    report: UsageReport = UsageReport.objects.defer("body").get(**known)
    return report


def take_in(report: UsageReport, lines: Sequence[ReportLine], *, facts_of: FactsOf) -> Intake:
    """Store what the lines say and is not known yet, and move the daily sums with it. Runs inside the transaction that
    also charges the records. A line that cannot be is refused with a sentence and listed; the others are taken in."""
    alone_with_reports()
    batch = _Batch(report, facts_of({line.attempt_code for line in lines}), len(lines))
    told = [told for line in lines if (told := batch.checked(line)) is not None]
    batch.load(told)
    for each in told:
        batch.take(each)
    _write(report, batch.intake.records)
    add_to_days(batch.intake.records)
    RefusedLine.objects.bulk_create(
        [RefusedLine(report=report, **asdict(refusal)) for refusal in batch.intake.refused], ignore_conflicts=True
    )
    return batch.intake


class _Refused(Exception):
    pass


class _Told(NamedTuple):
    """A line that is well formed. Instants in whole seconds since 1970."""

    number: int
    source_id: str
    attempt_code: str
    start: int
    end: int

    @property
    def shape(self) -> _Shape:
        """Cut at midnight in Japan."""
        pieces, start = [], self.start
        while start < self.end:
            end = min(self.end, (start + _JAPAN_S) // _DAY_S * _DAY_S + _DAY_S - _JAPAN_S)
            pieces.append((start, end))
            start = end
        return tuple(pieces)


_Shape = tuple[tuple[int, int], ...]


class _Piece(NamedTuple):
    """A record that stands."""

    id: int
    start: int
    end: int


class _Spans:
    """Intervals of one attempt that do not overlap."""

    __slots__ = ("ends", "starts")

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.ends: list[int] = []

    def add(self, start: int, end: int) -> None:
        at = bisect_left(self.starts, start)
        if at == len(self.starts) or self.starts[at] != start:
            self.starts.insert(at, start)
            self.ends.insert(at, end)

    def remove(self, start: int) -> None:
        at = bisect_left(self.starts, start)
        del self.starts[at], self.ends[at]

    def overlaps(self, start: int, end: int) -> bool:
        at = bisect_left(self.starts, end)
        return at > 0 and self.ends[at - 1] > start


@dataclass(slots=True)
class _Known:
    """All that was told of one line: `now` is what stands, `ever` every set of intervals it had."""

    attempt_code: str
    now: list[_Piece] = field(default_factory=list)
    ever: set[_Shape] = field(default_factory=set)
    revision: int = 0


class _Batch:
    def __init__(self, report: UsageReport, facts: Mapping[str, AttemptFacts], size: int) -> None:
        self.report = report
        self.facts = facts
        self.latest_s = int((timezone.now() + CLOCKS_DIFFER).timestamp())
        self.intake = Intake()
        self.lines: dict[str, _Known] = {}
        self.spans: defaultdict[str, _Spans] = defaultdict(_Spans)
        self.revisions: dict[tuple[str, int], int] = {}  # the highest at an attempt's instant
        self.instants: dict[int, datetime] = {}
        self.days: dict[int, date] = {}
        self.ids = next_ids("usage_usagerecord", at_once=size)

    def checked(self, line: ReportLine) -> _Told | None:
        try:
            return self._told(line)
        except _Refused as why:
            self._refuse(line.number, line.source_id, str(why))
            return None

    def _told(self, line: ReportLine) -> _Told:
        facts = self.facts.get(line.attempt_code)
        if not line.source_id or len(line.source_id) > 100:
            raise _Refused(_("The line has no id, or one that is too long."))
        if facts is None or facts.provider_id != self.report.provider_id:
            raise _Refused(_("No attempt of ours at this provider has this name."))
        if self.report.organization_id not in (None, facts.organization_id):
            raise _Refused(_("The attempt belongs to another organization than the account that reported it."))
        if facts.is_tracked:
            raise _Refused(_("The attempt is not over: our own tracker meters it."))
        if line.unit != GPU_SECOND:
            raise _Refused(_("The unit is not GPU-seconds."))
        quantity = line.quantity
        if isinstance(quantity, Decimal) and not (quantity.is_finite() and quantity == quantity.to_integral_value()):
            raise _Refused(_("The quantity is not a whole number."))
        if quantity <= 0:
            raise _Refused(_("The quantity is not more than zero."))
        if line.started_at.tzinfo is None or line.ended_at.tzinfo is None:
            raise _Refused(_("The time has no time zone."))
        start, end = int(line.started_at.timestamp()), int(line.ended_at.timestamp())
        if end <= start:
            raise _Refused(_("The time ends before it begins, or lasts less than a second."))
        if end > self.latest_s:
            raise _Refused(_("The time lies in the future."))
        if end - start > LONGEST.total_seconds():
            raise _Refused(_("The time is longer than a month."))
        if quantity != (end - start) * facts.gpus:
            raise _Refused(_("The quantity is not what the attempt's GPUs use in this time."))
        return _Told(line.number, line.source_id, line.attempt_code, start, end)

    def load(self, told: Sequence[_Told]) -> None:
        """Everything in the table that the lines could meet, in four statements."""
        rows = _lines(self.report, [each.source_id for each in told])
        for (source_id, attempt_code, revision), group in groupby(rows, key=lambda row: row[:3]):
            known = self.lines.setdefault(source_id, _Known(attempt_code))
            known.revision, known.now = revision, [_Piece(*row[3:]) for row in group]
            known.ever.add(tuple((piece.start, piece.end) for piece in known.now))
        self._load_spans([each for each in told if not self._is_known(each)])

    def _load_spans(self, told: Sequence[_Told]) -> None:
        """Rows of an attempt that was never corrected do not overlap: for a line the one before its end is enough.
        Of the others every row is looked at that stands and overlaps, and the revisions at its instants."""
        corrected = _corrected({each.attempt_code for each in told})
        corrected |= {each.attempt_code for each in told if each.source_id in self.lines}
        with_corrections = [each for each in told if each.attempt_code in corrected]
        for known in self.lines.values():
            for piece in known.now:
                self.spans[known.attempt_code].add(piece.start, piece.end)
        for rows in (
            _last_before([each for each in told if each.attempt_code not in corrected]),
            _overlapping(with_corrections),
        ):
            for attempt_code, start, end in rows:
                self.spans[attempt_code].add(start, end)
        self.revisions = _revisions(with_corrections)

    def _is_known(self, told: _Told) -> bool:
        known = self.lines.get(told.source_id)
        return known is not None and known.attempt_code == told.attempt_code and told.shape in known.ever

    def take(self, told: _Told) -> None:
        known = self.lines.get(told.source_id)
        if known is None:
            known = self.lines[told.source_id] = _Known(told.attempt_code)
        elif known.attempt_code != told.attempt_code:
            return self._refuse(told.number, told.source_id, _("The same id was told of another attempt before."))
        shape = told.shape
        if shape in known.ever:
            self.intake.known += 1
            return None
        spans = self.spans[told.attempt_code]
        for piece in known.now:
            spans.remove(piece.start)
        free = not spans.overlaps(told.start, told.end)
        for start, end in shape if free else [(piece.start, piece.end) for piece in known.now]:
            spans.add(start, end)
        if not free:
            return self._refuse(
                told.number, told.source_id, _("Part of this time is recorded already, by another line.")
            )
        self.intake.corrected += bool(known.now)
        self._record(told, shape, known)
        return None

    def _record(self, told: _Told, shape: _Shape, known: _Known) -> None:
        old = known.now
        starts = [piece.start for piece in old] + [start for start, _end in shape]
        highest = known.revision
        for start in starts:
            highest = max(highest, self.revisions.get((told.attempt_code, start), 0))
        back = highest + 2 - highest % 2 if old else highest + highest % 2  # even
        known.revision = back + 1
        known.ever.add(shape)
        for piece in old:
            self._add(told, piece.start, piece.end, sign=-1, revision=back, corrects=piece.id)
        by_day = {self._day(piece.start): piece for piece in old}
        known.now = []
        for start, end in shape:
            corrects = by_day.get(self._day(start), old[0]).id if old else None
            record = self._add(told, start, end, sign=1, revision=back + 1, corrects=corrects)
            known.now.append(_Piece(record.id, start, end))

    def _add(self, told: _Told, start: int, end: int, *, sign: int, revision: int, corrects: int | None) -> Recorded:
        record = Recorded(
            id=next(self.ids),
            facts=self.facts[told.attempt_code],
            attempt_code=told.attempt_code,
            started_at=self._instant(start),
            ended_at=self._instant(end),
            day=self._day(start),
            seconds=sign * (end - start),
            source_id=told.source_id,
            revision=revision,
            corrects_id=corrects,
        )
        self.revisions[told.attempt_code, start] = revision
        self.intake.records.append(record)
        return record

    def _instant(self, second: int) -> datetime:
        instant = self.instants.get(second)
        if instant is None:
            instant = self.instants[second] = datetime.fromtimestamp(second, UTC)
        return instant

    def _day(self, second: int) -> date:
        number = (second + _JAPAN_S) // _DAY_S
        day = self.days.get(number)
        if day is None:
            day = self.days[number] = date.fromordinal(_EPOCH + number)
        return day

    def _refuse(self, number: int, source_id: str, reason: str) -> None:
        self.intake.refused.append(Refusal(number, source_id[:100], reason))


def _lines(report: UsageReport, source_ids: list[str]) -> list[Any]:
    """(line, attempt, revision, id, start, end) of all that was told of these lines."""
    return _fetch(
        f"""
        SELECT source_id, attempt_code, revision, id, {_SECONDS} FROM usage_usagerecord record
        WHERE provider_id = %s AND source = %s AND source_id = ANY(%s) AND source_id <> '' AND seconds > 0
        ORDER BY source_id, revision, started_at
        """,  # noqa: S608 - constants of this file
        [report.provider_id, report.source, source_ids],
    )


def _corrected(attempt_codes: set[str]) -> set[str]:
    return {
        code
        for (code,) in _fetch(
            "SELECT DISTINCT attempt_code FROM usage_usagerecord WHERE attempt_code = ANY(%s) AND revision > 1",
            [list(attempt_codes)],
        )
    }


def _last_before(told: Sequence[_Told]) -> list[Any]:
    """(attempt, start, end) of the last row that begins before the end of each line."""
    return _fetch(
        f"""
        SELECT record.attempt_code, {_SECONDS} FROM ({_TOLD}) AS told
        CROSS JOIN LATERAL (
            SELECT * FROM usage_usagerecord record
            WHERE record.attempt_code = told.attempt_code AND record.started_at < told.ended_at
            ORDER BY record.started_at DESC LIMIT 1
        ) AS record
        WHERE record.ended_at > told.started_at
        """,  # noqa: S608 - constants of this file
        _columns(told),
    )


def _overlapping(told: Sequence[_Told]) -> list[Any]:
    """(attempt, start, end) of every row that overlaps a line and is not taken back. None is longer than a day."""
    return _fetch(
        f"""
        SELECT DISTINCT record.attempt_code, {_SECONDS} FROM ({_TOLD}) AS told
        JOIN usage_usagerecord record ON record.attempt_code = told.attempt_code
            AND record.started_at < told.ended_at AND record.started_at > told.started_at - interval '1 day'
            AND record.ended_at > told.started_at
        WHERE record.seconds > 0 AND NOT EXISTS (
            SELECT 1 FROM usage_usagerecord back WHERE back.corrects_id = record.id AND back.seconds < 0)
        """,  # noqa: S608 - constants of this file
        _columns(told),
    )


def _revisions(told: Sequence[_Told]) -> dict[tuple[str, int], int]:
    """The highest revision at each attempt's instants at which a piece of a line begins."""
    starts = [(each.attempt_code, start) for each in told for start, _end in each.shape]
    rows = _fetch(
        """
        SELECT record.attempt_code, extract(epoch FROM record.started_at)::bigint, max(record.revision)
        FROM unnest(%s::text[], %s::bigint[]) AS piece (attempt_code, start)
        JOIN usage_usagerecord record
            ON record.attempt_code = piece.attempt_code AND record.started_at = to_timestamp(piece.start)
        GROUP BY record.attempt_code, record.started_at
        """,
        [[code for code, _ in starts], [start for _, start in starts]],
    )
    return {(code, start): revision for code, start, revision in rows}


_SECONDS = "extract(epoch FROM record.started_at)::bigint, extract(epoch FROM record.ended_at)::bigint"
_TOLD = """
    SELECT attempt_code, to_timestamp(start) AS started_at, to_timestamp("end") AS ended_at
    FROM unnest(%s::text[], %s::bigint[], %s::bigint[]) AS line (attempt_code, start, "end")
"""


def _columns(told: Sequence[_Told]) -> list[Any]:
    return [[each.attempt_code for each in told], [each.start for each in told], [each.end for each in told]]


def _fetch(sql: str, values: list[Any]) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        rows: list[Any] = cursor.fetchall()
    return rows


_COLUMNS = (
    "id", "organization_id", "project_id", "user_id", "provider_id", "offering_id", "price_id", "job_code",
    "attempt_code", "gpus", "seconds", "gpu_seconds", "started_at", "ended_at", "day", "source", "source_id",
    "revision", "corrects_id", "report_id", "created_at",
)  # fmt: skip


def _write(report: UsageReport, records: Sequence[Recorded]) -> None:
    now = timezone.now()
    copy_rows(
        "usage_usagerecord",
        _COLUMNS,
        (
            (
                record.id, (of := record.facts).organization_id, of.project_id, of.user_id, of.provider_id,
                of.offering_id, of.price_id, of.job_code, record.attempt_code, of.gpus, record.seconds,
                record.gpu_seconds, record.started_at, record.ended_at, record.day, report.source, record.source_id,
                record.revision, record.corrects_id, report.pk, now,
            )
            for record in records
        ),
    )  # fmt: skip
