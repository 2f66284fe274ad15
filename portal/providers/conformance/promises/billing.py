"""What the provider asks for: its own bill beside what it counted."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta, timezone

from portal.providers.base import BillingStatement, PriceList, RemoteCharge
from portal.providers.conformance.bench import Bench
from portal.providers.conformance.kit import NotOffered, hold, promise

JAPAN = timezone(timedelta(hours=9))
ROUNDING_YEN = 1  # of a line; by which rule nobody says


@promise
def the_bill_of_today_names_the_plan_that_was_used(bench: Bench) -> str:
    seconds = (bench.sample("good").job.gpu_seconds or 0) // bench.target.gpus
    billed = _usage(_bill_of_the_day(bench))
    hold(bench.target.plan in billed, f"{sorted(billed)}")
    hold(billed[bench.target.plan] >= seconds, f"{billed[bench.target.plan]} s, and one job alone ran {seconds} s")
    return f"{bench.target.plan}: {billed[bench.target.plan]} s"


@promise
def each_line_of_the_bill_is_its_usage_times_the_price(bench: Bench) -> str:
    prices = {offer.plan: offer.unit_price for offer in bench.ability(PriceList).offerings()}
    lines = _bill_of_the_day(bench)
    for line in lines:
        price = prices.get(line.plan)
        hold(price is not None, f"{line.plan} has no price")
        assert price is not None
        away = abs(line.amount - line.usage * price)
        hold(away < ROUNDING_YEN, f"{line.plan}: {line.amount} yen for {line.usage} s at {price}")
    return ", ".join(f"{line.usage} s are {line.amount} yen" for line in lines)


@promise
def the_bill_of_the_month_holds_that_of_the_day(bench: Bench) -> str:
    day, month = _usage(_bill_of_the_day(bench)), _usage(_bill(bench, whole_month=True))
    hold(all(month[plan] >= used for plan, used in day.items()), f"{dict(month)} in the month, {dict(day)} today")
    return f"{sum(day.values())} s of {sum(month.values())} s"


def _bill_of_the_day(bench: Bench) -> list[RemoteCharge]:
    """Of the day on which a sample ended, once it is in. Raises NotOffered while the bill lags behind."""
    ended_at = bench.sample("good").job.ended_at
    lines = _bill(bench)
    newest = max((line.last_upload_at for line in lines if line.last_upload_at), default=None)
    if newest is None or ended_at is None or newest < ended_at:
        raise NotOffered(f"the bill does not know our jobs yet: it was brought up to date at {newest}")
    return lines


def _bill(bench: Bench, *, whole_month: bool = False) -> list[RemoteCharge]:
    adapter, ended_at = bench.ability(BillingStatement), bench.sample("good").job.ended_at
    assert ended_at is not None
    day = ended_at.astimezone(JAPAN)
    return adapter.charges(year=day.year, month=day.month, day=None if whole_month else day.day)


def _usage(lines: list[RemoteCharge]) -> Counter[str]:
    used: Counter[str] = Counter()
    for line in lines:
        used[line.plan] += line.usage
    return used
