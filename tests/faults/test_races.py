"""Many at the same moment: one form sent by everything that can send it twice, and a budget that is worth fewer jobs.

The whole set: `python3 manage.py test tests/faults/test_races.py -m faults_full` (1,000 and 100 rounds).
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

import pytest
from django.db import connection

from portal.accounts.models import Project, User
from portal.billing.budgets import set_limit
from portal.billing.credits import grant_trial
from portal.billing.holds import OverBudget
from portal.billing.models import BillingAccount, Hold
from portal.billing.verification import verify as verify_ledger
from portal.catalog.models import Offering
from portal.jobs.models import Job
from portal.jobs.request import JobRequest
from portal.jobs.submission import submit
from portal.jobs.verification import verify as verify_jobs
from tests.factories import MembershipFactory, OfferingFactory, PriceFactory, ProjectFactory, ProviderAccountFactory

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(0)]

SENDERS, EACH = 40, 5


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


def two_hundred_at_once(send: Callable[[int], str]) -> list[str]:
    together = threading.Barrier(SENDERS)
    answers: list[str] = []

    def sender(first: int) -> None:
        try:
            together.wait(30)
            answers.extend(send(first * EACH + number) for number in range(EACH))
        finally:
            connection.close()

    threads = [threading.Thread(target=sender, args=(n,)) for n in range(SENDERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    return answers


def one_form(offering: Offering, rounds: int) -> None:
    for _ in range(rounds):
        project, owner = place()
        answers = two_hundred_at_once(
            lambda _, project=project, owner=owner: (
                submit(  # type: ignore[misc]
                    project, request=wanted(offering), key="form-1", by=owner
                ).code
            )
        )
        job = Job.objects.get(project=project)
        assert answers == [job.code] * SENDERS * EACH
        held = BillingAccount.objects.get(organization=project.organization).held
        assert (job.attempts.count(), Hold.objects.filter(project=project).count(), held) == (1, 1, 50)
    assert (verify_jobs(), verify_ledger()) == ([], [])


def a_budget_for_37(offering: Offering, rounds: int) -> None:
    for _ in range(rounds):
        project, owner = place()
        set_limit(project.organization, project=project, monthly_limit=37 * 50 + 49, by=owner)

        def send(number: int, project: Project = project, owner: User = owner) -> str:
            try:
                submit(project, request=wanted(offering), key=f"form-{number}", by=owner)
            except OverBudget:
                return "over"
            return "accepted"

        assert Counter(two_hundred_at_once(send)) == {"accepted": 37, "over": 163}
        held = BillingAccount.objects.get(organization=project.organization).held
        assert (Job.objects.filter(project=project).count(), held) == (37, 37 * 50)
    assert (verify_jobs(), verify_ledger()) == ([], [])


def test_one_form_sent_200_times_at_once_is_one_job(offering: Offering) -> None:
    one_form(offering, rounds=2)


def test_a_budget_that_is_worth_37_jobs_takes_37_of_200(offering: Offering) -> None:
    a_budget_for_37(offering, rounds=2)


@pytest.mark.faults_full
def test_one_form_sent_200_times_at_once_a_thousand_times_over(offering: Offering) -> None:
    one_form(offering, rounds=1000)


@pytest.mark.faults_full
def test_a_budget_that_is_worth_37_jobs_a_hundred_times_over(offering: Offering) -> None:
    a_budget_for_37(offering, rounds=100)
