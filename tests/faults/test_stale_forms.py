"""What a form was filled in for has changed before it is sent: refused with a reason, nothing stored or held."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from html import unescape
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from portal.accounts.models import Membership, Project, User
from portal.billing.budgets import set_limit
from portal.billing.credits import grant_trial
from portal.billing.models import BillingAccount, Hold
from portal.billing.verification import verify as verify_ledger
from portal.catalog.models import Offering
from portal.catalog.pricing import NewPrice, begin_price
from portal.jobs.models import Job
from portal.jobs.offers import forget_offers
from portal.jobs.verification import verify as verify_jobs
from tests.factories import OfferingFactory, PriceFactory, ProviderAccountFactory, UserFactory

pytestmark = [pytest.mark.faults, pytest.mark.django_db]


@pytest.fixture
def plan(project: Project) -> Offering:
    offering = PriceFactory(offering=OfferingFactory()).offering
    ProviderAccountFactory(provider=offering.provider)
    grant_trial(project.organization, founder=UserFactory())
    return offering


class Tab:
    """One tab of a browser in which somebody has opened the form."""

    def __init__(self, client: Client, plan: Offering) -> None:
        self.client = client
        page = client.get(f"/jobs/new/?offering={plan.slug}").content.decode()
        self.fields = hidden_in(page) | {
            "name": "n", "command": "true", "offering": plan.slug, "gpus": "1", "time_amount": "1",
            "time_unit": "hours", "cost_cap": "1000",
        }  # fmt: skip

    def send(self) -> tuple[int, str]:
        """Status, and the sentence above the form. What the page now says in hidden fields goes with the next try."""
        answer = self.client.post("/jobs/new/", self.fields)
        page = answer.content.decode()
        self.fields |= hidden_in(page)
        found = re.search(r'id="error-summary".*?<li>(.*?)</li>', page, re.S)
        return answer.status_code, unescape(re.sub(r"<[^>]*>", "", found[1])).strip() if found else ""


def hidden_in(page: str) -> dict[str, str]:
    names = ("project", "key", "seen_prices")
    found = {name: re.search(rf'name="{name}" value="([^"]*)"', page) for name in names}
    return {name: match[1] for name, match in found.items() if match}


def nothing_is_there() -> bool:
    held = sum(BillingAccount.objects.values_list("held", flat=True))
    return (Job.objects.count(), Hold.objects.count(), held, verify_jobs(), verify_ledger()) == (0, 0, 0, [], [])


def test_price_changed_while_the_form_was_open(client_of: Callable[..., Client], member: User, plan: Offering) -> None:
    tab = Tab(client_of(member, "en"), plan)
    dearer: dict[str, Any] = {"unit": "second", "per_gpu": False, "minimum_s": 60, "source": "s", "confirmed": True}
    begin_price(plan, NewPrice(amount=Decimal("0.29"), valid_from=timezone.now(), as_of=date(2026, 11, 30), **dearer))
    forget_offers()
    sentence = (
        "GPU plan: The price of this plan has changed since you opened the page. Check the new quote and send it again."
    )
    assert (tab.send(), nothing_is_there()) == ((422, sentence), True)
    assert (tab.send()[0], Job.objects.get().price.amount) == (302, Decimal("0.29"))


def test_price_of_another_plan_changed_while_the_form_was_open(
    client_of: Callable[..., Client], member: User, plan: Offering
) -> None:
    tab = Tab(client_of(member, "en"), plan)
    PriceFactory(offering=OfferingFactory(provider=plan.provider))
    forget_offers()
    assert tab.send()[0] == 302


def test_credit_used_up_in_another_tab(
    client_of: Callable[..., Client], member: User, project: Project, plan: Offering
) -> None:
    set_limit(project.organization, project=project, monthly_limit=1500, by=member)
    tabs = [Tab(client_of(member, "en"), plan) for _ in range(2)]
    answers = [tab.send() for tab in tabs]
    assert [status for status, _sentence in answers] == [302, 422]
    assert "¥500" in answers[1][1]
    assert (Job.objects.count(), BillingAccount.objects.get(organization=project.organization).held) == (1, 1000)


def test_project_closed_while_the_form_was_open(
    client_of: Callable[..., Client], member: User, project: Project, plan: Offering
) -> None:
    tab = Tab(client_of(member, "en"), plan)
    Project.objects.filter(pk=project.pk).update(closed_at=timezone.now())
    status, sentence = tab.send()
    assert (status, nothing_is_there()) == (422, True)
    assert sentence.startswith("Project: This project is closed.")


def test_plan_no_longer_sold_while_the_form_was_open(
    client_of: Callable[..., Client], member: User, plan: Offering
) -> None:
    tab = Tab(client_of(member, "en"), plan)
    Offering.objects.filter(pk=plan.pk).update(ends_on=timezone.localdate() - timedelta(days=1))
    forget_offers()
    assert (tab.send(), nothing_is_there()) == (
        (422, "GPU plan: This plan cannot be used for jobs now. Choose another plan."),
        True,
    )


def test_role_taken_away_while_the_form_was_open(
    client_of: Callable[..., Client], member: User, plan: Offering
) -> None:
    tab = Tab(client_of(member, "en"), plan)
    Membership.objects.filter(user=member).update(role="viewer")
    assert (tab.send()[0], nothing_is_there()) == (403, True)


def test_person_taken_out_while_the_form_was_open(
    client_of: Callable[..., Client], member: User, plan: Offering
) -> None:
    tab = Tab(client_of(member, "en"), plan)
    Membership.objects.filter(user=member).delete()
    status, _sentence = tab.send()
    assert (status, nothing_is_there()) == (200, True)  # the page that says how to get an organization
