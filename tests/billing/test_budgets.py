from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.utils import timezone, translation

from portal.accounts.models import Project, User
from portal.audit.models import AuditEvent
from portal.billing.budgets import BelowCommitted, set_limit
from portal.billing.holds import hold
from portal.billing.models import Budget
from tests.factories import PriceFactory
from tests.factories.billing import give_credit, jst, metered


@pytest.fixture(autouse=True)
def clock() -> Any:
    """Noon within a month: "a moment ago" is always today and this month."""
    with time_machine.travel(jst(2026, 11, 24, 12)):
        yield


def test_a_limit_is_set_changed_and_taken_away_and_each_time_told(project: Project, owner: User) -> None:
    organization = project.organization
    for limit in (500, 500, 700, None, None):
        set_limit(organization, project=project, monthly_limit=limit, by=owner)
    assert list(Budget.objects.values_list("monthly_limit")) == []
    events = AuditEvent.objects.order_by("sequence").values_list("actor", "act", "subject", "detail")
    assert list(events) == [
        (f"user:{owner.pk}", "budget.set", f"project:{project.code}", {"before": before, "after": after})
        for before, after in ((None, 500), (500, 700), (700, None))
    ]


def test_a_limit_is_never_below_what_is_spent_and_held(project: Project, owner: User) -> None:
    give_credit(project, 1000)
    now = timezone.now().replace(microsecond=0)
    price = PriceFactory(amount="1", minimum_s=0)
    metered(project, owner, price, job_code="J-1", started_at=now - timedelta(seconds=1), seconds=1, held=100)
    hold(project.organization, project=project, job_code="J-2", amount=50, by="user:1")
    for place in (project, None):
        with pytest.raises(BelowCommitted) as refused, translation.override("en"):
            set_limit(project.organization, project=place, monthly_limit=149, by=owner)
        assert refused.value.committed == 150
        budget = set_limit(project.organization, project=place, monthly_limit=150, by=owner)
        assert budget and budget.monthly_limit == 150
