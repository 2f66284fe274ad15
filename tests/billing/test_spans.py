from __future__ import annotations

from datetime import date
from typing import Any

import pytest
import time_machine

from portal.accounts.models import Project, User
from portal.billing.overview import Scope
from portal.billing.spans import monthly_rows, span_page, spans_offered
from portal.core.periods import FiscalSpan
from tests.factories import OfferingFactory, PriceFactory, ProjectFactory, ProviderFactory
from tests.factories.billing import give_credit, jst, metered


@pytest.fixture(autouse=True)
def clock() -> Any:
    with time_machine.travel(jst(2026, 11, 24, 13), tick=False):
        yield


@pytest.fixture
def used(project: Project, owner: User) -> Project:
    """1 yen a second at Sakura, 2 at KDDI; two projects; two fiscal years and their borders."""
    give_credit(project, 100_000)
    other = ProjectFactory(organization=project.organization, name="rag-eval")
    sakura = PriceFactory(amount="1", minimum_s=0, offering__gpu_model="H100")
    kddi = PriceFactory(
        amount="2",
        minimum_s=0,
        offering=OfferingFactory(provider=ProviderFactory(slug="kddi"), gpu_model="GB200", site=None),
    )
    for code, place, price, start, seconds in (
        ("J-1", project, sakura, jst(2025, 9, 30, 23, 59, 50), 20),  # 10 s in each half of fiscal 2025
        ("J-2", project, sakura, jst(2026, 3, 31, 23, 59, 30), 60),  # 30 s in fiscal 2025, 30 s in fiscal 2026
        ("J-3", other, kddi, jst(2026, 9, 30, 12), 100),
        ("J-4", project, sakura, jst(2026, 10, 1), 7),
        ("J-5", project, kddi, jst(2026, 11, 24, 12), 10),
    ):
        metered(place, owner, price, job_code=code, started_at=start, seconds=seconds, held=1000)
    return project


def figures(project: Project, code: str, projects: list[int] | None = None) -> tuple[Any, ...]:
    page = span_page(Scope(project.organization, projects), FiscalSpan.parse(code), by="provider")
    months = {on: total for on, _amounts, total in page.rows if total}
    return page.use.amount, page.use.gpu_seconds, page.use.before, months, [line.amount for line in page.lines]


def test_a_fiscal_year_is_the_sum_of_its_months_and_of_its_halves(used: Project) -> None:
    september, october, november = date(2026, 9, 1), date(2026, 10, 1), date(2026, 11, 1)
    assert figures(used, "2026fy") == (
        257, 147, 50, {date(2026, 4, 1): 30, september: 200, october: 7, november: 20}, [220, 37],
    )  # fmt: skip
    assert figures(used, "2026h1") == (230, 130, 10, {date(2026, 4, 1): 30, september: 200}, [200, 30])
    assert figures(used, "2026h2") == (27, 17, 40, {october: 7, november: 20}, [20, 7])
    assert figures(used, "2025fy")[:3] == (50, 50, 0)
    assert figures(used, "2026fy", [used.pk])[0] == 57


def test_a_span_that_runs_is_not_compared_with_a_whole_one(used: Project) -> None:
    scope = Scope(used.organization, None)
    running = span_page(scope, FiscalSpan(2026), by="provider")
    over = span_page(scope, FiscalSpan(2026, 1), by="provider")
    assert (running.is_current, running.change, {line.change for line in running.lines}) == (True, None, {None})
    assert (over.is_current, over.change, [line.change for line in over.lines]) == (False, 2200, [None, 200])


def test_a_span_that_has_not_begun_is_the_running_year(used: Project) -> None:
    assert span_page(Scope(used.organization, None), FiscalSpan(2027), by="gpu").month == FiscalSpan(2026)


def test_the_file_has_what_the_page_sums(used: Project) -> None:
    rows = list(monthly_rows(Scope(used.organization, None), FiscalSpan(2026), language="en"))
    assert [(row[0], row[2], row[-2], row[-1]) for row in rows] == [
        ("2026-04", "llm-jp-tuning", 30, 30),
        ("2026-09", "rag-eval", 100, 200),
        ("2026-10", "llm-jp-tuning", 7, 7),
        ("2026-11", "llm-jp-tuning", 10, 20),
    ]


def test_spans_are_offered_from_the_organizations_beginning_to_now() -> None:
    offered = spans_offered(date(2025, 12, 1), date(2026, 11, 24))
    assert [str(span) for span in offered] == ["2026fy", "2026h2", "2026h1", "2025fy", "2025h2"]
