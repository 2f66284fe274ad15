from datetime import date

import pytest
from django.db import IntegrityError, transaction

from portal.accounts.models import Organization
from portal.billing.models import BillingPeriod
from portal.billing.periods import closed_of, day_to_book, is_closed
from portal.core.periods import BillingMonth
from tests.factories import OrganizationFactory, ProviderFactory
from tests.factories.billing import jst

NOVEMBER, DECEMBER = BillingMonth(2026, 11), BillingMonth(2026, 12)


def close(organization: Organization, issuer: object, month: BillingMonth, state: str = "closed") -> None:
    BillingPeriod.objects.create(
        organization=organization,
        issuer=issuer,
        month=month.first_day,
        state=state,
        closed_at=jst(2026, 12, 5) if state == "closed" else None,
    )


def test_a_month_is_closed_for_one_organization_and_one_member_also_while_it_closes(organization: Organization) -> None:
    sakura, kddi, other = ProviderFactory(slug="sakura"), ProviderFactory(slug="kddi"), OrganizationFactory()
    close(organization, sakura, NOVEMBER)
    close(organization, kddi, NOVEMBER, "closing")
    close(organization, kddi, DECEMBER, "open")
    close(other, kddi, DECEMBER)
    told = [is_closed(organization.pk, member.pk, month) for member in (sakura, kddi) for month in (NOVEMBER, DECEMBER)]
    assert told == [True, False, True, False]
    assert closed_of([organization.pk, other.pk]) == {
        (organization.pk, sakura.pk, NOVEMBER),
        (organization.pk, kddi.pk, NOVEMBER),
        (other.pk, kddi.pk, DECEMBER),
    }


@pytest.mark.parametrize(
    ("day", "today", "closed", "expected"),
    [
        (date(2026, 12, 3), date(2026, 12, 9), [NOVEMBER], date(2026, 12, 3)),
        (date(2026, 11, 30), date(2026, 12, 9), [NOVEMBER], date(2026, 12, 9)),
        (date(2026, 11, 30), date(2026, 12, 9), [NOVEMBER, DECEMBER], date(2027, 1, 1)),
        (date(2026, 11, 30), date(2026, 12, 9), [], date(2026, 11, 30)),
    ],
)
def test_what_comes_late_is_booked_on_a_day_of_an_open_month(
    day: date, today: date, closed: list[BillingMonth], expected: date
) -> None:
    rows = {(1, 2, month) for month in closed} | {(1, 3, BillingMonth(2027, 1)), (4, 2, DECEMBER.next)}
    assert day_to_book(day, organization_id=1, member_id=2, today=today, closed=rows) == expected


def test_the_database_takes_a_month_once_and_only_as_a_month(organization: Organization) -> None:
    issuer = ProviderFactory()
    close(organization, issuer, NOVEMBER)
    with pytest.raises(IntegrityError, match="billing_period_once"), transaction.atomic():
        close(organization, issuer, NOVEMBER, "open")
    with pytest.raises(IntegrityError, match="begins_on_the_first"), transaction.atomic():
        BillingPeriod.objects.create(organization=organization, issuer=issuer, month=date(2026, 12, 2))
    with pytest.raises(IntegrityError, match="closed_at_an_instant"), transaction.atomic():
        BillingPeriod.objects.create(organization=organization, issuer=issuer, month=date(2026, 12, 1), state="closed")
