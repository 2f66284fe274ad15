"""What the provider asks for: its own bill beside what it counted."""

from __future__ import annotations

from collections import Counter
from datetime import date, timedelta, timezone

from portal.providers.base import BillingStatement, Deletion, PriceList, RemoteCharge, RemoteJob
from portal.providers.conformance.bench import Bench
from portal.providers.conformance.kit import NotOffered, hold, promise

JAPAN = timezone(timedelta(hours=9))
ROUNDING_YEN = 1  # of a line; by which rule nobody says
USED = ("good", "exits_3", "speaks_slowly")  # samples that ran for seconds


@promise
def the_bill_of_today_names_the_plan_that_was_used(bench: Bench) -> str:
    """All jobs of the bench run on that one plan."""
    billed = _usage(_bill_of_the_day(bench))
    today = [job for name in USED if _day(job := bench.sample(name).job) == _day_of_the_bill(bench)]
    seconds = sum(job.gpu_seconds or 0 for job in today) // bench.target.gpus
    hold(bench.target.plan in billed, f"{sorted(billed)}")
    hold(
        billed[bench.target.plan] >= seconds,
        f"{billed[bench.target.plan]} s, and {len(today)} jobs alone ran {seconds} s",
    )
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


@promise
def a_job_that_was_deleted_stays_on_the_bill(bench: Bench) -> str:
    adapter = bench.ability(Deletion)
    job = bench.wait(bench.submit("sleep 1"))
    before = _usage(_bill_of_the_day(bench))
    adapter.delete(job.remote_id)
    after = _usage(_bill_of_the_day(bench))
    hold(all(after[plan] >= used for plan, used in before.items()), f"{dict(before)} before, {dict(after)} after")
    return f"{sum(before.values())} s before, {sum(after.values())} s after"


def _bill_of_the_day(bench: Bench) -> list[RemoteCharge]:
    """Of the day on which the last sample ended, once all are in. Raises NotOffered while the bill lags behind."""
    ends = [ended_at for name in USED if (ended_at := bench.sample(name).job.ended_at)]
    lines = _bill(bench)
    newest = max((line.last_upload_at for line in lines if line.last_upload_at), default=None)
    if newest is None or newest < max(ends):
        raise NotOffered(f"the bill does not know our jobs yet: it was brought up to date at {newest}")
    return lines


def _bill(bench: Bench, *, whole_month: bool = False) -> list[RemoteCharge]:
    adapter, day = bench.ability(BillingStatement), _day_of_the_bill(bench)
    return adapter.charges(year=day.year, month=day.month, day=None if whole_month else day.day)


def _day_of_the_bill(bench: Bench) -> date:
    return _day(bench.sample(USED[-1]).job)


def _day(job: RemoteJob) -> date:
    assert job.ended_at is not None
    return job.ended_at.astimezone(JAPAN).date()


def _usage(lines: list[RemoteCharge]) -> Counter[str]:
    used: Counter[str] = Counter()
    for line in lines:
        used[line.plan] += line.usage
    return used
