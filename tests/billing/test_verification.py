import io
import json
from datetime import date, timedelta

import pytest
import time_machine
from django.core.management import CommandError, call_command
from django.db import connection, transaction

from portal.accounts.models import Project, User
from portal.billing.budgets import set_limit
from portal.billing.holds import hold, release
from portal.billing.models import (
    Allowance,
    BillingAccount,
    BillingPeriod,
    Budget,
    Charge,
    Credit,
    DailyCharge,
    Hold,
    JobCharge,
    JobUse,
)
from portal.billing.verification import CHECKS, Problem, verify
from portal.usage.models import DailyUsage, UsageRecord
from tests.factories import OrganizationFactory, PriceFactory, ProjectFactory
from tests.factories.billing import give_credit, jst, metered

LEDGER = "account follows from the ledger"
CREDITS = "credit is what is left of the credits"
CREDIT_USED = "a credit is used by the charges taken from it"
TAKEN = "a charge is taken from credits in full"
HOLDS = "held is what the open holds have left"
POSTED = "posted is the sum of the charges"
USED = "a hold is used by its job's charges"
OF_JOB = "the ledger holds for a job what its hold has left, and nothing after its release"
BUDGET = "what is posted in its period and held is within the budget"


@pytest.fixture
def used(project: Project, owner: User) -> Project:
    give_credit(project, 1000)
    metered(project, owner, PriceFactory(), job_code="J-1", started_at=jst(2026, 11, 24), seconds=100, held=500)
    return project


def run(*arguments: str) -> tuple[int, dict[str, object]]:
    out = io.StringIO()
    try:
        call_command("verify_ledger", *arguments, stdout=out)
    except SystemExit as left:
        return int(str(left.code)), json.loads(out.getvalue())
    return 0, json.loads(out.getvalue())


def test_everything_that_the_portal_wrote_adds_up(used: Project) -> None:
    assert verify() == []
    assert run() == (0, {"organizations": 1, "checks": list(CHECKS), "problems": []})


@pytest.mark.parametrize(
    ("model", "column", "expected"),
    [
        (
            BillingAccount,
            "posted",
            [(LEDGER, "account:posted", 28, 29), (POSTED, "account:posted", 28, 29)],
        ),
        (BillingAccount, "credit", [(LEDGER, "account:credit", 972, 973), (CREDITS, "account:credit", 972, 973)]),
        (BillingAccount, "held", [(LEDGER, "account:held", 472, 473), (HOLDS, "account:held", 472, 473)]),
        (Credit, "used", [(CREDITS, "account:credit", 971, 972), (CREDIT_USED, "credit:{pk}", 28, 29)]),
        (
            Hold,
            "used",
            [(HOLDS, "account:held", 471, 472), (USED, "hold:J-1", 28, 29), (OF_JOB, "hold:J-1", 471, 472)],
        ),
    ],
)
def test_a_wrong_sum_is_found(
    used: Project, model: type, column: str, expected: list[tuple[str, str, int, int]]
) -> None:
    row = model.objects.get()
    model.objects.update(**{column: getattr(row, column) + 1})
    code = used.organization.code
    assert verify() == [
        Problem(check, code, subject.format(pk=row.pk), right, found) for check, subject, right, found in expected
    ]


def test_a_charge_that_no_credit_was_used_for_is_found(used: Project) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica; DELETE FROM billing_credituse")
        cursor.execute("SET LOCAL session_replication_role = origin")
    code, charge, credit = used.organization.code, Charge.objects.get(), Credit.objects.get()
    assert verify() == [
        Problem(CREDIT_USED, code, f"credit:{credit.pk}", 0, 28),
        Problem(TAKEN, code, f"charge:{charge.pk}", 28, 0),
    ]


@pytest.mark.parametrize(
    ("model", "column", "check"),
    [
        (DailyUsage, "gpu_seconds", "daily usage is the sum of its records"),
        (DailyCharge, "amount", "daily charge is the sum of its charges"),
        (JobCharge, "amount", "a job's month is the sum of its charges"),
        (JobCharge, "gpu_seconds", "a job's month is the use of its charges"),
        (JobUse, "seconds", "a job's use is the sum of its charged records"),
    ],
)
def test_a_wrong_or_missing_sum_of_the_pages_is_found(used: Project, model: type, column: str, check: str) -> None:
    row = model.objects.get()
    right = getattr(row, column)
    model.objects.update(**{column: right + 5})
    assert [(p.check, p.expected, p.found) for p in verify()] == [(check, right, right + 5)]
    model.objects.all().delete()
    assert (check, right, 0) in [(p.check, p.expected, p.found) for p in verify()]


def test_a_months_sum_of_a_job_is_found_missing_with_both_its_figures(used: Project) -> None:
    JobCharge.objects.all().delete()
    assert [(p.check, p.expected, p.found) for p in verify()] == [
        ("a job's month is the sum of its charges", 28, 0),
        ("a job's month is the use of its charges", 100, 0),
    ]


def test_a_charge_that_was_written_into_a_closed_month_is_found(used: Project) -> None:
    charge = Charge.objects.get()
    period = BillingPeriod.objects.create(
        organization=used.organization,
        issuer=charge.contracting_member,
        month=charge.day.replace(day=1),
        state="closed",
        closed_at=charge.created_at + timedelta(seconds=1),
    )
    assert verify() == []
    BillingPeriod.objects.filter(pk=period.pk).update(closed_at=charge.created_at - timedelta(seconds=1))
    check = "nothing is charged in a month that is closed"
    assert verify() == [Problem(check, used.organization.code, f"charge:{charge.pk}", 0, 1)]


def test_a_record_that_is_taken_back_twice_is_found(used: Project) -> None:
    record = UsageRecord.objects.get()
    values = {field.attname: getattr(record, field.attname) for field in UsageRecord._meta.fields} | {"id": None}
    back = {"seconds": -record.seconds, "gpu_seconds": -record.gpu_seconds, "corrects_id": record.pk}
    for revision in (2, 4):
        UsageRecord.objects.create(**{**values, **back, "revision": revision})
    problem = Problem(
        "what is taken back is what was recorded, once", used.organization.code, f"record:{record.pk}", -100, -200
    )
    assert problem in verify()


def test_a_released_hold_that_the_ledger_still_holds_is_found(used: Project) -> None:
    release("J-1", by="portal:test")
    assert verify() == []
    Hold.objects.update(released_at=None)
    code = used.organization.code
    assert verify() == [Problem(HOLDS, code, "account:held", 472, 0), Problem(OF_JOB, code, "hold:J-1", 472, 0)]
    hold(used.organization, project=used, job_code="J-2", amount=100, by="portal:test")
    Hold.objects.update(released_at=jst(2026, 11, 24))
    assert verify() == [Problem(HOLDS, code, "account:held", 0, 100), Problem(OF_JOB, code, "hold:J-2", 0, 100)]


def test_a_budget_that_is_used_up_is_well_and_one_that_is_exceeded_is_found(project: Project, owner: User) -> None:
    """28 yen are posted, 472 held for the job and 100 for one of another project."""
    other = ProjectFactory(organization=project.organization)
    with time_machine.travel(jst(2026, 11, 24, 12)):
        give_credit(project, 1000)
        metered(project, owner, PriceFactory(), job_code="J-1", started_at=jst(2026, 11, 24), seconds=100, held=500)
        hold(project.organization, project=other, job_code="J-2", amount=100, by="portal:test")
        set_limit(project.organization, project=project, monthly_limit=500, by=owner)
        set_limit(project.organization, project=None, monthly_limit=600, by=owner)
        set_limit(project.organization, project=other, monthly_limit=100, by=owner)
        assert verify() == []
        Budget.objects.filter(project=project).update(limit=499)
        Budget.objects.filter(project=None).update(limit=599)
        code = project.organization.code
        assert verify() == [
            Problem(BUDGET, code, "budget:all", 599, 600),
            Problem(BUDGET, code, f"budget:{project.code}", 499, 500),
        ]
    with time_machine.travel(jst(2026, 12, 1)):
        assert verify() == []  # what was posted last month counts no more
        Budget.objects.filter(project=project).update(limit=471)  # what is held still does
        assert verify() == [Problem(BUDGET, code, f"budget:{project.code}", 471, 472)]


def test_budgets_of_other_periods_are_looked_at_in_their_own_days(used: Project, owner: User) -> None:
    """28 yen were posted on 24 November, 472 are held."""
    days = {"first_day": date(2026, 11, 25), "last_day": date(2027, 4, 30)}
    for period, name, fixed in (("year", "", {}), ("fixed", "grant", days)):
        Budget.objects.create(
            organization=used.organization, period=period, name=name, limit=471, updated_by=owner, **fixed
        )
    code = used.organization.code
    told = []
    for at in (jst(2027, 3, 31, 12), jst(2027, 4, 1, 12), jst(2027, 5, 1)):
        with time_machine.travel(at):
            told.append(verify())
    assert told == [
        [Problem(BUDGET, code, "budget:all:grant", 471, 472), Problem(BUDGET, code, "budget:all:year", 471, 500)],
        [Problem(BUDGET, code, "budget:all:grant", 471, 472), Problem(BUDGET, code, "budget:all:year", 471, 472)],
        [Problem(BUDGET, code, "budget:all:year", 471, 472)],
    ]


def test_what_was_approved_for_a_job_counts_while_that_job_accounts_for_it(used: Project, owner: User) -> None:
    """28 yen are posted, 472 held; 100 of both were approved beyond the limit."""
    with time_machine.travel(jst(2026, 11, 24, 12)):
        budget = Budget.objects.create(organization=used.organization, limit=400, updated_by=owner)
        allowance = Allowance.objects.create(budget=budget, hold=Hold.objects.get(), amount=100)
        assert verify() == []
        Allowance.objects.filter(pk=allowance.pk).update(amount=99)
        assert verify() == [Problem(BUDGET, used.organization.code, "budget:all", 499, 500)]
        Allowance.objects.filter(pk=allowance.pk).update(amount=100)
        release("J-1", by="portal:test")
        Budget.objects.update(limit=0)
        assert verify() == []  # 28 of the 100
        with transaction.atomic():
            hold(used.organization, project=used, job_code="J-2", amount=0, by="portal:test")
        Hold.objects.filter(job_code="J-2").update(amount=1)
        assert Problem(BUDGET, used.organization.code, "budget:all", 28, 29) in verify()


def test_the_command_fails_with_the_problem_and_looks_at_one_organization_when_asked(used: Project) -> None:
    BillingAccount.objects.update(held=0)
    other = ProjectFactory(organization=OrganizationFactory()).organization
    code, report = run("--organization", used.organization.code)
    assert (code, report["organizations"], len(report["problems"])) == (1, 1, 2)  # type: ignore[arg-type]
    assert run("--organization", other.code)[0] == 0
    with pytest.raises(CommandError, match="no organization"):
        run("--organization", "o-nothing")
