"""A project with money, an offering that a provider in memory runs, and the steps of a job's life as plain calls."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F

from portal.accounts.models import Project, User
from portal.billing.credits import grant_trial
from portal.catalog.models import Offering, ProviderAccount
from portal.jobs import collection, handoff, orphans, reconciliation, tracking
from portal.jobs.models import Attempt, Job
from portal.jobs.request import JobRequest
from portal.jobs.submission import submit
from tests.factories import OfferingFactory, PriceFactory, ProviderAccountFactory, UserFactory
from tests.jobs.fakes import FakeProvider


@pytest.fixture
def offering(db: None) -> Offering:
    """0.28 yen a second and at least 60 s: an hour costs 1,008 yen."""
    return PriceFactory(offering=OfferingFactory()).offering


@pytest.fixture
def account(offering: Offering) -> ProviderAccount:
    return ProviderAccountFactory(provider=offering.provider)


@pytest.fixture
def provider(account: ProviderAccount, monkeypatch: pytest.MonkeyPatch) -> FakeProvider:
    """Stands where the registry would give an adapter that speaks over a wire."""
    fake = FakeProvider()
    for module in (handoff, tracking, collection, orphans):
        monkeypatch.setattr(module, "adapter_of", lambda account: fake)
    return fake


@pytest.fixture
def funded(project: Project) -> Project:
    grant_trial(project.organization, founder=UserFactory())
    return project


@pytest.fixture
def request_for(offering: Offering) -> Callable[..., JobRequest]:
    def make(**changes: Any) -> JobRequest:
        values: dict[str, Any] = {
            "name": "word statistics",
            "offering": offering,
            "gpus": 1,
            "time_limit_s": 3600,
            "cost_cap": 500,
            "command": "echo hello",
        }
        return JobRequest(**{**values, **changes})

    return make


@pytest.fixture
def job(funded: Project, member: User, account: ProviderAccount, request_for: Callable[..., JobRequest]) -> Job:
    return submit(funded, request=request_for(), key="form-1", by=member)


@pytest.fixture
def steps(account: ProviderAccount, provider: FakeProvider, storage_ready: None) -> Steps:
    return Steps(account.pk)


class Steps:
    """What the tasks do, called in a row."""

    def __init__(self, account_id: int) -> None:
        self.account_id = account_id

    def hand_off(self) -> handoff.Round:
        return handoff.hand_off_due(ProviderAccount.objects.get(pk=self.account_id))

    def track(self) -> tracking.Tracked:
        return tracking.track(self.account_id)

    def collect(self) -> int:
        done, _all = reconciliation.collect_due(self.account_id)
        return done

    def pass_time(self, seconds: float) -> None:
        """For the rows: as if so much time had gone by since they were written."""
        shift = timedelta(seconds=seconds)
        names = ["lease_until", "not_before", "sent_at", "accepted_at", "seen_at", "stop_asked_at", "created_at"]
        names.append("claimed_at")
        Attempt.objects.update(**{name: F(name) - shift for name in names})


def fresh(job: Job) -> Job:
    return Job.objects.get(pk=job.pk)


def attempt_of(job: Job) -> Attempt:
    return Attempt.objects.get(job=job)
