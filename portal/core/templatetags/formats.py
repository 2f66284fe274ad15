"""Money, quantities and instants as people read them, in Japanese or English. Built in: no {% load %} is needed.

The patterns stand here as code, like Django's own conf/locale: rules, not sentences. None is shown as a dash.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal

from django import template
from django.utils import timezone
from django.utils.translation import get_language, pgettext

from portal.core.money import Money
from portal.core.periods import JST, BillingMonth, FiscalSpan

register = template.Library()

NOTHING = "–"
_AGO = ((60, 1, "秒", "s"), (3600, 60, "分", "min"), (86400, 3600, "時間", "h"), (604800, 86400, "日", "d"))
_WEEKDAYS = {"ja": "月火水木金土日", "en": ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")}
_MONTHS = ["January", "February", "March", "April", "May", "June", "July"]
_MONTHS += ["August", "September", "October", "November", "December"]


@register.filter
def yen(value: Money | Decimal | int | None, look: str = "") -> str:
    """¥1,234, parts of a yen cut off. `yen:"sign"` writes the plus of a difference too."""
    amount = _amount(value)
    if amount is None:
        return NOTHING
    whole = int(amount.quantize(Decimal(1), ROUND_DOWN))
    sign = "-" if whole < 0 else "+" if look == "sign" and whole > 0 else ""
    return f"{sign}¥{abs(whole):,}"


@register.filter
def unit_yen(value: Money | Decimal | int | None) -> str:
    """A unit price with its fraction of a yen: ¥0.28, ¥57.6, ¥1,008, at most two decimals. Under a yen, where two would
    tell too little (¥0.016 a second), the six that are stored."""
    amount = _amount(value)
    if amount is None:
        return NOTHING
    return f"{'-' if amount < 0 else ''}¥{_trimmed(abs(to_unit_price(amount)))}"


def to_unit_price(amount: Decimal) -> Decimal:
    """The number `unit_yen` shows, for files."""
    return amount.quantize(Decimal("0.01" if abs(amount) >= 1 else "0.000001"), ROUND_HALF_UP)


@register.filter
def tax_words(tax: str) -> str:
    """`"in"` or `"ex"`: what stands beside an amount."""
    if tax == "in":
        return pgettext("beside an amount", "(tax incl.)")
    return pgettext("beside an amount", "(tax excl.)")


@register.filter
def gpu_time(gpu_seconds: int | None) -> str:
    """What one job used, from whole GPU-seconds: 1,310.7 GPU時間, 12.5 GPU分, 38 GPU秒. Sums of jobs are in hours."""
    if gpu_seconds is None:
        return NOTHING
    if gpu_seconds < 60:
        return f"{gpu_seconds} {'GPU秒' if is_japanese() else 'GPU-second' if gpu_seconds == 1 else 'GPU-seconds'}"
    size, ja, en = (60, "GPU分", "GPU-minutes") if gpu_seconds < 3600 else (3600, "GPU時間", "GPU-hours")
    return f"{(Decimal(gpu_seconds) / size).quantize(Decimal('0.1'), ROUND_HALF_UP):,} {ja if is_japanese() else en}"


@register.filter
def duration(value: int | timedelta | None) -> str:
    """Whole seconds or a timedelta: 7秒, 1分7秒, 10分, 3時間, 3時間05分, 2日3時間."""
    if value is None:
        return NOTHING
    seconds = max(0, int(value.total_seconds()) if isinstance(value, timedelta) else int(value))
    minutes, s = divmod(seconds, 60)
    h, m = divmod(minutes, 60)
    if h >= 48 and h % 24:
        return f"{h // 24}日{h % 24}時間" if is_japanese() else f"{h // 24} d {h % 24} h"
    if h >= 48:
        return f"{h // 24}日" if is_japanese() else f"{h // 24} d"
    if h and not m:
        return f"{h}時間" if is_japanese() else f"{h} h"
    if h:
        return f"{h}時間{m:02}分" if is_japanese() else f"{h} h {m:02} min"
    if m and not s:
        return f"{m}分" if is_japanese() else f"{m} min"
    if m:
        return f"{m}分{s}秒" if is_japanese() else f"{m} min {s} s"
    return f"{s}秒" if is_japanese() else f"{s} s"


@register.filter
def bytes(value: int | None) -> str:
    """Decimal units: 16.1 GB, 1.2 MB, 812 B."""
    if value is None:
        return NOTHING
    size = Decimal(value)
    for unit in ("B", "KB", "MB", "GB", "TB"):
        shown = size.quantize(Decimal(1) if unit == "B" else Decimal("0.1"), ROUND_HALF_UP)
        if shown < 1000 or unit == "TB":
            return f"{shown:,} {unit}"
        size /= 1000
    raise AssertionError("unreachable")


@register.filter
def gb_days(value: Decimal | None) -> str:
    """Storage over time, from GB times days: 1,310.7 GB日; three decimals where one would show nothing."""
    if value is None:
        return NOTHING
    step = Decimal("0.001") if 0 < value < Decimal("0.1") else Decimal("0.1")
    return f"{value.quantize(step, ROUND_HALF_UP):,} {'GB日' if is_japanese() else 'GB-days'}"


@register.filter
def number(value: int | Decimal | None) -> str:
    """4,218; decimals as they are."""
    return NOTHING if value is None else f"{value:,}"


@register.filter
def percent(value: int | Decimal | float | None, decimals: int = 0) -> str:
    """Of a value in hundredths: 40 is 40%, and 34.8|percent:1 is 34.8%."""
    if value is None:
        return NOTHING
    step = Decimal(1).scaleb(-int(decimals))
    return f"{Decimal(str(value)).quantize(step, ROUND_HALF_UP):,}%"


@register.filter
def instant(at: datetime | None) -> str:
    """11月24日（火） 13:07 in Japan time; the year only when it is not this one."""
    if at is None:
        return NOTHING
    local = at.astimezone(JST)
    return f"{day(local.date())} {local:%H:%M}"


@register.filter
def instant_short(at: datetime | None) -> str:
    """For tables: 11/24 13:07, 24 Nov 13:07."""
    if at is None:
        return NOTHING
    local = at.astimezone(JST)
    return f"{day_short(local.date())} {local:%H:%M}"


@register.filter
def day(on: date | datetime | None) -> str:
    """11月24日（火）, Tue 24 Nov."""
    if on is None:
        return NOTHING
    on = _day(on)
    if is_japanese():
        return f"{'' if _this_year(on) else f'{on.year}年'}{on.month}月{on.day}日（{weekday(on)}）"
    return f"{weekday(on)} {on.day} {_MONTHS[on.month - 1][:3]}{'' if _this_year(on) else f' {on.year}'}"


@register.filter
def day_short(on: date | datetime | None) -> str:
    """11/24, 24 Nov."""
    if on is None:
        return NOTHING
    on = _day(on)
    if is_japanese():
        return f"{'' if _this_year(on) else f'{on.year}/'}{on.month}/{on.day}"
    return f"{on.day} {_MONTHS[on.month - 1][:3]}{'' if _this_year(on) else f' {on.year}'}"


@register.filter
def long_day(on: date | None) -> str:
    """For documents, which are read in other years too: 2026年11月24日, 24 November 2026."""
    if on is None:
        return NOTHING
    return f"{on.year}年{on.month}月{on.day}日" if is_japanese() else f"{on.day} {_MONTHS[on.month - 1]} {on.year}"


@register.filter
def month(value: BillingMonth | date | datetime | None) -> str:
    """2026年11月, November 2026."""
    if value is None:
        return NOTHING
    on = value if isinstance(value, BillingMonth) else _day(value)
    return f"{on.year}年{on.month}月" if is_japanese() else f"{_MONTHS[on.month - 1]} {on.year}"


@register.filter
def month_of_year(on: date) -> str:
    """4月, Apr: where the year stands beside it."""
    return f"{on.month}月" if is_japanese() else _MONTHS[on.month - 1][:3]


@register.filter
def span(value: FiscalSpan) -> str:
    """2026年度, 2026年度 前期（4〜9月）; fiscal 2026, Apr–Sep 2026."""
    first, last = value.months[0], value.months[-1]
    if is_japanese():
        half = ("", " 前期（4〜9月）", " 後期（10〜3月）")[value.half]
        return f"{value.year}年度{half}"
    names = f"{_MONTHS[first.month - 1][:3]}–{_MONTHS[last.month - 1][:3]} {last.year}"
    return names if value.half else f"Fiscal {value.year} ({_MONTHS[3][:3]} {value.year}–{_MONTHS[2][:3]} {last.year})"


@register.filter
def clock(at: datetime | None) -> str:
    """10:04:31 in Japan time."""
    return NOTHING if at is None else f"{at.astimezone(JST):%H:%M:%S}"


@register.filter
def ago(at: datetime | None) -> str:
    """3分前, 3 min ago; after a week the day itself."""
    if at is None:
        return NOTHING
    seconds = int((timezone.now() - at).total_seconds())
    if seconds < 10:
        return "たった今" if is_japanese() else "just now"
    for limit, size, ja, en in _AGO:
        if seconds < limit:
            return f"{seconds // size}{ja}前" if is_japanese() else f"{seconds // size} {en} ago"
    return day(at)


@register.filter
def iso(at: datetime | None) -> str:
    """For <time datetime="…">."""
    return "" if at is None else at.astimezone(JST).isoformat(timespec="seconds")


def weekday(on: date) -> str:
    """火, Tue."""
    return _WEEKDAYS["ja" if is_japanese() else "en"][on.weekday()]


def is_japanese() -> bool:
    return not (get_language() or "ja").startswith("en")


def _amount(value: Money | Decimal | int | None) -> Decimal | None:
    if value is None or value == "":
        return None
    if isinstance(value, float):
        raise TypeError("A float is not money.")
    return value.amount if isinstance(value, Money) else Decimal(value)


def _trimmed(amount: Decimal) -> str:
    whole, _, decimals = f"{amount:,f}".partition(".")
    decimals = decimals.rstrip("0")
    return f"{whole}.{decimals}" if decimals else whole


def _day(value: date | datetime) -> date:
    if isinstance(value, datetime):
        return value.astimezone(JST).date()
    return value


def _this_year(on: date) -> bool:
    return on.year == timezone.now().astimezone(JST).year
