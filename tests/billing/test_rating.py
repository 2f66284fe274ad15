from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from portal.accounts.models import Project, User
from portal.audit.models import AuditEvent
from portal.billing.holds import release
from portal.billing.models import BillingAccount, Charge, DailyCharge, Hold, JobCharge
from portal.billing.rating import rate
from portal.billing.verification import verify
from portal.usage.models import UsageRecord
from tests.factories import OfferingFactory, PriceFactory, ProviderFactory
from tests.factories.billing import give_credit, jst, metered

NOON = jst(2026, 11, 24, 12)


def amounts(charges: list[Charge]) -> list[tuple[int, Decimal]]:
    return [(c.amount, c.exact) for c in charges]


def test_slices_add_up_to_the_jobs_cost_cut_to_the_yen(project: Project, owner: User) -> None:
    give_credit(project, 1000)
    price = PriceFactory(amount="0.28", minimum_s=0)
    slices = [
        metered(project, owner, price, job_code="J-1", started_at=NOON + n * timedelta(seconds=10), seconds=10, held=99)
        for n in range(5)
    ]
    assert [amounts(s) for s in slices] == [[(a, Decimal("2.8"))] for a in (2, 3, 3, 3, 3)]  # 14.0 in all
    hold = Hold.objects.get()
    account = BillingAccount.objects.get()
    assert (hold.used, account.credit, account.held, account.posted) == (14, 986, 85, 14)
    assert DailyCharge.objects.get().amount == 14
    assert (JobCharge.objects.get().amount, JobCharge.objects.get().gpu_seconds) == (14, 50)
    assert verify() == []


def test_an_hour_cut_in_thirds_costs_a_whole_hour(project: Project, owner: User) -> None:
    """A third of an hour is no finite decimal: 3 yen an hour must still make exactly 1 yen each."""
    give_credit(project, 1000)
    price = PriceFactory(unit="hour", amount="3", minimum_s=0)
    slices = [
        metered(
            project, owner, price, job_code="J-1", started_at=NOON + timedelta(minutes=20 * n), seconds=1200, held=9
        )
        for n in range(3)
    ]
    assert [amounts(s) for s in slices] == [[(1, Decimal(1))]] * 3


def test_the_minimum_counts_once_for_the_job(project: Project, owner: User) -> None:
    give_credit(project, 1000)
    price = PriceFactory(amount="1", minimum_s=60)
    starts = (0, 5, 50)
    slices = [
        metered(project, owner, price, job_code="J-1", started_at=NOON + timedelta(seconds=s), seconds=length, held=500)
        for s, length in zip(starts, (5, 45, 40), strict=True)
    ]
    assert [[c.amount for c in s] for s in slices] == [[60], [0], [30]]


def test_the_same_record_is_charged_once(project: Project, owner: User) -> None:
    give_credit(project, 1000)
    [charge] = metered(project, owner, PriceFactory(), job_code="J-1", started_at=NOON, seconds=100, held=500)
    assert rate(charge.record) == charge
    assert (Charge.objects.count(), BillingAccount.objects.get().posted) == (1, 28)


def test_days_and_months_are_charged_where_the_time_was(project: Project, owner: User) -> None:
    give_credit(project, 1000)
    price = PriceFactory(amount="1", minimum_s=0)
    metered(project, owner, price, job_code="J-1", started_at=jst(2026, 11, 30, 23, 59), seconds=150, gpus=4, held=600)
    assert list(DailyCharge.objects.order_by("day").values_list("day", "amount")) == [
        (date(2026, 11, 30), 60),
        (date(2026, 12, 1), 90),
    ]
    assert list(JobCharge.objects.order_by("month").values_list("month", "amount", "gpu_seconds")) == [
        (date(2026, 11, 1), 60, 240),
        (date(2026, 12, 1), 90, 360),
    ]


def test_a_charge_never_exceeds_the_hold_and_the_rest_is_told(project: Project, owner: User) -> None:
    give_credit(project, 1000)
    price = PriceFactory(amount="1", minimum_s=0)
    first = metered(project, owner, price, job_code="J-1", started_at=NOON, seconds=70, held=100)
    second = metered(project, owner, price, job_code="J-1", started_at=NOON + timedelta(seconds=70), seconds=50)
    assert [amounts(first), amounts(second)] == [[(70, Decimal(70))], [(30, Decimal(50))]]
    account = BillingAccount.objects.get()
    assert (account.credit, account.held, account.posted) == (900, 0, 100)
    event = AuditEvent.objects.get(act="charge.overrun")
    assert (event.subject, event.chain, event.detail) == (
        "job:J-1",
        project.organization.code,
        {"charge": second[0].pk, "not_charged": 20},
    )
    assert verify() == []


def test_usage_after_the_release_is_kept_and_not_charged(project: Project, owner: User) -> None:
    give_credit(project, 1000)
    price = PriceFactory(amount="1", minimum_s=0)
    metered(project, owner, price, job_code="J-1", started_at=NOON, seconds=10, held=100)
    release("J-1", by="portal:test")
    [late] = metered(project, owner, price, job_code="J-1", started_at=NOON + timedelta(seconds=10), seconds=10)
    assert (late.amount, late.exact) == (0, Decimal(10))
    assert verify() == []


def test_a_charge_remembers_its_three_members_and_price(project: Project, owner: User) -> None:
    give_credit(project, 1000)
    contracting, service, host = (ProviderFactory(slug=slug) for slug in ("kddi", "sakura", "highreso"))
    offering = OfferingFactory(
        provider=host, site=None, contracting_member=contracting, service_member=service, host_member=host
    )
    price = PriceFactory(offering=offering, tax_percent="10.0")
    [charge] = metered(project, owner, price, job_code="J-1", started_at=NOON, seconds=100, held=500)
    charge.refresh_from_db()
    assert (
        charge.contracting_member,
        charge.service_member,
        charge.host_member,
        charge.provider,
        charge.price,
        charge.tax_percent,
        charge.day,
    ) == (contracting, service, host, host, price, Decimal("10.0"), date(2026, 11, 24))


def test_tax_is_added_to_a_price_without_it(project: Project, owner: User) -> None:
    give_credit(project, 1000)
    price = PriceFactory(amount="1", tax_included=False, tax_percent="10.0", minimum_s=0)
    [charge] = metered(project, owner, price, job_code="J-1", started_at=NOON, seconds=19, held=500)
    assert (charge.amount, charge.exact) == (20, Decimal("20.9"))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    amount=st.decimals("0.000001", "9999", places=6),
    unit=st.sampled_from([("second", 1), ("minute", 60), ("hour", 3600)]),
    per_gpu=st.booleans(),
    gpus=st.integers(1, 64),
    minimum_s=st.sampled_from([0, 1, 60, 3600]),
    tax=st.sampled_from([None, "8.0", "10.0"]),
    slices=st.lists(st.integers(1, 100_000), min_size=1, max_size=6),
)
@pytest.mark.django_db
def test_any_job_in_any_slices_costs_what_exact_arithmetic_says(
    project: Project,
    owner: User,
    amount: Decimal,
    unit: tuple[str, int],
    per_gpu: bool,
    gpus: int,
    minimum_s: int,
    tax: str | None,
    slices: list[int],
) -> None:
    with transaction.atomic():
        give_credit(project, 10**15)
        price = PriceFactory(
            unit=unit[0],
            amount=amount,
            per_gpu=per_gpu,
            minimum_s=minimum_s,
            tax_included=tax is None,
            tax_percent=tax or "10.0",
        )
        start, held, seen = NOON, 10**14, 0
        for seconds in slices:
            metered(project, owner, price, job_code="J-1", started_at=start, seconds=seconds, gpus=gpus, held=held)
            start, seen = start + timedelta(seconds=seconds), seen + seconds
            fair = Fraction(amount) * Fraction(max(seen, minimum_s), unit[1]) * (gpus if per_gpu else 1)
            fair *= 1 + Fraction(tax or "0") / 100
            assert Hold.objects.get().used == fair.numerator // fair.denominator
        assert verify(project.organization) == []
        assert UsageRecord.objects.count() == Charge.objects.count()
        transaction.set_rollback(True)
