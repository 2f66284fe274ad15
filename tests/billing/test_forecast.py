from datetime import date

from portal.billing.forecast import days_to_come


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
