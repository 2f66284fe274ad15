from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from django.core.management import CommandError, call_command

from portal.accounts.models import Project, User
from portal.catalog.models import Offering, ProviderAccount
from portal.jobs import statements, tasks
from portal.jobs.models import Attempt
from portal.jobs.statements import Beside, Checked, Line, beside, check, check_all, yesterday
from portal.providers.base import BillingStatement, RemoteCharge, RemoteUsage, UsageStatement
from portal.providers.errors import Unavailable
from portal.usage import recording
from portal.usage.models import DailyUsage, Difference, UsageReport
from tests.factories import AttemptFactory, JobFactory, PriceFactory, ProviderAccountFactory
from tests.factories.billing import jst
from tests.jobs.fakes import FakeProvider

NOON = jst(2026, 11, 24, 12)
DAY = date(2026, 11, 24)


class Statements(FakeProvider, UsageStatement, BillingStatement):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[RemoteUsage] = []
        self.bill: list[RemoteCharge] = []
        self.asked: list[tuple[Any, ...]] = []

    def usage(self, *, since: datetime, until: datetime) -> Iterator[RemoteUsage]:
        if self.down:
            raise self.down
        self.asked.append((since, until))
        yield from self.lines

    def charges(self, *, year: int, month: int, day: int | None = None) -> list[RemoteCharge]:
        self.asked.append((year, month, day))
        return self.bill


@pytest.fixture(autouse=True)
def _next_morning() -> Iterator[None]:
    with time_machine.travel(jst(2026, 11, 25, 6)):
        yield


@pytest.fixture
def account(offering: Offering) -> ProviderAccount:
    return ProviderAccountFactory(provider=offering.provider)


@pytest.fixture
def provider(account: ProviderAccount, monkeypatch: pytest.MonkeyPatch) -> Statements:
    fake = Statements()
    monkeypatch.setattr(statements, "adapter_of", lambda account: fake)
    return fake


@pytest.fixture
def ran(account: ProviderAccount, project: Project, owner: User) -> Any:
    """An attempt that is over, of two GPUs, and our record of its seconds from noon on."""

    def run(seconds: int, **changes: Any) -> Attempt:
        price = PriceFactory(offering__provider=account.provider, offering__plan="v100")
        job = JobFactory(project=project, submitted_by=owner, price=price, gpus=2)
        times = {"started_at": NOON, "ended_at": NOON + timedelta(seconds=seconds), "collected_at": NOON}
        attempt: Attempt = AttemptFactory(job=job, account=account, **{**times, "state": "ended", **changes})
        recording.record(
            attempt_code=attempt.code, job_code=job.code, organization=project.organization, project=project,
            user=owner, offering=price.offering, price=price, gpus=2, started_at=NOON,
            ended_at=NOON + timedelta(seconds=seconds),
        )  # fmt: skip
        return attempt

    return run


def line(attempt: Attempt | str, gpu_seconds: int) -> RemoteUsage:
    key = f"jga-test00-{attempt if isinstance(attempt, str) else attempt.code}"
    return RemoteUsage(f"L-{key}", "r1", key, gpu_seconds, NOON, NOON + timedelta(seconds=gpu_seconds // 2))


def bill(seconds: int, plan: str = "v100") -> RemoteCharge:
    return RemoteCharge("a", 1, plan, seconds, 0, Decimal(1))


def found() -> set[tuple[str, str, int, int]]:
    return set(Difference.objects.values_list("kind", "subject", "ours", "theirs"))


def test_a_statement_that_agrees_within_the_tolerance_differs_in_nothing_and_is_kept(
    ran: Any, provider: Statements, account: ProviderAccount
) -> None:
    first, second = ran(1000), ran(3000)
    provider.lines, provider.bill = [line(first, 2010), line(second, 5990)], [bill(4001)]
    assert [check(account, DAY), check(account, DAY)] == [Checked(f"sakura {account}", lines=3, compared=4)] * 2
    assert (found(), UsageReport.objects.count()) == (set(), 1)
    assert provider.asked[:2] == [(jst(2026, 11, 24), jst(2026, 11, 25)), (2026, 11, 24)]
    said = json.loads(bytes(UsageReport.objects.get().body))
    assert [one["gpu_seconds"] for one in said["usage"]] == [2010, 5990]
    assert [one["usage"] for one in said["bill"]] == [4001]


def test_what_differs_is_written_down_and_no_record_is_changed(
    ran: Any, provider: Statements, account: ProviderAccount
) -> None:
    """One counts more there, one is not on the statement, one is on it alone, and the bill has a plan more."""
    more, missing = ran(1000), ran(50)
    provider.lines = [line(more, 2011), line("zzzzzzzzzzzz", 90)]
    provider.bill = [bill(1050), bill(60, "h100")]
    before = list(DailyUsage.objects.values_list("gpu_seconds", flat=True))
    assert check(account, DAY) == Checked(f"sakura {account}", lines=4, compared=6, differing=4)
    assert found() == {
        ("job", more.code, 2000, 2011),
        ("job", missing.code, 100, 0),
        ("job", "zzzzzzzzzzzz", 0, 90),
        ("bill", "h100", 0, 60),
    }
    assert list(DailyUsage.objects.values_list("gpu_seconds", flat=True)) == before


def test_a_day_differs_when_its_jobs_do_so_together(
    ran: Any, provider: Statements, account: ProviderAccount, settings: Any
) -> None:
    attempts = [ran(100) for _ in range(3)]
    provider.lines, provider.bill = [line(attempt, 206) for attempt in attempts], [bill(300)]
    check(account, DAY)
    assert found() == {("day", "", 600, 618)}


def test_jobs_that_are_not_settled_jobs_of_others_and_other_days_are_not_compared(
    ran: Any, provider: Statements, account: ProviderAccount
) -> None:
    open_ = ran(100, collected_at=None)
    ran(100, ended_at=jst(2026, 11, 25))
    ran(100, ended_at=jst(2026, 11, 23, 23, 59, 59))
    theirs = RemoteUsage("L-9", "r9", "jga-other1-abcdefghjkmn", 500, NOON, NOON)
    provider.lines, provider.bill = [line(open_, 5), theirs], [bill(300)]
    assert check(account, DAY) == Checked(f"sakura {account}", lines=2, compared=2)
    assert found() == set()


def test_a_provider_that_cannot_be_asked_is_told_and_one_without_statements_is_left_alone(
    account: ProviderAccount, provider: Statements, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.down = Unavailable("no connection")
    assert list(check_all(DAY)) == [Checked(f"sakura {account}", trouble="no connection")]
    monkeypatch.setattr(statements, "adapter_of", lambda account: FakeProvider())
    assert list(check_all(DAY)) == [Checked(f"sakura {account}")]


def test_the_command_says_what_nobody_has_decided_and_fails_then(
    ran: Any, provider: Statements, account: ProviderAccount
) -> None:
    attempt = ran(100)
    provider.lines, provider.bill = [line(attempt, 200)], [bill(100)]
    assert run() == (0, {"day": "2026-11-24", "accounts": [_told(account, 2, 3, 0)], "differences": []})
    provider.lines = [line(attempt, 300)]
    different = {"account": account.pk, "ours": 200, "theirs": 300}
    assert run("--day", "2026-11-24") == (
        1,
        {
            "day": "2026-11-24",
            "accounts": [_told(account, 2, 3, 2)],
            "differences": [
                {**different, "kind": "day", "subject": ""},
                {**different, "kind": "job", "subject": attempt.code},
            ],
        },
    )
    provider.down = Unavailable("no connection")
    assert run("--day", "2026-11-23")[0] == 1
    with pytest.raises(CommandError, match="Not a day"):
        run("--day", "yesterday")


def test_the_lines_of_a_statement_stand_beside_our_records(
    ran: Any, provider: Statements, account: ProviderAccount, django_assert_max_num_queries: Any
) -> None:
    more, missing, open_ = ran(1000), ran(50), ran(70, collected_at=None)
    provider.lines = [line(more, 1500), line(more, 700), line("zzzzzzzzzzzz", 90), line(open_, 3)]
    provider.bill = [bill(900), bill(60, "h100"), bill(500)]
    check(account, DAY)

    def of(kind: str, subject: str = "") -> Beside:
        row = Difference.objects.select_related("report", "account").get(kind=kind, subject=subject)
        with django_assert_max_num_queries(2):
            return beside(row)

    theirs = [Line(more.code, NOON, 1500), Line(more.code, NOON, 700)]
    assert of("job", more.code) == Beside(theirs, [Line(more.code, NOON, 2000)])
    assert of("job", missing.code) == Beside([], [Line(missing.code, NOON, 100)])
    unknown = [Line("zzzzzzzzzzzz", NOON, 90)]
    assert of("job", "zzzzzzzzzzzz") == Beside(unknown, [])
    assert of("day") == Beside([*theirs, *unknown], [Line(more.code, NOON, 2000), Line(missing.code, NOON, 100)])
    assert of("bill", "h100") == Beside([Line("h100", None, 60)], [])
    plan = of("bill", "v100")
    assert plan.theirs == [Line("v100", None, 900), Line("v100", None, 500)]
    assert [(one.subject, one.amount) for one in plan.ours] == [(more.code, 1000), (missing.code, 50), (open_.code, 70)]
    rows = {(row.kind, row.subject): row for row in Difference.objects.select_related("report", "account")}
    assert {key: (beside(row).ours_sum, beside(row).theirs_sum) for key, row in rows.items()} == {
        key: (row.ours, row.theirs) for key, row in rows.items()
    }


def test_the_task_compares_yesterday(ran: Any, provider: Statements) -> None:
    provider.lines = [line(ran(100), 300)]
    tasks.check_statements()
    assert (yesterday(), set(Difference.objects.values_list("day", flat=True))) == (DAY, {DAY})


def run(*arguments: str) -> tuple[int, Any]:
    out = io.StringIO()
    try:
        call_command("reconcile_usage", *arguments, stdout=out)
    except SystemExit as left:
        return int(str(left.code)), json.loads(out.getvalue())
    return 0, json.loads(out.getvalue())


def _told(account: ProviderAccount, lines: int, compared: int, differing: int) -> dict[str, Any]:
    return Checked(f"sakura {account}", lines=lines, compared=compared, differing=differing).as_dict()
