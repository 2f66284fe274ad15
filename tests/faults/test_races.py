"""Many at the same moment: one form sent by everything that can send it twice, and a budget that is worth fewer jobs.

The whole set: `python3 manage.py test tests/faults/test_races.py -m faults_full -s` (1,000 and 100 rounds).
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from django.db import connection

from portal.accounts.models import Project, User
from portal.billing.alerts import note_reached
from portal.billing.budgets import Terms, create, set_limit
from portal.billing.credits import grant_trial
from portal.billing.holds import OverBudget
from portal.billing.models import BillingAccount, BudgetAction, BudgetAlert, BudgetPeriod, Hold
from portal.billing.verification import verify as verify_ledger
from portal.catalog.models import Offering
from portal.jobs.models import Job
from portal.jobs.request import JobRequest
from portal.jobs.submission import submit
from portal.jobs.verification import verify as verify_jobs
from tests.factories import MembershipFactory, OfferingFactory, PriceFactory, ProjectFactory, ProviderAccountFactory

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(0)]

AT_ONCE = 200


@pytest.fixture
def offering() -> Offering:
    offering = PriceFactory(offering=OfferingFactory()).offering
    ProviderAccountFactory(provider=offering.provider)
    return offering


def place() -> tuple[Project, User]:
    project = ProjectFactory()
    owner = MembershipFactory(organization=project.organization, role="owner").user
    grant_trial(project.organization, founder=owner)
    return project, owner


def wanted(offering: Offering) -> JobRequest:
    return JobRequest(name="n", offering=offering, gpus=1, time_limit_s=3600, cost_cap=50, command="true")


class Crowd:
    """Two hundred people, each in a thread with a connection of its own, which they keep from round to round.

    So all of them are in the database at once, as far as its locks allow: its tests' PostgreSQL takes 300 connections.
    A portal's own processes borrow at most DATABASE_POOL_SIZE each, and never come so close to each other.
    """

    def __init__(self) -> None:
        self.threads = ThreadPoolExecutor(AT_ONCE)
        self.together = threading.Barrier(AT_ONCE)

    def all(self, act: Callable[[int], str]) -> list[str]:
        """What became of each, when all began at the same moment."""

        def one(number: int) -> str:
            connection.ensure_connection()
            self.together.wait(60)
            return act(number)

        return list(self.threads.map(one, range(AT_ONCE)))

    def leave(self) -> None:
        self.all(lambda _: str(connection.close()))
        self.threads.shutdown()


@pytest.fixture
def crowd() -> Iterator[Crowd]:
    crowd = Crowd()
    yield crowd
    crowd.leave()


def one_form(crowd: Crowd, offering: Offering, rounds: int) -> None:
    for number in range(rounds):
        project, owner = place()

        def send(_: int, project: Project = project, owner: User = owner) -> str:
            return submit(project, request=wanted(offering), key="form-1", by=owner).code

        answers = crowd.all(send)
        job = Job.objects.get(project=project)
        assert answers == [job.code] * AT_ONCE
        held = BillingAccount.objects.get(organization=project.organization).held
        assert (job.attempts.count(), Hold.objects.filter(project=project).count(), held) == (1, 1, 50)
        say(number + 1, rounds)
    assert (verify_jobs(), verify_ledger()) == ([], [])


def a_budget_for_37(crowd: Crowd, offering: Offering, rounds: int) -> None:
    for number in range(rounds):
        project, owner = place()
        # Several bind at once; the organization's fiscal year is the one that is worth 37.
        set_limit(project.organization, project=project, monthly_limit=38 * 50, by=owner)
        set_limit(project.organization, project=None, monthly_limit=200 * 50, by=owner)
        tight = Terms(37 * 50 + 49, at_50=BudgetAction.TELL)
        create(project.organization, project=None, period=BudgetPeriod.FISCAL_YEAR, terms=tight, by=owner)

        def send(number: int, project: Project = project, owner: User = owner) -> str:
            try:
                submit(project, request=wanted(offering), key=f"form-{number}", by=owner)
            except OverBudget:
                return "over"
            return "accepted"

        assert Counter(crowd.all(send)) == {"accepted": 37, "over": 163}
        held = BillingAccount.objects.get(organization=project.organization).held
        assert (Job.objects.filter(project=project).count(), held) == (37, 37 * 50)
        for _again in range(2):
            note_reached(project.organization_id)
        alerts = BudgetAlert.objects.filter(budget__organization=project.organization, budget__project=None)
        assert sorted(alerts.values_list("percent", "used")) == [(50, 1850), (80, 1850)]
        say(number + 1, rounds)
    assert (verify_jobs(), verify_ledger()) == ([], [])


def say(done: int, rounds: int) -> None:
    if done % 50 == 0:
        print(f"{datetime.now(UTC):%H:%M:%S} {done} of {rounds} rounds", flush=True)


def test_one_form_sent_200_times_at_once_is_one_job(crowd: Crowd, offering: Offering) -> None:
    one_form(crowd, offering, rounds=2)


def test_a_budget_that_is_worth_37_jobs_takes_37_of_200(crowd: Crowd, offering: Offering) -> None:
    a_budget_for_37(crowd, offering, rounds=1)


@pytest.mark.faults_full
def test_one_form_sent_200_times_at_once_a_thousand_times_over(crowd: Crowd, offering: Offering) -> None:
    one_form(crowd, offering, rounds=1000)


@pytest.mark.faults_full
def test_a_budget_that_is_worth_37_jobs_a_hundred_times_over(crowd: Crowd, offering: Offering) -> None:
    a_budget_for_37(crowd, offering, rounds=100)
