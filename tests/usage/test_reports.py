"""A stream of usage reports, taken in twice, against an oracle: to the GPU-second and to the yen.

python -m pytest tests/usage/test_reports.py -m faults_full -s      a million reports
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from itertools import count

import pytest
import time_machine
from django.db import transaction
from django.utils import timezone

from portal.accounts.models import Project
from portal.billing import credits, ledger
from portal.billing.models import BillingPeriod, CreditKind, DailyCharge, Hold, JobCharge, LedgerAccount
from portal.billing.verification import verify
from portal.catalog.models import Price
from portal.jobs.models import Attempt, Job
from portal.jobs.usage_reports import take_in
from portal.usage.intake import Intake, ReportLine, keep
from portal.usage.models import DailyUsage, UsageRecord, UsageReport
from tests.factories import OfferingFactory, PriceFactory, ProjectFactory, ProviderAccountFactory, UserFactory
from tests.factories.billing import jst
from tests.usage.oracle import SLOTS, Books, Tariff, Told, Work, stream

NOVEMBER = date(2026, 11, 1)
CLOSES, LATE_DAY = jst(2026, 12, 10), date(2027, 2, 20)
HELD = 10**8
PRICES: list[tuple[dict[str, object], Fraction]] = [
    ({"unit": "second", "amount": Decimal("0.28"), "minimum_s": 60}, Fraction(28, 100)),
    ({"unit": "minute", "amount": Decimal("16.333333"), "minimum_s": 0}, Fraction(16_333_333, 60 * 10**6)),
    ({"unit": "hour", "amount": Decimal("1003.7"), "minimum_s": 7200, "tax_included": False},
     Fraction(10_037, 36_000) * Fraction(11, 10)),
]  # fmt: skip


def works(number: int, dice: random.Random) -> list[Work]:
    """So many attempts that are over, and their jobs: half of them hold their money still, half do not any more."""
    offering, user = OfferingFactory(), UserFactory()
    account = ProviderAccountFactory(provider=offering.provider)
    prices = [PriceFactory(offering=offering, **given) for given, _rate in PRICES]
    projects = [ProjectFactory() for _ in range(12)]
    projects += [ProjectFactory(organization=project.organization) for project in projects]
    jobs, found = [], []
    for n in range(number):
        project, kind, gpus = dice.choice(projects), dice.randrange(len(prices)), dice.choice((1, 1, 2, 8))
        starts_at = int(jst(2026, 11, 5).timestamp()) + dice.randrange(40 * 86_400)
        jobs.append(job_of(n, project, prices[kind], gpus, user.pk))
        tariff = Tariff(PRICES[kind][1], prices[kind].minimum_s)
        found.append(
            Work(f"a{n}", jobs[-1].code, (project.organization_id, project.pk, offering.pk), gpus, tariff, starts_at)
        )
    Job.objects.bulk_create(jobs, batch_size=2000)
    Attempt.objects.bulk_create(
        [
            Attempt(
                code=work.code, job=job, account=account, offering=offering, price=job.price, state="ended",
                remote_id=f"r{work.code}", collected_at=timezone.now(),
            )
            for work, job in zip(found, jobs, strict=True)
        ],
        batch_size=2000,
    )  # fmt: skip
    hold(jobs)
    return found


def job_of(n: int, project: Project, price: Price, gpus: int, user_id: int) -> Job:
    return Job(
        code=f"J-{n}", organization_id=project.organization_id, project=project, submitted_by_id=user_id, name="x",
        offering_id=price.offering_id, price=price, gpus=gpus, time_limit_s=86_400, cost_cap=HELD, state="succeeded",
    )  # fmt: skip


def hold(jobs: list[Job]) -> None:
    by_organization: dict[int, list[Job]] = {}
    for job in jobs:
        by_organization.setdefault(job.organization_id, []).append(job)
    for mine in by_organization.values():
        credits.grant(mine[0].project.organization, kind=CreditKind.INVOICE, amount=2 * HELD * len(mine), by="test")
        with transaction.atomic():
            account = ledger.locked(mine[0].organization_id)
            now = timezone.now()
            Hold.objects.bulk_create(
                [
                    Hold(
                        organization_id=job.organization_id, project=job.project, job_code=job.code, amount=HELD,
                        released_at=now if n % 2 else None,
                    )
                    for n, job in enumerate(mine)
                ]
            )  # fmt: skip
            sides = {LedgerAccount.AVAILABLE: -HELD, LedgerAccount.HELD: HELD}
            ledger.post_all(account, [(f"hold:{job.code}", sides) for job in mine[::2]], by="test")


def as_line(number: int, told: Told) -> ReportLine:
    start, end = (datetime.fromtimestamp(second, UTC) for second in (told.start, told.end))
    return ReportLine(number, told.line, told.work.code, start, end, (told.end - told.start) * told.work.gpus)


def hear(books: Books, report: UsageReport, part: list[Told], numbers: Iterator[int]) -> Intake:
    for told in part:
        books.hear(told)
    return take_in(report, (as_line(next(numbers), told) for told in part))


def check(reports: int) -> str:
    """Half of them before November closes, the other half after; then all once more. What it took, in words."""
    dice = random.Random(6)
    with time_machine.travel(CLOSES):
        arriving = stream(works(reports // SLOTS, dice), dice)
        report = keep(OfferingFactory().provider, source="test", body=b"the stream")
    books, numbers, half = Books(today=CLOSES.date()), count(1), len(arriving) // 2
    began = time.perf_counter()
    with time_machine.travel(datetime(2027, 2, 19, 16, tzinfo=UTC)):
        first = hear(books, report, arriving[:half], numbers)
        close_november()
        books.closed, books.today = {(2026, 11)}, LATE_DAY
        first.add(hear(books, report, arriving[half:], numbers))
        once = time.perf_counter() - began
        again = take_in(report, (as_line(next(numbers), told) for told in arriving))
        twice = time.perf_counter() - began
    assert (again.records, again.known, first.refused, again.refused) == ([], len(arriving), [], [])
    assert UsageRecord.objects.count() == len(first.records)
    assert first.corrected == sum(len(shapes) - 1 for shapes in books.ever.values())
    compare(books)
    assert verify() == []
    rate = len(arriving) / once
    return (
        f"{reports} reports, {len(arriving)} lines taken in twice in {twice:.1f} s; the first time {rate:.0f} lines/s"
        f" with the oracle beside it; {first.corrected} corrected, {sum(books.of_job.values())} yen"
    )


def close_november() -> None:
    issuer = OfferingFactory().contracting_member
    for organization in set(Job.objects.values_list("organization", flat=True)):
        BillingPeriod.objects.create(
            organization_id=organization, issuer=issuer, month=NOVEMBER, state="closed", closed_at=timezone.now()
        )


def compare(books: Books) -> None:
    place = ("organization", "project", "offering", "day")
    used = {tuple(key): n for *key, n in DailyUsage.objects.values_list(*place, "gpu_seconds")}
    assert used == books.gpu_seconds
    yen = {tuple(key): n for *key, n in DailyCharge.objects.values_list(*place, "amount")}
    assert yen == books.yen
    of_jobs: dict[str, int] = {}
    for code, amount in JobCharge.objects.values_list("job_code", "amount"):
        of_jobs[code] = of_jobs.get(code, 0) + amount
    assert of_jobs == books.of_job == dict(Job.objects.filter(gpu_seconds__gt=0).values_list("code", "cost"))
    assert sum(yen.values()) == sum(of_jobs.values())


@pytest.mark.django_db
def test_reports_doubled_late_disordered_and_corrected_come_to_what_the_oracle_says() -> None:
    print(check(20_000))


@pytest.mark.faults_full
@pytest.mark.timeout(3600)
@pytest.mark.django_db(transaction=True)  # as in life: in one transaction the old versions of all sums would be kept
def test_a_million_reports_come_to_what_the_oracle_says(capsys: pytest.CaptureFixture[str]) -> None:
    told = check(1_000_000)
    with capsys.disabled():
        print(f"\n{told}")


def test_the_oracle_cuts_days_in_japan() -> None:
    start = int(jst(2026, 11, 30, 23, 59, 50).timestamp())
    midnight = int(jst(2026, 12, 1).timestamp())
    work = Work("a", "J", (1, 2, 3), 2, Tariff(Fraction(1), 0), start)
    books = Books()
    books.hear(Told("l", work, start, start + 30))
    assert start + 10 == midnight
    assert books.gpu_seconds == {(1, 2, 3, date(2026, 11, 30)): 20, (1, 2, 3, date(2026, 12, 1)): 40}
    assert books.yen == {(1, 2, 3, date(2026, 11, 30)): 10, (1, 2, 3, date(2026, 12, 1)): 20}
