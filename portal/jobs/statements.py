"""Providers' own statements of a day, beside our records. What differs by more than the tolerance is written down.

Compared are, of each account: every job that ended that day in Japan, as a whole; all of these together; and, where the
provider bills by plan, the seconds of each plan on its bill of the day. Nothing is repaired: a person decides.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta

from django.conf import settings
from django.db.models import QuerySet, Sum
from django.utils import timezone

from portal.catalog.models import ProviderAccount
from portal.catalog.provider_accounts import adapter_of
from portal.core.periods import day_of, interval_of_day
from portal.jobs.keys import key_prefix
from portal.jobs.models import Attempt
from portal.providers.base import Adapter, BillingStatement, RemoteCharge, RemoteUsage, UsageStatement
from portal.providers.errors import ProviderError
from portal.usage import differences, intake
from portal.usage.differences import Compared
from portal.usage.models import Difference, DifferenceKind, UsageRecord


@dataclass
class Checked:
    """One account's statement. `trouble`: why it could not be read; "" when it was."""

    account: str
    lines: int = 0
    compared: int = 0
    differing: int = 0
    trouble: str = ""

    def as_dict(self) -> dict[str, str | int]:
        return asdict(self)


def yesterday() -> date:
    return day_of(timezone.now()) - timedelta(days=1)


def check_all(day: date) -> Iterator[Checked]:
    """Of all accounts in use, one after the other."""
    for account in ProviderAccount.objects.filter(active=True).select_related("provider").order_by("pk"):
        try:
            yield check(account, day)
        except ProviderError as trouble:
            yield Checked(f"{account.provider.slug} {account}", trouble=trouble.summary)


def check(account: ProviderAccount, day: date) -> Checked:
    """Fetch, keep and compare the account's statement. Again gives the same. Raises ProviderError.

    Jobs that are not settled yet are compared the next time.
    """
    adapter = adapter_of(account)
    checked = Checked(f"{account.provider.slug} {account}")
    if not isinstance(adapter, UsageStatement):
        return checked
    whole = interval_of_day(day)
    lines = [line for line in adapter.usage(since=whole.start, until=whole.end) if line.key.startswith(key_prefix())]
    bill = _bill(adapter, day)
    # As the adapter has read it: the bytes on the wire are its own, and many pages.
    said = {"usage": [asdict(line) for line in lines], "bill": [asdict(line) for line in bill or ()]}
    body = json.dumps(said, default=str, sort_keys=True).encode()
    report = intake.keep(account.provider, source=account.kind, body=body, organization=account.organization)
    compared = [*_jobs(account, day, lines), *_plans(account, day, bill)]
    differences.keep(account, day, report, compared)
    checked.lines, checked.compared = len(lines) + len(bill or ()), len(compared)
    checked.differing = sum(one.differs for one in compared)
    return checked


@dataclass(frozen=True)
class Line:
    """`subject`: attempt, or plan. `amount` in the unit of the kind of difference."""

    subject: str
    started_at: datetime | None
    amount: int


@dataclass(frozen=True)
class Beside:
    """What was compared, as it stands now: records of an open month may have come since."""

    theirs: list[Line]
    ours: list[Line]

    @property
    def theirs_sum(self) -> int:
        return sum(line.amount for line in self.theirs)

    @property
    def ours_sum(self) -> int:
        return sum(line.amount for line in self.ours)


def beside(difference: Difference) -> Beside:
    """The lines of the statement that a difference is about, beside our records. Two queries."""
    said = json.loads(bytes(difference.report.body))
    if difference.kind == DifferenceKind.BILL:
        bill = [Line(one["plan"], None, one["usage"]) for one in said["bill"] if one["plan"] == difference.subject]
        records = _records_of_plans(difference.account, difference.day).filter(offering__plan=difference.subject)
        return Beside(bill, _ours(records, "seconds"))
    lines = [
        Line(one["key"].removeprefix(key_prefix()), datetime.fromisoformat(one["started_at"]), one["gpu_seconds"])
        for one in said["usage"]
    ]
    attempts = _attempts(difference.account, difference.day, {line.subject for line in lines})
    collected = dict(attempts.values_list("code", "collected_at"))
    about = {difference.subject}
    if difference.kind == DifferenceKind.DAY:
        about = {line.subject for line in lines} | collected.keys()
    about -= {code for code, at in collected.items() if at is None}
    records = UsageRecord.objects.filter(attempt_code__in=about & collected.keys())
    return Beside([line for line in lines if line.subject in about], _ours(records, "gpu_seconds"))


def _ours(records: QuerySet[UsageRecord], unit: str) -> list[Line]:
    rows = records.order_by("started_at", "pk").values_list("attempt_code", "started_at", unit)
    return [Line(*row) for row in rows]


def _bill(adapter: Adapter, day: date) -> list[RemoteCharge] | None:
    """None: this provider sends no bill by day."""
    if not isinstance(adapter, BillingStatement):
        return None
    return adapter.charges(year=day.year, month=day.month, day=day.day)


def _jobs(account: ProviderAccount, day: date, lines: Sequence[RemoteUsage]) -> Iterator[Compared]:
    theirs: defaultdict[str, int] = defaultdict(int)
    for line in lines:
        theirs[line.key.removeprefix(key_prefix())] += line.gpu_seconds
    ours: dict[str, int] = {}
    gpus: dict[str, int] = {}
    for attempt in _attempts(account, day, theirs).select_related("job"):
        if attempt.collected_at is None:
            theirs.pop(attempt.code, None)
        else:
            ours[attempt.code], gpus[attempt.code] = 0, attempt.job.gpus
    records = UsageRecord.objects.filter(attempt_code__in=ours).values("attempt_code").order_by("attempt_code")
    ours |= dict(records.annotate(sum=Sum("gpu_seconds")).values_list("attempt_code", "sum"))
    for code in sorted(ours.keys() | theirs.keys()):
        tolerance = settings.STATEMENT_TOLERANCE_S * gpus.get(code, 1)
        yield Compared(DifferenceKind.JOB, code, ours.get(code, 0), theirs.get(code, 0), tolerance)
    yield _within(DifferenceKind.DAY, "", sum(ours.values()), sum(theirs.values()))


def _plans(account: ProviderAccount, day: date, bill: Sequence[RemoteCharge] | None) -> Iterator[Compared]:
    if bill is None:
        return
    theirs: defaultdict[str, int] = defaultdict(int)
    for line in bill:
        theirs[line.plan] += line.usage
    sums = _records_of_plans(account, day).values("offering__plan").annotate(sum=Sum("seconds")).order_by()
    ours = dict(sums.values_list("offering__plan", "sum"))
    for plan in sorted(ours.keys() | theirs.keys()):
        yield _within(DifferenceKind.BILL, plan, ours.get(plan, 0), theirs.get(plan, 0))


def _attempts(account: ProviderAccount, day: date, told: Iterable[str]) -> QuerySet[Attempt]:
    """Those that ended that day, and those that the statement tells of."""
    whole = interval_of_day(day)
    attempts = Attempt.objects.filter(account=account)
    return attempts.filter(ended_at__gte=whole.start, ended_at__lt=whole.end) | attempts.filter(code__in=told)


def _records_of_plans(account: ProviderAccount, day: date) -> QuerySet[UsageRecord]:
    codes = Attempt.objects.filter(account=account).values("code")
    return UsageRecord.objects.filter(provider=account.provider_id, day=day, attempt_code__in=codes)


def _within(kind: DifferenceKind, subject: str, ours: int, theirs: int) -> Compared:
    return Compared(kind, subject, ours, theirs, max(ours, theirs) * settings.STATEMENT_TOLERANCE_PERCENT // 100)
