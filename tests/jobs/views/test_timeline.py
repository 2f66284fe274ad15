from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils import translation

from portal.catalog.models import Offering, Price
from portal.jobs.models import Attempt, Job, JobEvent
from portal.jobs.states import FailureClass
from portal.jobs.views.timeline import cost_now, state_shown, timeline

START = datetime(2026, 11, 24, 4, 0, tzinfo=UTC)


def at(seconds: int) -> datetime:
    return START + timedelta(seconds=seconds)


def events(**entered: int) -> list[JobEvent]:
    return [JobEvent(after=state, at=at(seconds)) for state, seconds in entered.items()]


def shown(job: Job, seen: list[JobEvent], now: int) -> list[tuple[str, int | None]]:
    return [(step.status, step.seconds) for step in timeline(job, seen, now=at(now))]


@pytest.mark.parametrize(
    ("job", "seen", "now", "steps"),
    [
        (
            {"state": "queued"}, {"queued": 5}, 60,
            [("done", None), ("now", 60), ("", None), ("", None), ("", None), ("", None)],
        ),
        (
            {"state": "running", "started_at": at(90)}, {"queued": 5, "starting": 30, "running": 90}, 100,
            [("done", None), ("done", 30), ("done", 60), ("now", 10), ("", None), ("", None)],
        ),
        (
            {"state": "succeeded", "started_at": at(90), "ended_at": at(150)},
            {"starting": 30, "running": 90, "finishing": 155, "succeeded": 160}, 9999,
            [("done", None), ("done", 30), ("done", 60), ("done", 60), ("done", 5), ("done", None)],
        ),
        (  # stopped before it was sent
            {"state": "cancelled"}, {"cancelled": 20}, 9999,
            [("done", None), ("done", 20), ("skipped", None), ("skipped", None), ("skipped", None), ("ended", None)],
        ),
        (  # a provider that tells no preparing
            {"state": "failed", "started_at": at(40), "ended_at": at(50)},
            {"running": 40, "finishing": 52, "failed": 55}, 9999,
            [("done", None), ("done", 40), ("skipped", None), ("done", 10), ("done", 3), ("failed", None)],
        ),
    ],
)  # fmt: skip
def test_the_six_steps(
    job: dict[str, Any], seen: dict[str, int], now: int, steps: list[tuple[str, int | None]]
) -> None:
    assert shown(Job(submitted_at=START, **job), events(**seen), now) == steps


def test_after_a_second_try_the_newest_start_counts() -> None:
    seen = [*events(starting=10, submitted=20), *events(starting=50)]
    assert shown(Job(submitted_at=START, state="starting"), seen, 70)[1:3] == [("done", 50), ("now", 20)]


def test_a_job_that_begins_anew_has_waited_since_then() -> None:
    seen = [*events(submitted=0, running=10, finishing=40), *events(submitted=50)]
    steps = timeline(Job(submitted_at=START, state="submitted"), seen, now=at(70))
    assert [(step.status, step.seconds) for step in steps] == [
        ("done", None), ("now", 20), ("", None), ("", None), ("", None), ("", None),
    ]  # fmt: skip


def test_clocks_that_run_apart_give_no_negative_durations() -> None:
    job = Job(submitted_at=at(10), state="running", started_at=at(5))
    assert [step.seconds for step in timeline(job, [], now=START)] == [None, 0, None, 0, None, None]


@pytest.mark.parametrize(
    ("job", "attempt", "label"),
    [
        ({"state": "running"}, None, "Running"),
        ({"state": "running"}, "unknown", "Being checked"),
        ({"state": "cancelled"}, "unknown", "Stopped"),
        ({"state": "expired", "failure": FailureClass.OVER_BUDGET}, None, "Cost cap or budget reached"),
        ({"state": "expired", "failure": FailureClass.TIME_LIMIT}, None, "Time limit reached"),
        ({"state": "expired"}, None, "Ended at a limit"),
    ],
)
def test_a_state_is_said_more_exactly_where_one_word_would_mislead(
    job: dict[str, str], attempt: str | None, label: str
) -> None:
    with translation.override("en"):
        assert str(state_shown(Job(**job), Attempt(state=attempt) if attempt else None).label) == label


def costing(**changes: Any) -> Job:
    price = Price(unit="second", amount=Decimal("0.5"), per_gpu=True, minimum_s=60, tax_included=True)
    given = {
        "offering": Offering(),
        "price": price,
        "gpus": 2,
        "time_limit_s": 3600,
        "cost_cap": 1000,
        "state": "running",
    }
    return Job(**{**given, **changes})


@pytest.mark.parametrize(
    ("changes", "now", "used", "gpu_seconds", "is_live"),
    [
        ({"state": "queued"}, 500, 0, 0, False),
        ({"started_at": START}, 10, 60, 20, True),  # the minimum, from the first second
        ({"started_at": START}, 500, 500, 1000, True),
        ({"started_at": START}, 5000, 1000, 10_000, True),  # never more than the cap
        ({"started_at": START, "cost": 700}, 500, 700, 1000, True),  # what was charged already stands
        ({"started_at": START, "ended_at": at(100), "state": "finishing"}, 900, 100, 200, True),
        ({"started_at": START, "state": "succeeded", "cost": 321, "gpu_seconds": 642}, 900, 321, 642, False),
    ],
)
def test_cost_follows_the_clock_until_it_is_charged(
    changes: dict[str, Any], now: int, used: int, gpu_seconds: int, is_live: bool
) -> None:
    cost = cost_now(costing(**changes), now=at(now))
    assert (cost.used, cost.gpu_seconds, cost.is_live, cost.cap, cost.forecast) == (
        used,
        gpu_seconds,
        is_live,
        1000,
        1000,
    )
    assert (cost.used_percent, cost.forecast_percent) == (used // 10, 100)
