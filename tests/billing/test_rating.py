from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
import time_machine
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from portal.accounts.models import Project, User
from portal.audit.models import AuditEvent
from portal.billing import budgets, holds
from portal.billing.holds import release
from portal.billing.models import BillingAccount, BillingPeriod, Charge, CreditUse, DailyCharge, Hold, JobCharge
from portal.billing.rating import rate, rate_all
from portal.billing.verification import verify
from portal.usage.models import UsageRecord
from portal.usage.recording import Recorded, add_to_days
from tests.factories import OfferingFactory, PriceFactory, ProviderFactory
from tests.factories.billing import give_credit, jst, metered

NOON = jst(2026, 11, 24, 12)


def corrected(old: Charge, *, seconds: int) -> list[Charge]:
    """What takes the charge's record back, and what stands instead from the same instant on."""
    record = old.record
    assert record is not None

    def row(sign: int, length: int, revision: int) -> UsageRecord:
        values = {field.attname: getattr(record, field.attname) for field in UsageRecord._meta.fields}
        changes = {
            "id": None, "seconds": sign * length, "gpu_seconds": sign * length * record.gpus, "revision": revision,
            "ended_at": record.started_at + timedelta(seconds=length), "corrects_id": record.pk,
        }  # fmt: skip
        return UsageRecord.objects.create(**{**values, **changes})

    with transaction.atomic():
        rows = [Recorded.of(row(-1, record.seconds, 2)), Recorded.of(row(1, seconds, 3))]
        add_to_days(rows)
        rated = rate_all(rows)
    return [Charge.objects.get(pk=one.id) for one in rated]


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


def test_usage_after_the_release_is_paid_out_of_free_credit_up_to_what_the_hold_was(
    project: Project, owner: User
) -> None:
    give_credit(project, 1000)
    price = PriceFactory(amount="1", minimum_s=0)
    metered(project, owner, price, job_code="J-1", started_at=NOON, seconds=10, held=100)
    release("J-1", by="portal:test")
    late = [
        metered(project, owner, price, job_code="J-1", started_at=NOON + timedelta(seconds=at), seconds=60)
        for at in (10, 70)
    ]
    assert [amounts(one) for one in late] == [[(60, Decimal(60))], [(30, Decimal(60))]]
    account = BillingAccount.objects.get()
    assert (account.credit, account.held, account.posted, Hold.objects.get().left) == (900, 0, 100, 0)
    assert AuditEvent.objects.get(act="charge.overrun").detail["not_charged"] == 30
    assert verify() == []


def test_usage_after_the_release_never_becomes_debt_and_never_exceeds_a_budget(project: Project, owner: User) -> None:
    give_credit(project, 200)
    price = PriceFactory(amount="1", minimum_s=0)
    for code in ("J-1", "J-2"):
        metered(project, owner, price, job_code=code, started_at=NOON, seconds=10, held=100)
        release(code, by="portal:test")
    with time_machine.travel(NOON + timedelta(hours=1)):
        budgets.set_limit(project.organization, project=project, monthly_limit=70, by=owner)
        [first] = metered(project, owner, price, job_code="J-1", started_at=NOON + timedelta(minutes=1), seconds=80)
        budgets.set_limit(project.organization, project=project, monthly_limit=None, by=owner)
        holds.hold(project.organization, project=project, job_code="J-3", amount=115, by="portal:test")
        [second] = metered(project, owner, price, job_code="J-2", started_at=NOON + timedelta(minutes=1), seconds=80)
        assert [(one.amount, one.exact) for one in (first, second)] == [(50, Decimal(80)), (15, Decimal(80))]
        assert BillingAccount.objects.get().available == 0
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


def test_what_is_taken_back_returns_to_the_credits_and_what_stands_instead_is_charged(
    project: Project, owner: User
) -> None:
    """90 yen of a job that is over become 40; the credits get back what the job used last."""
    give_credit(project, 70, expires_at=NOON + timedelta(days=60))
    give_credit(project, 1000)
    price = PriceFactory(amount="1", minimum_s=0)
    [old] = metered(project, owner, price, job_code="J-1", started_at=NOON, seconds=90, held=100)
    release("J-1", by="portal:test")
    back, instead = corrected(old, seconds=40)
    assert [(one.amount, one.exact, one.corrects, one.kind, one.day) for one in (back, instead)] == [
        (-90, Decimal(-90), old, "usage", old.day),
        (40, Decimal(40), old, "usage", old.day),
    ]
    assert list(CreditUse.objects.order_by("pk").values_list("charge", "credit__amount", "amount")) == [
        (old.pk, 70, 70),
        (old.pk, 1000, 20),
        (back.pk, 1000, -20),
        (back.pk, 70, -70),
        (instead.pk, 70, 40),
    ]
    account = BillingAccount.objects.get()
    assert (account.credit, account.held, account.posted) == (1030, 0, 40)
    assert (DailyCharge.objects.get().amount, JobCharge.objects.get().amount) == (40, 40)
    assert JobCharge.objects.get().gpu_seconds == 40
    assert verify() == []


@pytest.mark.parametrize(("seconds", "amount", "left"), [(40, 40, 30), (70, 70, 30), (90, 90, 10), (120, 100, 0)])
def test_a_correction_while_the_job_runs_leaves_its_hold_what_it_still_needs(
    project: Project, owner: User, seconds: int, amount: int, left: int
) -> None:
    """70 of 100 yen were charged: less is free again, more comes from the hold, never more than that."""
    give_credit(project, 1000)
    price = PriceFactory(amount="1", minimum_s=0)
    [old] = metered(project, owner, price, job_code="J-1", started_at=NOON, seconds=70, held=100)
    assert [one.amount for one in corrected(old, seconds=seconds)] == [-70, amount]
    account, hold = BillingAccount.objects.get(), Hold.objects.get()
    assert (hold.used, hold.left, account.held, account.posted) == (amount, left, left, amount)
    assert account.available == 1000 - amount - left
    assert verify() == []


def test_never_more_comes_back_than_was_charged(project: Project, owner: User) -> None:
    """The minimum of a minute was charged with the first slice, and the second was dearer than the hold."""
    give_credit(project, 100)
    price = PriceFactory(amount="1", minimum_s=60)
    [first] = metered(project, owner, price, job_code="J-1", started_at=NOON, seconds=10, held=100)
    [second] = metered(project, owner, price, job_code="J-1", started_at=NOON + timedelta(seconds=10), seconds=110)
    assert (first.amount, second.amount) == (60, 40)
    assert [one.amount for one in corrected(second, seconds=20)] == [-40, 0]
    assert [one.amount for one in corrected(first, seconds=1)] == [0, 0]
    assert (BillingAccount.objects.get().posted, BillingAccount.objects.get().credit) == (60, 40)
    assert verify() == []


def test_what_comes_late_for_a_closed_month_is_a_correction_in_an_open_one(project: Project, owner: User) -> None:
    give_credit(project, 1000)
    price = PriceFactory(amount="1", minimum_s=0)
    december = jst(2026, 12, 9, 12)
    [old] = metered(project, owner, price, job_code="J-1", started_at=NOON, seconds=90, held=200)
    other = PriceFactory(amount="1", minimum_s=0, offering__provider__slug="kddi")
    BillingPeriod.objects.create(
        organization=project.organization, issuer=price.offering.contracting_member, month=date(2026, 11, 1),
        state="closed", closed_at=december,
    )  # fmt: skip
    with time_machine.travel(december):
        [late] = metered(project, owner, price, job_code="J-1", started_at=NOON + timedelta(hours=1), seconds=10)
        back, instead = corrected(old, seconds=40)
        [open_] = metered(project, owner, other, job_code="J-2", started_at=NOON, seconds=5, held=9)
    assert [(one.kind, one.day, one.of_month, one.corrects, one.amount) for one in (late, back, instead, open_)] == [
        ("correction", date(2026, 12, 9), date(2026, 11, 1), None, 10),
        ("correction", date(2026, 12, 9), date(2026, 11, 1), old, -90),
        ("correction", date(2026, 12, 9), date(2026, 11, 1), old, 40),
        ("usage", date(2026, 11, 24), None, None, 5),
    ]
    assert list(DailyCharge.objects.order_by("day", "amount").values_list("day", "amount")) == [
        (date(2026, 11, 24), 5),
        (date(2026, 11, 24), 90),
        (date(2026, 12, 9), -40),
    ]
    assert list(JobCharge.objects.order_by("pk").values_list("month", "amount", "gpu_seconds")) == [
        (date(2026, 11, 1), 90, 90),
        (date(2026, 12, 1), -40, -40),
        (date(2026, 11, 1), 5, 5),
    ]
    assert verify() == []


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
