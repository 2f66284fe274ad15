from __future__ import annotations

from datetime import UTC, datetime, timedelta

import factory
from django.db import transaction
from django.utils import timezone
from factory.django import DjangoModelFactory

from portal.accounts.models import Project, User
from portal.billing import credits, holds, rating
from portal.billing.models import BillingAccount, Budget, Charge, CreditKind, Hold, SpendRequest
from portal.catalog.models import Price
from portal.usage import recording
from tests.factories.accounts import OrganizationFactory, ProjectFactory, UserFactory


class BillingAccountFactory(DjangoModelFactory[BillingAccount]):
    class Meta:
        model = BillingAccount

    organization = factory.SubFactory(OrganizationFactory)


class BudgetFactory(DjangoModelFactory[Budget]):
    """Of each month and the whole organization, unless told otherwise."""

    class Meta:
        model = Budget

    organization = factory.SubFactory(OrganizationFactory)
    limit = 10_000
    updated_by = factory.SubFactory(UserFactory)


class SpendRequestFactory(DjangoModelFactory[SpendRequest]):
    class Meta:
        model = SpendRequest

    project = factory.SubFactory(ProjectFactory)
    organization = factory.SelfAttribute("project.organization")
    asked_by = factory.SubFactory(UserFactory)
    reason = "the paper's deadline"
    job_name = "pre-training"
    amount = 1000
    digest = factory.Sequence(lambda n: f"{n:064}")
    expires_at = factory.LazyFunction(lambda: timezone.now() + timedelta(days=14))


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


def jst(year: int, month: int, day: int, hour: int = 0, minute: int = 0, second: int = 0) -> datetime:
    """That wall clock in Japan, in UTC."""
    return datetime(year, month, day, hour, minute, second, tzinfo=UTC) - timedelta(hours=9)
