"""Guided choice: pure, its rules by hand, its refusals and its nearest answers."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from django.utils import translation

from portal.catalog.availability import Standing
from portal.catalog.choosing import RULES, SIZES, Answers, Choice, Purpose, Way, choose, size_words
from portal.catalog.models import CapacityObservation, Offering, Price, Provider, ProviderAccount
from portal.catalog.offers import Offer

LORA_8B = Answers(Purpose.LORA, 8_000)


@pytest.fixture(autouse=True)
def _english(_japanese: None) -> None:
    translation.activate("en")


def offer(slug: str, *, cost: str | None = "1000", free: bool = True, provider: str = "sakura", **facts: Any) -> Offer:
    """A plan for jobs, with so many yen for a GPU and hour."""
    given = {
        "kind": "job", "gpu_model": "H100", "gpu_memory_gb": 80, "gpus_max": 8, "architecture": "amd64",
        "name_en": slug,
    }  # fmt: skip
    offering = Offering(slug=slug, provider=Provider(slug=provider), **{**given, **facts})
    price = Price(unit="hour", amount=Decimal(cost), per_gpu=True, confirmed=True) if cost else None
    seen = CapacityObservation(state="available", free_gpus=8) if free else None
    account = None if offering.on_request else ProviderAccount()
    amount = Decimal(cost) if cost else None
    return Offer(offering, 1, (price,) if price else (), amount, amount, Standing(account, seen))


def picked(choice: Choice) -> dict[str, tuple[str, int]]:
    return {p.way.value: (p.candidate.offer.offering.slug, p.candidate.gpus) for p in choice.picks}


def whys(choice: Choice) -> dict[str, str]:
    return {offer.offering.slug: why for offer, why in choice.others}


@pytest.mark.parametrize(
    ("purpose", "millions", "memory_gb", "operations"),
    [
        (Purpose.TRAIN, 1_000, 20, Decimal("1.2e20")),  # 6 x 1e9 x 20e9
        (Purpose.FINE_TUNE, 8_000, 160, Decimal("4.8e18")),  # 6 x 8e9 x 1e8
        (Purpose.LORA, 8_000, 24, Decimal("3.2e18")),  # 4 x 8e9 x 1e8
        (Purpose.INFER, 70_000, 168, Decimal("1.4e19")),  # 2 x 70e9 x 1e8
    ],
)
def test_memory_and_work_are_reckoned_by_the_rule_shown(
    purpose: Purpose, millions: int, memory_gb: int, operations: Decimal
) -> None:
    answers = Answers(purpose, millions)
    assert (answers.memory_gb, answers.operations) == (memory_gb, operations)
    assert str(RULES[purpose].memory_words) and str(RULES[purpose].work_words)


def test_time_and_cost_follow_from_work_gpu_and_price() -> None:
    """3.2e18 operations at 0.35 of 989 TFLOPS: 9,245 seconds on one H100, at 1,000 yen an hour 2,568 yen."""
    choice = choose([offer("h100", gpus_max=1)], LORA_8B)
    [cheapest, *_more] = choice.picks
    assert (cheapest.candidate.gpus, cheapest.candidate.seconds) == (1, 9245)
    assert cheapest.candidate.cost is not None and round(cheapest.candidate.cost) == 2568


def test_the_three_answers_are_the_cheapest_the_soonest_done_and_the_one_without_doubts() -> None:
    plans = [
        offer("cheap", cost="500", gpu_model="A100", gpus_max=1, gpu_memory_gb=40, free=False, architecture="arm64"),
        offer("quick", cost="9000", gpu_model="B200", gpu_memory_gb=180, provider="highreso", architecture="arm64"),
        offer("sound", cost="2000", gpus_max=1),
        offer("dear", cost="9999", gpus_max=1, free=False),
    ]
    choice = choose(plans, replace(LORA_8B, data="sakura"))
    assert picked(choice) == {"cheapest": ("cheap", 1), "fastest": ("quick", 8), "safest": ("sound", 1)}
    of = {pick.way: pick.why for pick in choice.picks}
    assert of[Way.SAFEST] == ["Nothing about it is in doubt.", "The data is there already."]
    assert of[Way.FASTEST][0] == "GPUs of it were free when somebody last looked."
    assert of[Way.FASTEST][-1] == "The data has to be copied first; that is in neither time nor cost."
    assert list(whys(choice)) == ["dear"]
    assert whys(choice)["dear"].endswith("1 doubt more than the safest.")
    assert (choose(plans, LORA_8B), choice.hindrances) == (choose(plans, LORA_8B), [])


def test_each_plan_that_cannot_is_told_with_its_own_reason() -> None:
    plans = [
        offer("fits", cost="1000"),
        offer("small", gpu_memory_gb=16, gpu_model="A4000", gpus_max=1),
        offer("dear", cost="90000"),
        offer("slow", gpu_model="V100", gpu_memory_gb=32, gpus_max=1),
        offer("unstated", gpu_model="", gpu_memory_gb=None),
        offer("asked", cost=None, kind="bare_metal", on_request=True),
    ]
    choice = choose(plans, replace(LORA_8B, budget=10_000, deadline_h=8))
    assert {slug for slug, _gpus in picked(choice).values()} == {"fits"}
    assert whys(choice) == {
        "small": "24 GB of GPU memory are needed; it has at most 16 GB with 1 GPU.",
        "dear": "It would cost about ¥231,125, more than ¥10,000.",
        "slow": "It would take about 20 h 19 min, longer than 8 h.",
        "unstated": "Its GPU model or memory is not stated, so nothing can be reckoned.",
        "asked": "Its price is on inquiry, so nobody can say whether the budget is enough.",
    }


def test_without_a_budget_a_plan_on_inquiry_may_be_an_answer_but_never_the_cheapest() -> None:
    asked = offer("asked", cost=None, kind="bare_metal", on_request=True)
    choice = choose([asked], LORA_8B)
    assert set(picked(choice)) == {"fastest", "safest"}
    assert "It cannot be begun from this portal." in choice.picks[-1].why


def test_of_equals_the_one_where_the_data_is_comes_first() -> None:
    plans = [offer("far", provider="kddi"), offer("near", provider="sakura")]
    assert picked(choose(plans, replace(LORA_8B, data="sakura")))["cheapest"][0] == "near"
    assert picked(choose(plans, LORA_8B))["cheapest"][0] == "far"


def test_more_gpus_than_one_node_has_are_taken_only_for_memory() -> None:
    plan = offer("cluster", gpus_min=4, gpus_step=4, gpus_max=72, gpus_per_node=4, gpu_model="GB200", gpu_memory_gb=186)
    assert picked(choose([plan], LORA_8B))["fastest"] == ("cluster", 4)
    assert picked(choose([plan], Answers(Purpose.FINE_TUNE, 120_000)))["fastest"] == ("cluster", 16)


@pytest.mark.parametrize(
    ("answers", "hindrances"),
    [
        (
            replace(LORA_8B, budget=100),
            ["The budget is too small. The nearest that works is ¥2,569.", "the largest model that works is 100M."],
        ),
        (
            Answers(Purpose.LORA, 32_000, deadline_h=1),
            ["The deadline is too near. The nearest that works is 5 h 08 min.", "the largest model that works is 3B."],
        ),
        (
            Answers(Purpose.LORA, 32_000, budget=100, deadline_h=1),
            [
                "Budget and deadline are both too small. The cheapest costs ¥10,273 and takes 5 h 08 min.",
                "the largest model that works is 100M.",
            ],
        ),
        (
            Answers(Purpose.TRAIN, 405_000),
            [
                "The model is too large for every plan: 8,100 GB of GPU memory are needed.",
                "the largest model that works is 3B.",
            ],
        ),
    ],
)
def test_impossible_answers_say_which_and_the_nearest_that_works(answers: Answers, hindrances: list[str]) -> None:
    choice = choose([offer("two", gpus_max=2, gpus_per_node=2)], answers)
    assert choice.picks == []
    assert [told.replace("With these answers ", "") for told in choice.hindrances] == hindrances


def test_no_job_longer_than_a_job_may_be_is_an_answer() -> None:
    choice = choose([offer("h100", gpus_max=8)], Answers(Purpose.TRAIN, 8_000))
    assert (choice.picks, len(choice.hindrances)) == ([], 2)
    assert whys(choice)["h100"].startswith("It would take about 32 d")


@pytest.mark.parametrize("purpose", Purpose)
@pytest.mark.parametrize("millions", SIZES)
@pytest.mark.parametrize(("budget", "deadline_h"), [(None, None), (50_000, None), (None, 24), (50_000, 24)])
def test_no_answer_ever_breaks_memory_budget_or_deadline(
    purpose: Purpose, millions: int, budget: int | None, deadline_h: int | None
) -> None:
    answers = Answers(purpose, millions, budget, deadline_h)
    plans = [
        offer("v100", gpu_model="V100", gpu_memory_gb=32, gpus_max=1, cost="230"),
        offer("h100", gpus_max=8, gpus_per_node=8),
        offer("gb200", gpus_min=4, gpus_step=4, gpus_max=72, gpu_model="GB200", gpu_memory_gb=186, cost=None),
    ]
    choice = choose(plans, answers)
    for pick in choice.picks:
        one = pick.candidate
        assert one.gpus * one.offer.offering.gpu_memory_gb >= answers.memory_gb and one.offer.offering.allows_gpus(
            one.gpus
        )
        assert budget is None or (one.cost is not None and one.cost <= budget)
        assert deadline_h is None or one.seconds <= deadline_h * 3600
    assert bool(choice.picks) != bool(choice.hindrances)
    assert len(choice.others) + len({p.candidate.offer.offering.slug for p in choice.picks}) == len(plans)


def test_sizes_are_named_as_people_name_models() -> None:
    assert [size_words(size) for size in (100, 8_000, 405_000)] == ["100M", "8B", "405B"]
    assert list(SIZES) == sorted(SIZES)
