import re
from datetime import date, timedelta
from decimal import Decimal
from typing import Any
from xml.etree import ElementTree

import pytest
from django.utils import translation

from portal.core.money import yen
from portal.core.templatetags.charts import ChartDay, axis_label, axis_top, bar, cumulative, legend, spark, stacked_days

SERIES = [("kddi", "KDDI"), ("sakura", "さくら"), ("highreso", "ハイレゾ"), ("newcomer", "<新>")]
FIRST = date(2026, 11, 1)


@pytest.fixture(autouse=True)
def _japanese() -> Any:
    with translation.override("ja"):
        yield


def month(length: int, **amounts: Any) -> list[ChartDay]:
    return [ChartDay(FIRST + timedelta(days=i), amounts, forecast=i >= 24) for i in range(length)]


def drawn(markup: str) -> ElementTree.Element:
    return ElementTree.fromstring(markup)


@pytest.mark.parametrize("length", [0, 1, 2, 30, 31, 92, 366])
def test_stacked_days_draws_any_number_of_days(length: int) -> None:
    svg = drawn(
        stacked_days(month(length, kddi=5, newcomer=yen(7)), SERIES, title="t", desc="d", today=date(2026, 11, 24))
    )
    bars = svg.findall("g")
    assert len(bars) == length
    assert all(len(g.findall("rect")) == 2 for g in bars)


def test_days_fit_any_width_and_no_other_day_is_named_close_to_today() -> None:
    svg = drawn(stacked_days(month(30, kddi=5), SERIES, title="t", desc="d", today=date(2026, 11, 22)))
    across = [element.attrib[name] for element in svg.iter() for name in ("x", "x1", "x2") if name in element.attrib]
    fixed = [place for place in across if not place.endswith("%")]
    named = [text.text for text in svg.iter("text") if re.fullmatch(r"\d+日", text.text or "")]
    assert (svg.get("viewBox"), max(float(place.rstrip("%")) for place in across)) == (None, 100)
    assert sorted(set(fixed)) == ["-8", "0"]  # numbers of the axis; where its lines begin
    assert named == ["1日", "5日", "10日", "15日", "22日", "30日"]


def test_a_day_says_its_numbers_and_that_it_is_forecast() -> None:
    svg = drawn(
        stacked_days(
            [ChartDay(date(2026, 11, 25), {"kddi": 1200, "newcomer": yen("34.9")}, True)], SERIES, title="t", desc="d"
        )
    )
    group = svg.find("g")
    assert group is not None
    assert group.attrib == {"class": "day fc"}
    assert re.sub(r"^.*¥1,234", "¥1,234", group.findtext("title") or "") == "¥1,234 / KDDI ¥1,200 / <新> ¥34"


def test_text_stays_text() -> None:
    hostile = '"><script>x</script>'
    for markup in (
        stacked_days(month(3, kddi=1), [("kddi", hostile)], title=hostile, desc=hostile, prefix="p"),
        cumulative([1], first=FIRST, days=30, title=hostile, desc=hostile),
        spark([1, 2], title=hostile),
        bar(5, label=hostile),
        legend([("kddi", hostile)]),
    ):
        assert "<script>" not in markup
        drawn(markup)


def test_charts_of_one_page_keep_their_ids_apart() -> None:
    markups = [stacked_days(month(2, sakura=1), SERIES, title="t", desc="d", prefix=p) for p in ("a", "b")]
    ids = [found for markup in markups for found in re.findall(r' id="([^"]+)"', markup)]
    assert len(ids) == len(set(ids)) == 8


@pytest.mark.parametrize(
    ("actual", "forecast", "budget"),
    [([], [], None), ([0], [], 0), ([1, 2], [3], None), ([yen(5)], [], yen(100)), ([], [], 500)],
)
def test_cumulative_draws_what_there_is(actual: list[Any], forecast: list[Any], budget: Any) -> None:
    svg = drawn(cumulative(actual, forecast, budget, first=FIRST, days=30, title="t", desc="d"))
    classes = [path.attrib["class"] for path in svg.iter("path")]
    expected = ["budget"] * (budget is not None) + ["ar-key", "cum"] * bool(actual) + ["cum fcl"] * bool(forecast)
    assert classes == expected


@pytest.mark.parametrize("values", [[], [3], [5, 5, 5], [0, 200, -10]])
def test_spark_stays_inside_its_box(values: list[int]) -> None:
    numbers = [float(n) for n in re.findall(r"[ML]([\d.-]+) [\d.-]+", spark(values, title="t", lo=0, hi=100))]
    heights = [float(n) for n in re.findall(r"[ML][\d.-]+ ([\d.-]+)", spark(values, title="t", lo=0, hi=100))]
    assert all(0 <= n <= 240 for n in numbers)
    assert all(0 <= n <= 44 for n in heights)


def test_bar_over_and_under_its_ends() -> None:
    assert [drawn(bar(p, label="x")).find("rect").attrib["width"] for p in (-5, 40, 140, None, Decimal("80.3"))] == [  # type: ignore[union-attr]
        "0.0", "40.0", "100.0", "0.0", "80.3",
    ]  # fmt: skip


def test_bar_in_full() -> None:
    assert bar(40, label="40%", forecast=80, tone="warn", thick=True, marks=[50]) == (
        '<svg class="bar thick" viewBox="0 0 100 8" preserveAspectRatio="none" role="img" aria-label="40%">'
        '<rect class="fcst" width="80.0" height="8"/><rect class="v warn" width="40.0" height="8"/>'
        '<line class="mk" x1="50" x2="50" y1="0" y2="8"/></svg>'
    )


def test_axis_ends_on_a_round_number_above_the_highest() -> None:
    assert {n: axis_top(n) for n in (0, 4, 5, 900, 109_000, 130_000, 3_300_000)} == {
        0: 4, 4: 4, 5: 8, 900: 1200, 109_000: 120_000, 130_000: 160_000, 3_300_000: 4_000_000,
    }  # fmt: skip


def test_axis_labels_count_in_the_units_of_the_language() -> None:
    values = (0, 3, 5000, 35_000, 120_000, 1_200_000, 250_000_000)
    assert [axis_label(v) for v in values] == ["0", "3", "5,000", "3.5万", "12万", "120万", "2.5億"]
    with translation.override("en"):
        assert [axis_label(v) for v in values] == ["0", "3", "5,000", "35K", "120K", "1.2M", "250M"]


def test_bars_and_legend_are_filled_with_the_patterns_of_their_own_chart() -> None:
    markup = stacked_days(month(2, sakura=1, highreso=2), SERIES, title="t", desc="d", prefix="a") + legend(SERIES, "a")
    patterns = set(re.findall(r'<pattern id="([^"]+)"', markup))
    assert set(re.findall(r"url\(#([^)]+)\)", markup)) == patterns == {"a-sakura", "a-highreso"}
