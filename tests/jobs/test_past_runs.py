from __future__ import annotations

from typing import Any

import pytest

from portal.accounts.models import Project
from portal.catalog.models import Price
from portal.jobs import past_runs
from portal.jobs.models import Job
from portal.jobs.past_runs import Expected, expected
from tests.factories import JobFactory, PriceFactory


@pytest.fixture
def price(db: None) -> Price:
    """0.28 yen a second, at least 60 s."""
    return PriceFactory()


def ran(project: Project, price: Price, *seconds: int, **fields: Any) -> list[Job]:
    values = {"project": project, "price": price, "state": "succeeded", "template": "train-digits", **fields}
    return [JobFactory(gpu_seconds=each * values.get("gpus", 1), **values) for each in seconds]


def of_digits(project: Project, price: Price, **changes: Any) -> Expected:
    return expected(project, price, **{"template": "train-digits", "gpus": 1, "high": 1008, **changes})


def test_the_likely_cost_is_the_middle_of_past_runs_at_the_price_of_now(project: Project, price: Price) -> None:
    ran(project, price, 1000, 100, 200, 30, 300, cost=7)
    assert of_digits(project, price) == Expected(low=16, likely=56, high=1008, runs=5)


def test_four_runs_say_nothing_and_the_least_is_the_minimum_charge(project: Project, price: Price) -> None:
    ran(project, price, 1000, 100, 200, 300)
    assert of_digits(project, price) == Expected(low=16, likely=None, high=1008, runs=4)


def test_only_jobs_like_it_count(project: Project, price: Price) -> None:
    ran(project, price, 100, 100, 100, 100)
    ran(project, price, 900, 900, state="failed")
    ran(project, price, 900, 900, template="")
    ran(project, price, 900, 900, gpus=2)
    ran(project, PriceFactory(), 900, 900)
    ran(JobFactory().project, price, 900, 900)
    later = ran(project, price, 900)
    assert of_digits(project, price, before=later[0]) == Expected(low=16, likely=None, high=1008, runs=4)
    assert of_digits(project, price) == Expected(low=28, likely=28, high=1008, runs=5)


def test_every_gpu_is_charged_for_the_same_time(project: Project, price: Price) -> None:
    price = PriceFactory(per_gpu=True)
    ran(project, price, 100, 100, 100, 100, 100, gpus=4)
    assert of_digits(project, price, gpus=4) == Expected(low=112, likely=112, high=1008, runs=5)


def test_nothing_is_said_to_cost_more_than_is_set_aside(project: Project, price: Price) -> None:
    ran(project, price, 1000, 1000, 1000, 1000, 1000)
    assert of_digits(project, price, high=10) == Expected(low=10, likely=10, high=10, runs=5)


def test_the_newest_runs_count_and_the_look_is_one_query_of_a_bounded_number_of_jobs(
    project: Project, price: Price, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any
) -> None:
    ran(project, price, *[900] * 5, *[100] * 20)
    with django_assert_num_queries(1):
        assert of_digits(project, price) == Expected(low=28, likely=28, high=1008, runs=20)
    ran(project, price, *[900] * 3, state="failed")
    monkeypatch.setattr(past_runs, "LOOKED_AT", 7)
    assert of_digits(project, price) == Expected(low=16, likely=None, high=1008, runs=4)
