from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
import time_machine
from django.db import IntegrityError, connection, transaction
from django.db.models import Sum
from django.utils import translation
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from portal.accounts.models import Project, User
from portal.catalog.models import Price
from portal.usage.intake import Intake, Refusal, ReportLine, keep, take_in
from portal.usage.models import DailyUsage, RefusedLine, UsageRecord, UsageReport
from portal.usage.recording import AttemptFacts, OtherNumbers, record
from tests.factories import OrganizationFactory, PriceFactory, ProjectFactory, ProviderFactory
from tests.factories.billing import jst

NOON = jst(2026, 11, 24, 12)
DAY = date(2026, 11, 24)


@pytest.fixture(autouse=True)
def _in_december() -> Iterator[None]:
    with time_machine.travel(jst(2026, 12, 5)):
        yield


@pytest.fixture
def facts(project: Project, owner: User) -> dict[str, AttemptFacts]:
    """Attempts a1 and a2 of two GPUs each."""
    price = PriceFactory()
    of = AttemptFacts(
        project.organization_id, project.pk, owner.pk, price.offering.provider_id, price.offering_id, price.pk, "J-1", 2
    )
    return {"a1": of, "a2": replace(of, job_code="J-2")}


@pytest.fixture
def report(facts: dict[str, AttemptFacts]) -> UsageReport:
    return keep(ProviderFactory(), source="dok", body="使用量\n".encode())


def line(
    source_id: str = "L-1", start: int = 0, end: int = 600, *, attempt: str = "a1", number: int = 1, **other: Any
) -> ReportLine:
    """Seconds after noon."""
    at = {"started_at": NOON + timedelta(seconds=start), "ended_at": NOON + timedelta(seconds=end)}
    return ReportLine(number, source_id, attempt, **{**at, "quantity": 2 * (end - start), **other})


def tell(report: UsageReport, facts: Mapping[str, AttemptFacts], *lines: ReportLine) -> Intake:
    def facts_of(codes: Collection[str]) -> Mapping[str, AttemptFacts]:
        return {code: facts[code] for code in codes if code in facts}

    with transaction.atomic():
        return take_in(report, lines, facts_of=facts_of)


def rows() -> list[tuple[Any, ...]]:
    """(line, revision, start and end in seconds after noon, GPU-seconds, line and revision it corrects)."""
    found = UsageRecord.objects.order_by("pk").select_related("corrects")
    return [
        (
            r.source_id, r.revision, int((r.started_at - NOON).total_seconds()),
            int((r.ended_at - NOON).total_seconds()), r.gpu_seconds,
            (r.corrects.source_id, r.corrects.revision) if r.corrects else None,
        )
        for r in found
    ]  # fmt: skip


def days() -> dict[date, int]:
    return dict(DailyUsage.objects.order_by("day").values_list("day", "gpu_seconds"))


def test_a_report_is_kept_byte_for_byte_with_its_hash_once(facts: dict[str, AttemptFacts]) -> None:
    body = b"\xff\x00\r\n" + "使用量".encode("shift_jis")
    provider = ProviderFactory()
    report = keep(provider, source="dok", body=body)
    assert keep(provider, source="dok", body=body) == report
    report.refresh_from_db()
    assert (bytes(report.body), report.sha256) == (body, hashlib.sha256(body).hexdigest())
    other = [
        keep(provider, source="slurm", body=body),
        keep(provider, source="dok", body=body, organization=OrganizationFactory()),
        keep(provider, source="dok", body=body + b" "),
    ]
    assert len({report, *other}) == UsageReport.objects.count() == 4
    for change in ("UPDATE usage_usagereport SET body = ''", "DELETE FROM usage_usagereport"):
        with pytest.raises(IntegrityError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(change)


def test_a_line_becomes_a_record_with_all_that_its_attempt_knows(
    report: UsageReport, facts: dict[str, AttemptFacts], project: Project, owner: User
) -> None:
    assert tell(report, facts, line()).refused == []
    row = UsageRecord.objects.get()
    assert (
        row.organization, row.project, row.user, row.provider_id, row.offering_id, row.price_id, row.job_code,
        row.attempt_code, row.gpus, row.seconds, row.gpu_seconds, row.started_at, row.ended_at, row.day, row.source,
        row.source_id, row.revision, row.corrects, row.report,
    ) == (
        project.organization, project, owner, facts["a1"].provider_id, facts["a1"].offering_id, facts["a1"].price_id,
        "J-1", "a1", 2, 600, 1200, NOON, NOON + timedelta(minutes=10), DAY, "dok", "L-1", 1, None, report,
    )  # fmt: skip
    assert list(DailyUsage.objects.values_list("day", "gpu_seconds", "metered_until")) == [
        (DAY, 1200, NOON + timedelta(minutes=10))
    ]


def test_the_same_again_changes_nothing_whatever_report_it_comes_in(
    report: UsageReport, facts: dict[str, AttemptFacts]
) -> None:
    lines = [line(), line("L-2", 600, 900), line()]
    first = tell(report, facts, *lines)
    before = rows(), days()
    again = [tell(report, facts, *lines), tell(keep(ProviderFactory(), source="dok", body=b"more"), facts, *lines)]
    assert (len(first.records), first.known, first.corrected) == (2, 1, 0)
    assert again == [Intake(known=3), Intake(known=3)]
    assert (rows(), days()) == before == (rows(), {DAY: 1800})


def test_other_numbers_are_a_row_that_takes_back_and_a_row_that_stands_instead(
    report: UsageReport, facts: dict[str, AttemptFacts]
) -> None:
    told = tell(report, facts, line(end=600)), tell(report, facts, line(end=900)), tell(report, facts, line(end=100))
    assert [(len(one.records), one.corrected, one.refused) for one in told] == [(1, 0, []), (2, 1, []), (2, 1, [])]
    assert rows() == [
        ("L-1", 1, 0, 600, 1200, None),
        ("L-1", 2, 0, 600, -1200, ("L-1", 1)),
        ("L-1", 3, 0, 900, 1800, ("L-1", 1)),
        ("L-1", 4, 0, 900, -1800, ("L-1", 3)),
        ("L-1", 5, 0, 100, 200, ("L-1", 3)),
    ]
    assert days() == {DAY: 200}


def test_numbers_that_were_corrected_already_change_nothing_when_their_report_comes_again(
    report: UsageReport, facts: dict[str, AttemptFacts]
) -> None:
    tell(report, facts, line(end=600), line(end=900))
    before = rows()
    assert tell(report, facts, line(end=600), line(end=900)) == Intake(known=2)
    assert (rows(), days()) == (before, {DAY: 1800})


def test_a_correction_within_one_report_is_the_same_as_in_two(
    report: UsageReport, facts: dict[str, AttemptFacts]
) -> None:
    tell(report, facts, line(end=600), line("L-2", 600, 700), line(end=300), line("L-3", 300, 400))
    assert rows() == [
        ("L-1", 1, 0, 600, 1200, None),
        ("L-2", 1, 600, 700, 200, None),
        ("L-1", 2, 0, 600, -1200, ("L-1", 1)),
        ("L-1", 3, 0, 300, 600, ("L-1", 1)),
        ("L-3", 1, 300, 400, 200, None),
    ]
    assert days() == {DAY: 1000}


def test_a_correction_that_moves_over_midnight_moves_the_sums_of_both_days(
    report: UsageReport, facts: dict[str, AttemptFacts]
) -> None:
    """11.5 to 12.5 hours after noon, and then half an hour later each."""
    tell(report, facts, line(start=41_400, end=45_000))
    assert days() == {DAY: 3600, date(2026, 11, 25): 3600}
    tell(report, facts, line(start=43_200, end=46_800))
    assert rows()[2:] == [
        ("L-1", 2, 41_400, 43_200, -3600, ("L-1", 1)),
        ("L-1", 2, 43_200, 45_000, -3600, ("L-1", 1)),
        ("L-1", 3, 43_200, 46_800, 7200, ("L-1", 1)),
    ]
    assert UsageRecord.objects.last().corrects.day == date(2026, 11, 25)  # type: ignore[union-attr]
    assert days() == {DAY: 0, date(2026, 11, 25): 7200}


def test_time_that_a_correction_gave_free_is_told_by_another_line(
    report: UsageReport, facts: dict[str, AttemptFacts]
) -> None:
    """Its instant is in the table already, with the revisions of what was taken back."""
    tell(report, facts, line(start=0, end=600))
    tell(report, facts, line(start=1200, end=1800))
    tell(report, facts, line("L-2", 0, 600))
    tell(report, facts, line("L-2", 0, 300))
    assert [row[:5] for row in rows()[3:]] == [
        ("L-2", 3, 0, 600, 1200),
        ("L-2", 4, 0, 600, -1200),
        ("L-2", 5, 0, 300, 600),
    ]
    assert days() == {DAY: 1800}


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "negative": ({"quantity": -1200}, "more than zero"),
    "zero": ({"quantity": 0}, "more than zero"),
    "NaN": ({"quantity": Decimal("NaN")}, "whole number"),
    "infinite": ({"quantity": Decimal("Infinity")}, "whole number"),
    "a fraction": ({"quantity": Decimal("1200.5")}, "whole number"),
    "1e30": ({"quantity": Decimal("1e30")}, "not what the attempt's GPUs use"),
    "one more": ({"quantity": 1201}, "not what the attempt's GPUs use"),
    "other unit": ({"unit": "gpu_hour"}, "not GPU-seconds"),
    "future": (
        {"started_at": jst(2026, 12, 1), "ended_at": jst(2026, 12, 1, 12, 5, 1), "quantity": 86_602},
        "in the future",
    ),
    "empty": ({"ended_at": NOON}, "ends before it begins"),
    "reversed": ({"ended_at": NOON - timedelta(hours=1)}, "ends before it begins"),
    "no zone": ({"ended_at": datetime(2026, 11, 24, 4)}, "no time zone"),
    "too long": ({"started_at": jst(2026, 10, 20), "ended_at": NOON}, "longer than a month"),
    "unknown attempt": ({"attempt_code": "a9"}, "No attempt of ours"),
    "no id": ({"source_id": ""}, "no id"),
    "too long an id": ({"source_id": "x" * 101}, "too long"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_line_that_cannot_be_is_refused_and_listed_and_the_others_are_taken_in(
    report: UsageReport, facts: dict[str, AttemptFacts], wrong: str
) -> None:
    change, sentence = WRONG[wrong]
    with time_machine.travel(jst(2026, 12, 1, 12), tick=False):
        lines = [line("L-0", -60, 0, number=1), replace(line(number=2), **change), line("L-2", 600, 660, number=3)]
        told = tell(report, facts, *lines)
    assert [(refusal.number, refusal.source_id) for refusal in told.refused] == [(2, lines[1].source_id[:100])]
    with translation.override("en"), time_machine.travel(jst(2026, 12, 1, 12), tick=False):
        again = tell(report, facts, *lines)
    assert sentence in again.refused[0].reason
    assert [row[0] for row in rows()] == ["L-0", "L-2"]
    assert list(RefusedLine.objects.values_list("report", "number", "source_id", "reason")) == [
        (report.pk, 2, told.refused[0].source_id, told.refused[0].reason)
    ]


def test_an_end_within_the_difference_of_clocks_is_not_the_future(
    report: UsageReport, facts: dict[str, AttemptFacts]
) -> None:
    with time_machine.travel(NOON + timedelta(seconds=300), tick=False):
        assert tell(report, facts, line(end=600)).refused == []
        assert len(tell(report, facts, line("L-2", 600, 601)).refused) == 1


def test_usage_that_is_45_days_late_is_taken_in(report: UsageReport, facts: dict[str, AttemptFacts]) -> None:
    with time_machine.travel(NOON + timedelta(days=45)):
        assert tell(report, facts, line()).refused == []
    assert days() == {DAY: 1200}


def test_attempts_of_others_and_attempts_that_are_tracked_are_refused(
    facts: dict[str, AttemptFacts], project: Project
) -> None:
    other = ProjectFactory(organization=OrganizationFactory())
    facts = {
        **facts,
        "theirs": replace(facts["a1"], organization_id=other.organization_id, project_id=other.pk),
        "tracked": replace(facts["a1"], is_tracked=True),
    }
    lines = [line("L-1", attempt="theirs", number=1), line("L-2", attempt="tracked", number=2), line("L-3", number=3)]
    own = keep(ProviderFactory(), source="dok", body=b"own", organization=project.organization)
    shared = keep(ProviderFactory(), source="dok", body=b"shared")
    elsewhere = keep(ProviderFactory(slug="kddi"), source="dok", body=b"elsewhere")
    refused = [[r.number for r in tell(one, facts, *lines).refused] for one in (own, elsewhere, shared)]
    assert refused == [[1, 2], [1, 2, 3], [2]]
    assert [row[0] for row in rows()] == ["L-3", "L-1"]


@pytest.mark.parametrize(("start", "end"), [(0, 600), (-10, 1), (599, 700), (100, 200), (-100, 700)])
def test_time_that_is_recorded_already_is_refused_whoever_told_it(
    report: UsageReport, facts: dict[str, AttemptFacts], project: Project, owner: User, start: int, end: int
) -> None:
    price = PriceFactory(offering__provider=ProviderFactory())
    record(
        attempt_code="a2", job_code="J-2", organization=project.organization, project=project, user=owner,
        offering=price.offering, price=price, gpus=2, started_at=NOON, ended_at=NOON + timedelta(seconds=600),
    )  # fmt: skip
    tell(report, facts, line())
    before = rows()
    told = [
        tell(report, facts, line("L-2", start, end)),  # the same source
        tell(report, facts, line("L-2", start, end, attempt="a2")),  # our own tracker
        tell(report, facts, line("L-8", 5000, 6000), line("L-9", 5000 + start, 5600 + end)),  # the same report
    ]
    assert [[refusal.source_id for refusal in one.refused] for one in told] == [["L-2"], ["L-2"], ["L-9"]]
    assert rows()[:-1] == before


def test_a_correction_into_the_time_of_another_line_is_refused_and_the_old_numbers_stay(
    report: UsageReport, facts: dict[str, AttemptFacts]
) -> None:
    tell(report, facts, line(start=0, end=600), line("L-2", 600, 900))
    before = rows(), days()
    assert [r.source_id for r in tell(report, facts, line("L-2", 500, 900)).refused] == ["L-2"]
    assert [r.source_id for r in tell(report, facts, line(start=0, end=601)).refused] == ["L-1"]
    assert (rows(), days()) == before
    tell(report, facts, line(start=0, end=500), line("L-2", 500, 900))  # the first gives free what the second takes
    assert days() == {DAY: 1800}


def test_an_id_that_told_of_another_attempt_is_refused(report: UsageReport, facts: dict[str, AttemptFacts]) -> None:
    tell(report, facts, line())
    told = tell(report, facts, line(attempt="a2", number=7))
    assert told == Intake(refused=[Refusal(7, "L-1", told.refused[0].reason)])
    assert days() == {DAY: 1200}


@pytest.mark.parametrize("hours", range(24))
def test_a_line_is_cut_at_midnight_in_japan_and_nowhere_else(
    report: UsageReport, facts: dict[str, AttemptFacts], hours: int
) -> None:
    """The last hour of November in Japan ends at 15:00 UTC; a line of two hours begins at each hour of that day."""
    start = datetime(2026, 11, 30, hours, tzinfo=UTC)
    end = start + timedelta(hours=2)
    tell(report, facts, replace(line(), started_at=start, ended_at=end, quantity=14_400))
    border = datetime(2026, 11, 30, 15, tzinfo=UTC)
    before = max(timedelta(), min(end, border) - start) // timedelta(seconds=1) * 2
    expected = {date(2026, 11, 30): before, date(2026, 12, 1): 14_400 - before}
    assert days() == {day: gpu_seconds for day, gpu_seconds in expected.items() if gpu_seconds}


TOLD = st.tuples(
    st.integers(0, 5),  # which line: its slot of an hour, beginning an hour before midnight
    st.integers(0, 50), st.integers(60, 70),  # minutes of the slot, the end possibly in the next one's
    st.booleans(),  # by our own tracker, of another attempt
)  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(TOLD, min_size=1, max_size=6), min_size=1, max_size=6))
def test_daily_sums_are_the_sums_of_the_records_after_any_sequence(
    report: UsageReport,
    facts: dict[str, AttemptFacts],
    project: Project,
    owner: User,
    reports: list[list[tuple[int, int, int, bool]]],
) -> None:
    """Told, told twice, late, in any order, with other numbers, over others' time, and by the tracker in between."""
    price, start = Price.objects.get(), jst(2026, 11, 30, 23)
    with transaction.atomic():
        for told in reports:
            lines = []
            for slot, first, last, by_tracker in told:
                begin = start + timedelta(hours=slot, minutes=first)
                end = start + timedelta(hours=slot, minutes=last)
                if by_tracker:
                    with contextlib.suppress(OtherNumbers):
                        record(
                            attempt_code="a2", job_code="J-2", organization=project.organization, project=project,
                            user=owner, offering=price.offering, price=price, gpus=2, started_at=begin, ended_at=end,
                        )  # fmt: skip
                quantity = 2 * int((end - begin).total_seconds())
                lines.append(ReportLine(len(lines) + 1, f"L-{slot}", "a1", begin, end, quantity))
            tell(report, facts, *lines)
            derived = UsageRecord.objects.values("day").annotate(sum=Sum("gpu_seconds")).order_by("day")
            assert days() == dict(derived.values_list("day", "sum"))
            stands = standing("a1")
            assert all(before[1] <= after[0] for before, after in pairwise(stands))
            assert sum((end - begin).total_seconds() for begin, end in stands) * 2 == sum(
                UsageRecord.objects.filter(attempt_code="a1").values_list("gpu_seconds", flat=True)
            )
        transaction.set_rollback(True)


def standing(attempt_code: str) -> list[tuple[datetime, datetime]]:
    """Intervals of the records that are not taken back."""
    rows = list(UsageRecord.objects.filter(attempt_code=attempt_code))
    back = {row.corrects_id for row in rows if row.seconds < 0}
    return sorted((row.started_at, row.ended_at) for row in rows if row.seconds > 0 and row.pk not in back)
