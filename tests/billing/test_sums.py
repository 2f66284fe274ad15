from __future__ import annotations

from datetime import date
from typing import Any

from django.core.management import call_command

from portal.accounts.models import Project, User
from portal.billing import sums
from portal.billing.models import JobCharge, MonthlyCharge, PersonCharge
from portal.billing.verification import verify
from tests.factories import PriceFactory, ProjectFactory, UserFactory
from tests.factories.billing import give_credit, jst, metered


def rows() -> tuple[list[Any], list[Any]]:
    months = MonthlyCharge.objects.order_by("month", "project", "amount")
    people = PersonCharge.objects.order_by("month", "project", "user")
    return (
        list(months.values_list("month", "project", "offering", "amount", "gpu_seconds")),
        list(people.values_list("month", "project", "user", "amount", "gpu_seconds")),
    )


def test_charges_are_added_by_month_and_person_and_counted_anew_alike(project: Project, owner: User) -> None:
    give_credit(project, 100_000)
    other, second = ProjectFactory(organization=project.organization), UserFactory()
    price = PriceFactory(amount="1", minimum_s=0)
    metered(project, owner, price, job_code="J-1", started_at=jst(2026, 10, 31, 23, 59), seconds=90, gpus=2, held=900)
    metered(project, second, price, job_code="J-2", started_at=jst(2026, 11, 2), seconds=5, held=900)
    metered(other, owner, price, job_code="J-3", started_at=jst(2026, 11, 3), seconds=7, held=900)
    october, november = date(2026, 10, 1), date(2026, 11, 1)
    expected = (
        [
            (october, project.pk, price.offering_id, 60, 120),
            (november, project.pk, price.offering_id, 35, 65),
            (november, other.pk, price.offering_id, 7, 7),
        ],
        [
            (october, project.pk, owner.pk, 60, 120),
            (november, project.pk, owner.pk, 30, 60),
            (november, project.pk, second.pk, 5, 5),
            (november, other.pk, owner.pk, 7, 7),
        ],
    )
    assert rows() == expected
    assert set(JobCharge.objects.values_list("job_code", "user")) == {
        ("J-1", owner.pk), ("J-2", second.pk), ("J-3", owner.pk),
    }  # fmt: skip
    MonthlyCharge.objects.update(amount=1)
    PersonCharge.objects.all().delete()
    sums.recount(project.organization)
    assert rows() == expected


def test_the_ledgers_verification_finds_sums_that_differ(project: Project, owner: User) -> None:
    give_credit(project, 1000)
    metered(
        project,
        owner,
        PriceFactory(amount="1", minimum_s=0),
        job_code="J-1",
        started_at=jst(2026, 11, 2),
        seconds=5,
        held=9,
    )
    assert verify() == []
    MonthlyCharge.objects.update(amount=6, gpu_seconds=4)
    PersonCharge.objects.all().delete()
    found = [(problem.check, problem.expected, problem.found) for problem in verify()]
    assert found == [
        ("a month's amount is the sum of its charges", 5, 6),
        ("a month's gpu_seconds is the sum of its charges", 5, 4),
        ("a person's amount is the sum of the charges", 5, 0),
        ("a person's gpu_seconds is the sum of the charges", 5, 0),
    ]
    call_command("recount_charges")
    assert verify() == []
