"""Charges for other members' machines, written as the portal writes them, but many at once."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

from portal.accounts.models import Project, User
from portal.billing.models import BillingPeriod, Charge, Credit, CreditUse, PeriodState, RevenueRule
from portal.catalog.models import Offering, Price, Provider, StoragePrice
from portal.core.periods import BillingMonth, interval_of_day
from portal.usage.models import StorageUsage, UsageRecord
from tests.factories.catalog import OfferingFactory, PriceFactory, ProviderFactory


def members() -> list[Provider]:
    return [ProviderFactory(slug=slug) for slug in ("kddi", "sakura", "highreso")]


def sold(contracting: Provider, host: Provider, *, white_label: bool = False) -> Price:
    """The price of an offering that one member sells and another runs."""
    service = contracting if white_label else host
    offering: Offering = OfferingFactory(
        provider=host, site=None, contracting_member=contracting, service_member=service, host_member=host
    )
    price: Price = PriceFactory(offering=offering)
    return price


def charged(
    project: Project,
    user: User,
    price: Price,
    amount: int,
    *,
    day: date,
    seconds: int = 3600,
    at_s: int = 0,
    used: date | None = None,
    given: int = 0,
) -> Charge:
    """`at_s`: seconds after midnight; records of one price may not begin at the same moment. `used`: on a day of an
    earlier month, so that it is a correction. `given`: so much of it is paid with a grant."""
    offering = price.offering
    start = interval_of_day(used or day).start + timedelta(seconds=at_s)
    job_code = f"J-{day:%Y%m%d}-{price.pk}-{at_s}"
    record = UsageRecord.objects.create(
        organization=project.organization, project=project, user=user, provider=offering.provider, offering=offering,
        price=price, job_code=job_code, attempt_code=f"{price.pk}a", gpus=1, seconds=seconds, gpu_seconds=seconds,
        started_at=start, ended_at=start + timedelta(seconds=seconds), day=used or day,
    )  # fmt: skip
    charge: Charge = Charge.objects.create(
        kind="correction" if used else "usage", of_month=used and used.replace(day=1), record=record,
        organization=project.organization, project=project, provider=offering.provider,
        offering=offering, price=price, job_code=job_code, day=day, amount=amount, exact=Decimal(amount),
        tax_percent=price.tax_percent, contracting_member_id=offering.contracting_member_id,
        service_member_id=offering.service_member_id, host_member_id=offering.host_member_id,
    )  # fmt: skip
    _pay(charge, grant=given, purchased=amount - given)
    return charge


def rule(
    contracting: Provider,
    host: Provider | None,
    *,
    form: str = "named",
    percent: str | None = None,
    yen: str | None = None,
    valid_from: date = date(2026, 1, 1),
    host_bears: bool = False,
) -> RevenueRule:
    return RevenueRule.objects.create(
        contracting_member=contracting, host_member=host, sale_form=form, percent=percent and Decimal(percent),
        yen_per_gpu_hour=yen and Decimal(yen), valid_from=valid_from, source="test contract",
        host_bears_given_credit=host_bears,
    )  # fmt: skip


def closed(project: Project, month: BillingMonth, *issuers: Provider) -> None:
    """These members have closed the month with the project's organization."""
    for issuer in issuers:
        BillingPeriod.objects.create(
            organization=project.organization, issuer=issuer, month=month.first_day, state=PeriodState.CLOSED,
            closed_at=month.next.interval.start,
        )  # fmt: skip


def _pay(charge: Charge, **parts: int) -> None:
    for kind, amount in parts.items():
        if amount:
            known = Credit.objects.filter(organization_id=charge.organization_id, kind=kind).first()
            credit = known or Credit.objects.create(organization_id=charge.organization_id, kind=kind, amount=10**9)
            CreditUse.objects.create(charge=charge, credit=credit, amount=amount)


def stored(project: Project, contracting: Provider, host: Provider, amount: int, *, day: date) -> Charge:
    """A day of a project's storage."""
    whole = interval_of_day(day)
    kept = StorageUsage.objects.create(
        organization=project.organization, project=project, kind="datasets", site=f"s3.{host.slug}.test", day=day,
        started_at=whole.start, ended_at=whole.end, peak_bytes=10**9, byte_hours=24 * 10**9,
    )  # fmt: skip
    price, _made = StoragePrice.objects.get_or_create(
        valid_from=interval_of_day(date(2026, 1, 1)).start,
        defaults={"amount": Decimal(3), "as_of": day, "seller": host},
    )
    charge: Charge = Charge.objects.create(
        kind="storage", storage=kept, organization=project.organization, project=project, provider=host,
        storage_price=price, day=day, amount=amount, exact=Decimal(amount), tax_percent=price.tax_percent,
        contracting_member=contracting, service_member=host, host_member=host,
    )  # fmt: skip
    _pay(charge, purchased=amount)
    return charge
