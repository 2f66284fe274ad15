from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal

import pytest
import time_machine

from portal.accounts.models import Project, User
from portal.audit.models import AuditEvent
from portal.billing import budgets, holds
from portal.billing.models import BillingAccount, BillingPeriod, Charge, DailyCharge
from portal.billing.storage_charges import charge_storage
from portal.billing.summaries import daily_rows, month_of_use
from portal.billing.verification import verify
from portal.catalog.models import StoragePrice
from portal.core.periods import BillingMonth, interval_of_day
from portal.usage.models import StorageUsage
from tests.factories import OrganizationFactory, ProjectFactory, ProviderFactory
from tests.factories.billing import give_credit, jst

GB = 10**9


@pytest.fixture(autouse=True)
def _in_november() -> Iterator[None]:
    with time_machine.travel(jst(2026, 11, 28, 12)):
        yield


def price(yen: str, *, from_: datetime, **given: object) -> StoragePrice:
    """For a GB and 30 days."""
    seller = ProviderFactory()
    return StoragePrice.objects.create(
        amount=Decimal(yen), valid_from=from_, source="x", as_of=from_.date(), seller=seller, **given
    )


def keep(project: Project, day: int, gigabytes: int, *, month: int = 11, kind: str = "datasets") -> None:
    whole = interval_of_day(date(2026, month, day))
    StorageUsage.objects.create(
        organization=project.organization, project=project, kind=kind, site="s3.example", day=date(2026, month, day),
        started_at=whole.start, ended_at=whole.end, peak_bytes=gigabytes * GB, byte_hours=gigabytes * GB * 24,
    )  # fmt: skip


def charges() -> list[tuple[date, int, Decimal]]:
    return list(Charge.objects.order_by("storage__day", "pk").values_list("day", "amount", "exact"))


def test_days_come_to_the_months_cost_cut_to_the_yen_and_none_twice(project: Project) -> None:
    """A third of a yen a day is a yen on each third day."""
    give_credit(project, 1000)
    terms = price("10", from_=jst(2026, 11, 1))
    for day in range(1, 8):
        keep(project, day, 1)
    assert [charge_storage(), charge_storage()] == [7, 0]
    assert [amount for _day, amount, _exact in charges()] == [0, 0, 1, 0, 0, 1, 0]
    charge = Charge.objects.get(storage__day=date(2026, 11, 3))
    seller = terms.seller
    assert (
        charge.kind, charge.record, charge.offering, charge.price, charge.storage_price, charge.job_code, charge.day,
        charge.provider, charge.contracting_member, charge.service_member, charge.host_member, charge.tax_percent,
        charge.exact,
    ) == (
        "storage", None, None, None, terms, "", date(2026, 11, 3), seller, seller, seller, seller, Decimal("10.0"),
        Decimal("0.333333334"),
    )  # fmt: skip
    account = BillingAccount.objects.get()
    assert (account.credit, account.held, account.posted) == (998, 0, 2)
    keep(project, 8, 1)
    keep(project, 9, 1)
    assert charge_storage() == 2
    assert sum(amount for _day, amount, _exact in charges()) == 3
    assert verify() == []


def test_the_price_is_the_one_that_held_when_the_day_began_and_no_price_is_no_charge(project: Project) -> None:
    give_credit(project, 10_000)
    StoragePrice.objects.create(amount=0, valid_from=jst(2026, 11, 2), source="x", as_of=date(2026, 11, 2))
    price("30", from_=jst(2026, 11, 3), tax_included=False)
    price("60", from_=jst(2026, 11, 4, 0, 0, 1))
    price("0", from_=jst(2026, 11, 6))
    for day in range(1, 7):
        keep(project, day, 10)
    charge_storage()
    assert charges() == [
        (date(2026, 11, 3), 11, Decimal(11)),
        (date(2026, 11, 4), 11, Decimal(11)),
        (date(2026, 11, 5), 20, Decimal(20)),
    ]
    assert charge_storage() == 0


def test_what_cannot_be_paid_is_told_and_is_no_debt(project: Project, owner: User) -> None:
    give_credit(project, 100)
    price("30", from_=jst(2026, 11, 1))
    holds.hold(project.organization, project=project, job_code="J-1", amount=75, by="portal:test")
    keep(project, 20, 20)
    keep(project, 21, 20)
    charge_storage()
    assert [amount for _day, amount, _exact in charges()] == [20, 5]
    give_credit(project, 1000)
    budgets.set_limit(project.organization, project=project, monthly_limit=112, by=owner)
    keep(project, 22, 20)
    charge_storage()
    assert [amount for _day, amount, _exact in charges()] == [20, 5, 12]
    told = AuditEvent.objects.filter(act="charge.overrun").order_by("pk").values_list("subject", "detail__not_charged")
    assert list(told) == [(f"project:{project.code}", 15), (f"project:{project.code}", 8)]
    assert BillingAccount.objects.get().held == 75
    assert verify() == []


def test_a_day_of_a_closed_month_is_a_correction(project: Project) -> None:
    give_credit(project, 1000)
    seller = price("30", from_=jst(2026, 10, 1)).seller
    BillingPeriod.objects.create(
        organization=project.organization, issuer=seller, month=date(2026, 10, 1), state="closed",
        closed_at=jst(2026, 11, 5),
    )  # fmt: skip
    keep(project, 31, 7, month=10)
    charge_storage()
    assert list(Charge.objects.values_list("kind", "day", "of_month", "amount")) == [
        ("correction", date(2026, 11, 28), date(2026, 10, 1), 7)
    ]
    assert verify() == []


def test_every_organization_pays_its_own_and_pages_and_files_say_the_same(project: Project) -> None:
    other = ProjectFactory(organization=OrganizationFactory())
    price("30", from_=jst(2026, 11, 1))
    for place, gigabytes in ((project, 5), (other, 3)):
        give_credit(place, 100)
        keep(place, 20, gigabytes)
        keep(place, 20, gigabytes, kind="results")
    assert charge_storage() == 4
    assert list(DailyCharge.objects.order_by("pk").values_list("project", "offering", "amount")) == [
        (project.pk, None, 10), (other.pk, None, 6),
    ]  # fmt: skip
    month = BillingMonth(2026, 11)
    use = month_of_use(project.organization, month, until=month.last_day)
    assert [(cell.project_code, cell.gpu_model, cell.amount, cell.gpu_seconds) for cell in use.cells] == [
        (project.code, "ストレージ", 10, 0)
    ]
    assert list(daily_rows(project.organization, month)) == [
        (date(2026, 11, 20), "さくらインターネット", project.name, project.code, "ストレージ", "", 0, 10)
    ]
    assert verify() == []


@pytest.mark.parametrize("hour", range(24))
def test_a_price_that_begins_within_a_day_counts_from_the_next(project: Project, hour: int) -> None:
    """At each hour of the 15th in Japan; at 09:00 a day of UTC begins, at 00:00 the day itself."""
    give_credit(project, 1000)
    price("30", from_=jst(2026, 11, 1))
    price("90", from_=jst(2026, 11, 15, hour))
    for day in (14, 15, 16):
        keep(project, day, 1)
    charge_storage()
    assert [amount for _day, amount, _exact in charges()] == [1, 3 if hour == 0 else 1, 3]
