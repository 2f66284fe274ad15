import io
import json

import pytest
from django.core.management import CommandError, call_command

from portal.accounts.models import Project, User
from portal.billing.models import BillingAccount, Credit, DailyCharge, Hold, JobCharge
from portal.billing.verification import CHECKS, Problem, verify
from portal.usage.models import DailyUsage
from tests.factories import OrganizationFactory, PriceFactory, ProjectFactory
from tests.factories.billing import give_credit, jst, metered

LEDGER = "account follows from the ledger"
CREDITS = "credit is what is left of the credits"
HOLDS = "held is what the open holds have left"
POSTED = "posted is the sum of the charges"
USED = "a hold is used by its job's charges"


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
        (Credit, "used", [(CREDITS, "account:credit", 971, 972)]),
        (
            Hold,
            "used",
            [(HOLDS, "account:held", 471, 472), (USED, "hold:J-1", 28, 29)],
        ),
    ],
)
def test_a_wrong_sum_is_found(
    used: Project, model: type, column: str, expected: list[tuple[str, str, int, int]]
) -> None:
    row = model.objects.get()
    model.objects.update(**{column: getattr(row, column) + 1})
    code = used.organization.code
    assert verify() == [Problem(check, code, subject, right, found) for check, subject, right, found in expected]


@pytest.mark.parametrize(
    ("model", "column", "check"),
    [
        (DailyUsage, "gpu_seconds", "daily usage is the sum of its records"),
        (DailyCharge, "amount", "daily charge is the sum of its charges"),
        (JobCharge, "amount", "a job's month is the sum of its charges"),
    ],
)
def test_a_wrong_or_missing_sum_of_the_pages_is_found(used: Project, model: type, column: str, check: str) -> None:
    row = model.objects.get()
    right = getattr(row, column)
    model.objects.update(**{column: right + 5})
    assert [(p.check, p.expected, p.found) for p in verify()] == [(check, right, right + 5)]
    model.objects.all().delete()
    assert [(p.check, p.expected, p.found) for p in verify()] == [(check, right, 0)]


def test_the_command_fails_with_the_problem_and_looks_at_one_organization_when_asked(used: Project) -> None:
    BillingAccount.objects.update(held=0)
    other = ProjectFactory(organization=OrganizationFactory()).organization
    code, report = run("--organization", used.organization.code)
    assert (code, report["organizations"], len(report["problems"])) == (1, 1, 2)  # type: ignore[arg-type]
    assert run("--organization", other.code)[0] == 0
    with pytest.raises(CommandError, match="no organization"):
        run("--organization", "o-nothing")
