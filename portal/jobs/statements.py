"""Providers' own statements of a day, beside our records. What differs by more than the tolerance is written down.

Compared are, of each account: every job that ended that day in Japan, as a whole; all of these together; and, where the
provider bills by plan, the seconds of each plan on its bill of the day. Nothing is repaired: a person decides.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta

from django.conf import settings
from django.db.models import Sum
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
from portal.usage.models import DifferenceKind, UsageRecord


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


def _bill(adapter: Adapter, day: date) -> list[RemoteCharge] | None:
    """None: this provider sends no bill by day."""
    if not isinstance(adapter, BillingStatement):
        return None
    return adapter.charges(year=day.year, month=day.month, day=day.day)


def _jobs(account: ProviderAccount, day: date, lines: Sequence[RemoteUsage]) -> Iterator[Compared]:
    whole = interval_of_day(day)
    theirs: defaultdict[str, int] = defaultdict(int)
    for line in lines:
        theirs[line.key.removeprefix(key_prefix())] += line.gpu_seconds
    ours: dict[str, int] = {}
    gpus: dict[str, int] = {}
    attempts = Attempt.objects.filter(account=account).select_related("job")
    for attempt in attempts.filter(ended_at__gte=whole.start, ended_at__lt=whole.end) | attempts.filter(
        code__in=theirs
    ):
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
    codes = Attempt.objects.filter(account=account).values("code")
    records = UsageRecord.objects.filter(provider=account.provider_id, day=day, attempt_code__in=codes)
    sums = records.values("offering__plan").annotate(sum=Sum("seconds")).order_by()
    ours = dict(sums.values_list("offering__plan", "sum"))
    for plan in sorted(ours.keys() | theirs.keys()):
        yield _within(DifferenceKind.BILL, plan, ours.get(plan, 0), theirs.get(plan, 0))


def _within(kind: DifferenceKind, subject: str, ours: int, theirs: int) -> Compared:
    return Compared(kind, subject, ours, theirs, max(ours, theirs) * settings.STATEMENT_TOLERANCE_PERCENT // 100)
