from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.utils import translation

from portal.catalog.availability import Standing
from portal.catalog.comparison import (
    Cell,
    architecture_words,
    availability_words,
    charged_by,
    compare,
    gpu_range,
    gpus_words,
    total_label,
)
from portal.catalog.models import CapacityObservation, Offering, Price, ProviderAccount
from portal.catalog.offers import Offer, Wish

POOL, OWN = ProviderAccount(), ProviderAccount(organization_id=1)
SILENT = ProviderAccount(failing_since=datetime(2026, 11, 1, tzinfo=UTC))


@pytest.fixture(autouse=True)
def _english(_japanese: None) -> None:
    translation.activate("en")


def offer(
    *,
    gpus: int = 1,
    cost: str | None = "100",
    seen: CapacityObservation | None = None,
    account: ProviderAccount = POOL,
    **facts: Any,
) -> Offer:
    given = {"kind": "job", "gpu_model": "H100", "gpu_memory_gb": 80, "architecture": "amd64", "source": "s"}
    offering = Offering(**{**given, "as_of": date(2026, 11, 1), **facts})
    price = None
    if cost is not None:
        price = Price(unit="second", minimum_s=60, source="list", as_of=date(2026, 11, 2), confirmed=True)
    amount = None if cost is None else Decimal(cost)
    return Offer(offering, gpus, (price,) if price else (), amount, amount and amount * 24, Standing(account, seen))


def cells(rows: list[Offer], label: str, **wish: Any) -> list[Cell]:
    groups = compare(rows, Wish(**wish), only_differences=False)
    return next(line.cells for group in groups for line in group.lines if line.label == label)


def best(rows: list[Offer], label: str) -> list[str]:
    return [cell.best for cell in cells(rows, label)]


def test_the_lowest_price_is_marked_and_shared_by_equals() -> None:
    rows = [offer(cost="200"), offer(cost="100"), offer(cost="100"), offer(cost=None)]
    assert cells(rows, "One GPU, one hour") == [
        Cell("¥200"), *[Cell("¥100", best="Cheapest")] * 2, Cell("On inquiry", "To be confirmed"),
    ]  # fmt: skip


def test_where_all_are_equal_or_one_is_alone_nothing_is_marked() -> None:
    assert best([offer(), offer()], "One GPU, one hour") == ["", ""]
    assert best([offer(), offer(cost=None)], "One GPU, one hour") == ["", ""]


def test_totals_for_different_numbers_of_gpus_are_not_compared() -> None:
    assert best([offer(cost="100"), offer(cost="200")], "For 24 hours") == ["Cheapest", ""]
    assert best([offer(cost="100"), offer(cost="200", gpus=8)], "For 24 hours") == ["", ""]


def test_the_largest_memory_and_the_most_free_are_marked() -> None:
    few = CapacityObservation(state="few", free_gpus=99)
    some, many = (CapacityObservation(state="available", free_gpus=count) for count in (4, 16))
    rows = [offer(seen=some), offer(seen=many, gpu_memory_gb=141), offer(seen=few, gpu_memory_gb=None)]
    assert best(rows, "Memory per GPU") == ["", "Largest", ""]
    assert best(rows, "Availability") == ["", "Most free", ""]  # "few" is not compared


def test_only_lines_that_differ_are_left_and_no_empty_groups() -> None:
    rows = [offer(gpu_memory_gb=80), offer(gpu_memory_gb=141)]
    groups = compare(rows, Wish(), only_differences=True)
    assert [(group.label, [line.label for line in group.lines]) for group in groups] == [
        ("Performance", ["Memory per GPU"])
    ]
    assert compare([rows[0]], Wish(), only_differences=True) == []


def test_the_price_says_whether_tax_is_in_it() -> None:
    labels = [compare([offer()], Wish(with_tax=tax), only_differences=False)[0].label for tax in (True, False)]
    assert labels == ["Price (tax incl.)", "Price (tax excl.)"]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (offer(seen=CapacityObservation(state="available", free_gpus=8)), ("Available", "8 GPUs free")),
        (offer(seen=CapacityObservation(state="few", free_gpus=None)), ("Few left", "")),
        (offer(seen=CapacityObservation(state="full", queued_jobs=1)), ("Full", "1 job waiting")),
        (offer(seen=CapacityObservation(state="full", queued_jobs=0)), ("Full", "")),
        (offer(on_request=True), ("On request", "")),
        (offer(kind="node"), ("By order", "")),
        (offer(), ("Not known", "The provider does not tell; jobs can be queued")),
        (offer(account=SILENT), ("Not known", "The provider does not answer now; jobs can be queued")),
        (offer(account=OWN), ("Not known", "Not checked for your organization's own account; jobs can be queued")),
        (offer(cost=None), ("Not known", "")),
    ],
)
def test_availability_in_words(row: Offer, words: tuple[str, str]) -> None:
    assert availability_words(row) == words


def test_small_words() -> None:
    assert [gpus_words(count) for count in (1, 8)] == ["1 GPU", "8 GPUs"]
    assert [total_label(Wish(hours=hours)) for hours in (1, 168)] == ["For 1 hour", "For 168 hours"]
    assert [gpu_range(offer(gpus_min=low, gpus_max=high)) for low, high in ((1, 1), (1, 8))] == ["1 GPU", "1 to 8 GPUs"]
    a_minute = replace(offer(), prices=(Price(unit="minute"),))
    assert [charged_by(row) for row in (offer(), offer(cost=None), a_minute)] == [
        ("by the second", "60 seconds at least"),
        ("On inquiry", ""),
        ("by the second, as part of the price per minute", "To be confirmed"),
    ]
    assert [
        architecture_words(offer(architecture=name, architecture_confirmed=confirmed))
        for name, confirmed in (("amd64", True), ("arm64", True), ("arm64", False))
    ] == [
        ("x86_64", ""),
        ("Arm (arm64)", "Needs arm64 container images"),
        ("Arm (arm64)", "To be confirmed"),
    ]
