from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from django.utils import translation

from portal.core.money import yen as money
from portal.core.periods import BillingMonth
from portal.core.templatetags import formats

AT = datetime(2026, 11, 24, 4, 7, 31, tzinfo=UTC)  # 13:07:31 in Japan, a Tuesday


@pytest.fixture(autouse=True)
def _now() -> Any:
    with time_machine.travel(datetime(2026, 11, 24, 4, 10, tzinfo=UTC), tick=False):
        yield


def both(filter_: Callable[..., str], *args: Any) -> tuple[str, str]:
    shown = []
    for language in ("ja", "en"):
        with translation.override(language):
            shown.append(filter_(*args))
    return shown[0], shown[1]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1234567, "¥1,234,567"), (money("0.9"), "¥0"), (money("-0.9"), "¥0"), (Decimal("-1234.5"), "-¥1,234"),
        (0, "¥0"), (None, "–"), ("", "–"),
    ],
)  # fmt: skip
def test_yen(value: Any, shown: str) -> None:
    assert both(formats.yen, value) == (shown, shown)


def test_yen_with_sign_shows_the_direction_of_a_difference() -> None:
    assert [formats.yen(n, "sign") for n in (1200, -1200, 0)] == ["+¥1,200", "-¥1,200", "¥0"]


def test_a_float_is_never_shown_as_money() -> None:
    with pytest.raises(TypeError):
        formats.yen(1.5)  # type: ignore[arg-type]


def test_unit_price_keeps_its_fraction_of_a_yen() -> None:
    prices = ["0.28", "0.016", "57.60", "373.5", "1008", "1000.00", "-0.5", "1E+3", "0"]
    assert [formats.unit_yen(Decimal(p)) for p in prices] == [
        "¥0.28", "¥0.016", "¥57.6", "¥373.5", "¥1,008", "¥1,000", "-¥0.5", "¥1,000", "¥0",
    ]  # fmt: skip


def test_unit_price_without_tax_has_two_decimals_at_most_whatever_its_size() -> None:
    assert [formats.unit_yen(Decimal(p) / Decimal("1.1")) for p in ("0.28", "50", "57.6", "361", "2988")] == [
        "¥0.254545", "¥45.45", "¥52.36", "¥328.18", "¥2,716.36",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("gpu_seconds", "ja", "en"),
    [
        (4_718_520, "1,310.7 GPU時間", "1,310.7 GPU-hours"),
        (3600, "1.0 GPU時間", "1.0 GPU-hours"),
        (750, "12.5 GPU分", "12.5 GPU-minutes"),
        (38, "38 GPU秒", "38 GPU-seconds"),
        (1, "1 GPU秒", "1 GPU-second"),
        (0, "0 GPU秒", "0 GPU-seconds"),
        (None, "–", "–"),
    ],
)
def test_gpu_time(gpu_seconds: int | None, ja: str, en: str) -> None:
    assert both(formats.gpu_time, gpu_seconds) == (ja, en)


@pytest.mark.parametrize(
    ("value", "ja", "en"),
    [
        (7, "7秒", "7 s"),
        (67, "1分7秒", "1 min 7 s"),
        (600, "10分", "10 min"),
        (10_800, "3時間", "3 h"),
        (11_100, "3時間05分", "3 h 05 min"),
        (timedelta(hours=2, minutes=40, seconds=59), "2時間40分", "2 h 40 min"),
        (47 * 3600 + 3599, "47時間59分", "47 h 59 min"),
        (51 * 3600, "2日3時間", "2 d 3 h"),
        (72 * 3600, "3日", "3 d"),
        (-5, "0秒", "0 s"),
        (None, "–", "–"),
    ],
)
def test_duration(value: Any, ja: str, en: str) -> None:
    assert both(formats.duration, value) == (ja, en)


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (0, "0 B"), (999, "999 B"), (1000, "1.0 KB"), (999_949, "999.9 KB"), (999_950, "1.0 MB"),
        (16_100_000_000, "16.1 GB"), (5 * 10**15, "5,000.0 TB"), (None, "–"),
    ],
)  # fmt: skip
def test_bytes_are_decimal(size: int | None, shown: str) -> None:
    assert formats.bytes(size) == shown


def test_instants_are_japan_time_and_name_the_year_only_when_it_is_another() -> None:
    assert both(formats.instant, AT) == ("11月24日（火） 13:07", "Tue 24 Nov 13:07")
    assert both(formats.instant_short, AT) == ("11/24 13:07", "24 Nov 13:07")
    last_year = AT.replace(year=2025)
    assert both(formats.instant, last_year) == ("2025年11月24日（月） 13:07", "Mon 24 Nov 2025 13:07")
    assert both(formats.instant_short, last_year) == ("2025/11/24 13:07", "24 Nov 2025 13:07")
    assert formats.clock(AT) == "13:07:31"
    assert formats.iso(AT) == "2026-11-24T13:07:31+09:00"


def test_this_year_is_the_year_in_japan() -> None:
    with time_machine.travel(datetime(2026, 12, 31, 15, 0, tzinfo=UTC), tick=False):  # New Year's Day in Tokyo
        assert both(formats.day, date(2027, 1, 1)) == ("1月1日（金）", "Fri 1 Jan")
        assert both(formats.day, datetime(2026, 12, 31, 15, 0, tzinfo=UTC)) == ("1月1日（金）", "Fri 1 Jan")
        assert both(formats.day_short, date(2026, 12, 31)) == ("2026/12/31", "31 Dec 2026")


def test_month() -> None:
    assert both(formats.month, BillingMonth(2026, 11)) == ("2026年11月", "November 2026")
    assert both(formats.month, date(2026, 4, 3)) == ("2026年4月", "April 2026")


@pytest.mark.parametrize(
    ("seconds", "ja", "en"),
    [
        (3, "たった今", "just now"), (-3, "たった今", "just now"), (45, "45秒前", "45 s ago"),
        (200, "3分前", "3 min ago"), (7300, "2時間前", "2 h ago"), (90_000, "1日前", "1 d ago"),
        (9 * 86400, "11月15日（日）", "Sun 15 Nov"),
    ],
)  # fmt: skip
def test_ago(seconds: int, ja: str, en: str) -> None:
    assert both(formats.ago, datetime.now(UTC) - timedelta(seconds=seconds)) == (ja, en)


def test_percent_and_number() -> None:
    assert [formats.percent(v) for v in (40, Decimal("40.5"), 99.4, None)] == ["40%", "41%", "99%", "–"]
    assert formats.percent(Decimal("34.84"), 1) == "34.8%"
    assert [formats.number(v) for v in (4218, Decimal("1.5"), None)] == ["4,218", "1.5", "–"]


@pytest.mark.parametrize("name", ["instant", "instant_short", "day", "day_short", "month", "clock", "ago", "gpu_time"])
def test_unknown_is_a_dash(name: str) -> None:
    assert getattr(formats, name)(None) == "–"


def test_days_on_documents_always_have_their_year() -> None:
    assert both(formats.long_day, date(2026, 11, 4)) == ("2026年11月4日", "4 November 2026")
    assert both(formats.long_day, None) == ("–", "–")
