from datetime import date, timedelta

import pytest

from portal.billing.forecast import Outlook, days_to_come, outlook


def test_the_last_seven_full_days_repeat_by_weekday() -> None:
    by_day = {
        date(2026, 11, 16): {"sakura": 999},  # eight days ago: too old
        date(2026, 11, 18): {"sakura": 100, "kddi": 5},
        date(2026, 11, 23): {"highreso": 30},
        date(2026, 11, 24): {"sakura": 7777},  # today is not over
    }
    assert days_to_come(by_day, today=date(2026, 11, 24), last_day=date(2026, 12, 2)) == {
        date(2026, 11, 25): {"sakura": 100, "kddi": 5},
        date(2026, 11, 26): {},
        date(2026, 11, 27): {},
        date(2026, 11, 28): {},
        date(2026, 11, 29): {},
        date(2026, 11, 30): {"highreso": 30},
        date(2026, 12, 1): {},
        date(2026, 12, 2): {"sakura": 100, "kddi": 5},
    }


def test_no_use_in_them_is_no_forecast() -> None:
    by_day = {date(2026, 11, 24): {"sakura": 1}}
    assert days_to_come(by_day, today=date(2026, 11, 24), last_day=date(2026, 11, 30)) == {}


def test_the_last_day_of_the_month_has_nothing_to_come() -> None:
    by_day = {date(2026, 11, 29): {"sakura": 1}}
    assert days_to_come(by_day, today=date(2026, 11, 30), last_day=date(2026, 11, 30)) == {}


def spent_each(weekday: int, yen: int) -> dict[date, int]:
    """On that weekday of the four full weeks before Tuesday 24 November 2026, and long before and on that day too."""
    days = [date(2026, 11, 24) - timedelta(days=n) for n in range(1, 29)]
    lately = {day: yen for day in days if day.weekday() == weekday}
    return {**lately, date(2026, 10, 26): 10**9, date(2026, 11, 24): 10**9}


@pytest.mark.parametrize(
    ("limit", "expected", "runs_out_on"),
    [
        (1000, 1000, None),  # 400 are spent; six Fridays are left until the end of the year
        (999, 1000, date(2027, 1, 1)),
        (500, 1000, date(2026, 12, 4)),
        (400, 1000, date(2026, 11, 27)),
    ],
)
def test_a_budget_ends_where_its_weekdays_lead(limit: int, expected: int, runs_out_on: date | None) -> None:
    found = outlook(
        spent_each(4, 100), today=date(2026, 11, 24), first_day=date(2026, 4, 1), last_day=date(2027, 1, 3),
        posted=400, limit=limit,
    )  # fmt: skip
    assert found == Outlook(expected, runs_out_on)


def test_a_period_that_has_not_begun_is_counted_from_its_first_day() -> None:
    found = outlook(
        spent_each(4, 100), today=date(2026, 11, 24), first_day=date(2026, 12, 25), last_day=date(2027, 1, 1),
        posted=0, limit=1000,
    )  # fmt: skip
    assert found == Outlook(200, None)


def test_weekdays_are_averaged_and_cut_to_whole_yen_once_at_the_end() -> None:
    by_day = {date(2026, 11, 23): 3, date(2026, 11, 20): 3}  # a Monday and a Friday: 3/4 yen each
    days = {"today": date(2026, 11, 24), "first_day": date(2026, 11, 1), "last_day": date(2026, 11, 30)}
    assert outlook(by_day, posted=10, limit=11, **days) == Outlook(11, None)
    assert outlook(by_day, posted=10, limit=10, **days) == Outlook(11, date(2026, 11, 30))


def test_no_use_in_four_weeks_is_no_outlook() -> None:
    days = {"today": date(2026, 11, 24), "first_day": date(2026, 11, 1), "last_day": date(2026, 11, 30)}
    assert outlook({date(2026, 10, 26): 5}, posted=10, limit=11, **days) == Outlook(None, None)
