from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.utils import timezone

from portal.accounts.models import Project, User
from portal.billing import holds
from portal.billing.models import BillingAccount, Charge
from portal.billing.verification import verify
from portal.catalog.models import ProviderAccount
from portal.jobs import usage_reports
from portal.jobs.models import Attempt, Job
from portal.jobs.usage_reports import facts_of, take_in
from portal.usage.intake import ReportLine, keep
from portal.usage.models import UsageRecord, UsageReport
from portal.usage.recording import AttemptFacts
from tests.factories import AttemptFactory, JobFactory, PriceFactory, ProviderAccountFactory, ProviderFactory
from tests.factories.billing import give_credit, jst

NOON = jst(2026, 11, 24, 12)


@pytest.fixture(autouse=True)
def _in_december() -> Iterator[None]:
    with time_machine.travel(jst(2026, 12, 5)):
        yield


@pytest.fixture
def report(db: None) -> UsageReport:
    return keep(ProviderFactory(), source="dok", body=b"lines")


def over(project: Project, user: User, *, cap: int = 1000, gpus: int = 2, **changes: Any) -> Attempt:
    """An attempt that is over, of a job that held its cap and holds nothing any more."""
    price = PriceFactory(amount="1", minimum_s=0, per_gpu=True)
    job = JobFactory(project=project, submitted_by=user, price=price, gpus=gpus, cost_cap=cap, state="succeeded")
    values = {"remote_id": f"r-{job.code}", "state": "ended", "collected_at": timezone.now(), **changes}
    account = ProviderAccount.objects.first() or ProviderAccountFactory(provider=price.offering.provider)
    attempt: Attempt = AttemptFactory(job=job, account=account, **values)
    holds.hold(project.organization, project=project, job_code=job.code, amount=cap, by="portal:test")
    holds.release(job.code, by="portal:test")
    return attempt


def line(attempt: Attempt, number: int, start: int, end: int) -> ReportLine:
    at = [NOON + timedelta(seconds=second) for second in (start, end)]
    return ReportLine(number, f"L-{number}", attempt.code, at[0], at[1], (end - start) * attempt.job.gpus)


def test_a_report_becomes_records_charges_and_the_sums_of_its_jobs(
    report: UsageReport, project: Project, owner: User
) -> None:
    give_credit(project, 10_000)
    first, second = over(project, owner), over(project, owner)
    lines = [line(first, 1, 0, 60), line(second, 2, 0, 30), line(first, 3, 60, 70), line(first, 4, 65, 90)]
    told = take_in(report, lines)
    assert (len(told.records), [refusal.number for refusal in told.refused]) == (3, [4])
    assert list(Job.objects.order_by("pk").values_list("gpu_seconds", "cost", "version")) == [
        (140, 140, 2),
        (60, 60, 2),
    ]
    assert list(Charge.objects.order_by("pk").values_list("record__source_id", "amount")) == [
        ("L-1", 120), ("L-2", 60), ("L-3", 20),
    ]  # fmt: skip
    assert BillingAccount.objects.get().posted == 200
    again = take_in(report, lines)
    assert (again.records, again.known, len(again.refused)) == ([], 3, 1)
    take_in(report, [replace(line(first, 1, 0, 60), ended_at=NOON + timedelta(seconds=10), quantity=20)])
    assert list(Job.objects.order_by("pk").values_list("gpu_seconds", "cost", "version")) == [(40, 40, 3), (60, 60, 2)]
    assert verify() == []


def test_what_was_cut_off_is_taken_in_when_it_comes_again(
    report: UsageReport, project: Project, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_credit(project, 10_000)
    attempt = over(project, owner)
    monkeypatch.setattr(usage_reports, "LINES_AT_ONCE", 2)

    def cut() -> Iterator[ReportLine]:
        yield from (line(attempt, number, number * 10, number * 10 + 10) for number in range(1, 4))
        raise ConnectionError

    with pytest.raises(ConnectionError):
        take_in(report, cut())
    assert UsageRecord.objects.count() == Charge.objects.count() == 2
    told = take_in(report, (line(attempt, number, number * 10, number * 10 + 10) for number in range(1, 6)))
    assert (told.known, len(told.records)) == (2, 3)
    assert (Job.objects.get().cost, BillingAccount.objects.get().posted) == (100, 100)
    assert verify() == []


def test_attempts_are_known_with_their_job_and_those_that_no_provider_had_are_not(
    project: Project, owner: User
) -> None:
    give_credit(project, 10_000)
    done, tracked = over(project, owner), over(project, owner, collected_at=None, state="running")
    never = over(project, owner, remote_id="")
    facts = {
        attempt.code: AttemptFacts(
            project.organization_id, project.pk, owner.pk, attempt.offering.provider_id, attempt.offering_id,
            attempt.price_id, attempt.job.code, 2, is_tracked=attempt is tracked,
        )
        for attempt in (done, tracked)
    }  # fmt: skip
    assert facts_of([done.code, tracked.code, never.code, "nothing"]) == facts
