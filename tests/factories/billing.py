from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import factory
from django.db import transaction
from factory.django import DjangoModelFactory

from portal.accounts.models import Project, User
from portal.billing import credits, holds, issuers, rating
from portal.billing.models import (
    BillingAccount,
    Charge,
    CreditKind,
    Hold,
    Invoice,
    InvoiceLine,
    InvoiceTax,
    Issuer,
)
from portal.catalog.models import Price
from portal.usage import recording
from portal.usage.models import UsageRecord
from tests.factories.accounts import OrganizationFactory
from tests.factories.catalog import ProviderFactory


class BillingAccountFactory(DjangoModelFactory[BillingAccount]):
    class Meta:
        model = BillingAccount

    organization = factory.SubFactory(OrganizationFactory)


def give_credit(project: Project, amount: int, expires_at: datetime | None = None) -> None:
    credits.grant(
        project.organization, kind=CreditKind.PURCHASED, amount=amount, expires_at=expires_at, by="portal:test"
    )


@transaction.atomic
def metered(
    project: Project,
    user: User,
    price: Price,
    *,
    job_code: str,
    started_at: datetime,
    seconds: int,
    gpus: int = 1,
    held: int | None = None,
) -> list[Charge]:
    """A job's running time, metered and charged as the portal does it; before its first slice `held` yen are held."""
    if held is not None and not Hold.objects.filter(job_code=job_code).exists():
        holds.hold(project.organization, project=project, job_code=job_code, amount=held, by="portal:test")
    records = recording.record(
        attempt_code=job_code.lower()[-10:],
        job_code=job_code,
        organization=project.organization,
        project=project,
        user=user,
        offering=price.offering,
        price=price,
        gpus=gpus,
        started_at=started_at,
        ended_at=started_at + timedelta(seconds=seconds),
    )
    return [rating.rate(record) for record in records]


class InvoiceFactory(DjangoModelFactory[Invoice]):
    """Of 1,100 yen for November 2026, with its tax and one line."""

    class Meta:
        model = Invoice
        skip_postgeneration_save = True

    kind = "invoice"
    organization = factory.SubFactory(OrganizationFactory)
    member = factory.SubFactory(ProviderFactory)
    issuer = factory.LazyAttribute(lambda invoice: set_issuer(invoice.member.slug))
    sequence = factory.Sequence(lambda n: n + 1)
    number = factory.LazyAttribute(lambda invoice: f"{invoice.member.slug.upper()}-{invoice.sequence:06d}")
    month = date(2026, 11, 1)
    issued_on, due_on = date(2026, 12, 3), date(2027, 1, 2)
    customer_name = factory.SelfAttribute("organization.name")
    total, tax, prepaid, due = 1100, 100, 0, 1100

    @factory.post_generation
    def lines(invoice: Invoice, create: bool, extracted: int | None) -> None:
        count = extracted or 1
        InvoiceTax.objects.create(invoice=invoice, percent=10, gross=invoice.total, tax=invoice.tax)
        rest = invoice.total - (count - 1)
        InvoiceLine.objects.bulk_create(
            InvoiceLine(
                invoice=invoice,
                position=n,
                kind="usage",
                service_ja="さくらインターネット",
                service_en="SAKURA internet",
                offering_ja="高火力 DOK H100",
                offering_en="Koukaryoku DOK H100",
                project_name=f"project {n}",
                gpu_seconds=3600,
                percent=10,
                amount=rest if n == 1 else 1,
            )
            for n in range(1, count + 1)
        )


@transaction.atomic
def taken_back(charge: Charge) -> Charge:
    """The charge's record taken back whole, as a report with other numbers does it."""
    told = charge.record
    assert told is not None
    values = {field.attname: getattr(told, field.attname) for field in UsageRecord._meta.fields if field.name != "id"}
    reversal = UsageRecord.objects.create(
        **values | {"seconds": -told.seconds, "gpu_seconds": -told.gpu_seconds, "revision": 2, "corrects_id": told.pk}
    )
    recording.add_to_days([recording.Recorded.of(reversal)])
    return rating.rate(reversal)


def set_issuer(slug: str = "sakura", *, valid_from: date = date(2026, 1, 1)) -> Issuer:
    """Of the member's invoices: an invented company, with a number whose check digit is right."""
    return issuers.set_issuer(
        ProviderFactory(slug=slug),
        name=f"{slug}（デモ）株式会社",
        number="T7123456789012",
        address="東京都千代田区架空町1-2-3",
        bank="架空銀行 本店 普通 1234567 カクウ（カ",
        valid_from=valid_from,
        by="portal:test",
    )


def jst(year: int, month: int, day: int, hour: int = 0, minute: int = 0, second: int = 0) -> datetime:
    """That wall clock in Japan, in UTC."""
    return datetime(year, month, day, hour, minute, second, tzinfo=UTC) - timedelta(hours=9)
