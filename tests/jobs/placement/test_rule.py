"""What a plan is refused for, how those that are left are ranked, and that no name decides."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portal.jobs.placement.rule import POLICY, Candidate, Container, Held, Offer, Reason, Spec, Strategy, Why, place
from portal.jobs.placement.rule import barred as bar
from tests.jobs.placement.offers import HOUR, NOW, PROVIDERS, offer, offers, spec, specs


def reasons(asked: Spec, one: Offer) -> list[Reason]:
    decision = place(asked, [one], at=NOW, policy=POLICY)
    return [reason for refusal in decision.refused for reason in refusal.reasons]


def ranked(asked: Spec, *some: Offer) -> list[str]:
    return [one.key for one in place(asked, some, at=NOW, policy=POLICY).candidates]


def reckoned(asked: Spec, one: Offer) -> Candidate:
    (candidate,) = place(asked, [one], at=NOW, policy=POLICY).candidates
    return candidate


def test_a_plan_that_meets_every_need_is_a_candidate_with_its_parts() -> None:
    assert reckoned(spec(), offer()) == Candidate(
        key="1", yen=1008, transfer_yen=0, transfer_yen_known=True, begins_s=0, wait_s=0, wait_from="seen",
        transfer_s=0, transfer_known=True, missing_bytes=0, answers=True, deadline_sure=True,
    )  # fmt: skip


# Each need with the value that it just allows and the one that it just refuses: without its rule the second is taken.
EDGES = [
    ({"gpu_model": "H100"}, {"gpu_model": "H100"}, {"gpu_model": "V100"}, Why.GPU_MODEL, {"has": "V100"}),
    ({"gpu_model": "H100"}, {"gpu_model": "H100"}, {"gpu_model": ""}, Why.GPU_MODEL, {"has": ""}),
    ({"memory_gb": 80}, {"memory_gb": 80}, {"memory_gb": 79}, Why.MEMORY, {"has_gb": 79}),
    ({"memory_gb": 80}, {"memory_gb": 96}, {"memory_gb": None}, Why.MEMORY, {"has_gb": None}),
    ({"gpus": 4}, {"gpus_max": 4}, {"gpus_max": 3}, Why.GPUS, {"nearest": 3}),
    ({"gpus": 3}, {"gpus_min": 3}, {"gpus_min": 4}, Why.GPUS, {"nearest": 4}),
    ({"gpus": 6}, {"gpus_min": 2, "gpus_step": 2}, {"gpus_min": 4, "gpus_step": 4}, Why.GPUS, {"nearest": 4}),
    ({"gpus": 8, "nodes": 2}, {"gpus_per_node": 4}, {"gpus_per_node": 3}, Why.NODES, {"needs": 3}),
    ({}, {"architecture": "amd64"}, {"architecture": "arm64"}, Why.ARCHITECTURE, {"has": "arm64"}),
    ({"provider": "a"}, {"provider": "a"}, {"provider": "b"}, Why.PROVIDER, {}),
    ({}, {"country": "JP"}, {"country": "US"}, Why.COUNTRY, {"has": "US"}),
    ({}, {"country": "JP"}, {"country": ""}, Why.COUNTRY, {"has": ""}),
    ({}, {"longest_s": HOUR}, {"longest_s": HOUR - 1}, Why.TIME_LIMIT, {"most_s": HOUR - 1}),
    ({"cap_yen": 1008}, {}, {"yen": Decimal("0.2801")}, Why.CAP, {"needs_yen": 1009}),
    ({"container": Container.NONE}, {"containers": False}, {"containers": True}, Why.NO_IMAGE, {}),
    ({"container": Container.NEEDED}, {"containers": True}, {"containers": False}, Why.NO_CONTAINERS, {}),
    ({"needs_login": True}, {"takes_logins": True}, {"takes_logins": False}, Why.LOGIN, {}),
    (
        {"deadline": NOW + timedelta(hours=1)}, {}, {"seen": "", "past_tries": 5, "past_taken": 5, "past_wait_s": 1},
        Why.DEADLINE, {"late_s": 1},
    ),
    ({}, {}, {"barred": "tried"}, Why.TRIED, {}),
    ({}, {}, {"barred": "unreachable"}, Why.UNREACHABLE, {}),
    ({}, {}, {"barred": "closed"}, Why.CLOSED, {}),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "good", "bad", "why", "numbers"), EDGES)
def test_each_need_refuses_what_just_breaks_it(asked, good, bad, why, numbers) -> None:
    assert reasons(spec(**asked), offer(**good)) == []
    assert reasons(spec(**asked), offer(**bad)) == [Reason(why, numbers)]


def test_every_reason_of_the_closed_list_is_tried_above() -> None:
    assert {why for _asked, _good, _bad, why, _numbers in EDGES} == set(Why)


def test_every_reason_is_told_not_the_first_alone() -> None:
    found = reasons(spec(gpu_model="V100", memory_gb=96, cap_yen=1000), offer())
    assert [one.why for one in found] == [Why.GPU_MODEL, Why.MEMORY, Why.CAP]


def test_any_architecture_must_be_said() -> None:
    assert reasons(spec(architecture=""), offer(architecture="arm64")) == []


def test_who_runs_images_needs_no_login_where_images_do_not_run() -> None:
    assert reasons(spec(needs_login=True), offer(containers=False, takes_logins=False)) == []


def test_the_least_that_is_charged_counts_against_the_cap() -> None:
    assert reckoned(spec(time_limit_s=60), offer(minimum_s=600)).yen == 168


@pytest.mark.parametrize(
    ("stands", "wait"),
    [
        ({}, (0, "seen")),
        ({"seen": "few", "free_gpus": 1}, (0, "seen")),
        ({"free_gpus": 0}, (3600, "assumed")),
        ({"seen_age_s": 301}, (3600, "assumed")),  # stale is not known
        ({"line": 1}, (7200, "assumed")),
        ({"seen": "", "line": 2, "past_tries": 5, "past_taken": 5, "past_wait_s": 90}, (10_800, "assumed")),
        ({"seen": "", "past_tries": 5, "past_taken": 5, "past_wait_s": 90}, (90, "past")),
        ({"seen": "", "past_tries": 4, "past_taken": 4, "past_wait_s": 90}, (3600, "assumed")),  # too few to tell
        ({"seen": "full", "past_tries": 5, "past_taken": 5, "past_wait_s": 90}, (3600, "assumed")),
        ({"seen": "full", "past_tries": 5, "past_taken": 5, "past_wait_s": 9000}, (9000, "assumed")),
        ({"past_tries": 6, "past_taken": 3}, (0, "seen")),
        ({"past_tries": 6, "past_taken": 2, "past_wait_s": 90}, (3600, "assumed")),  # it turns most away
    ],
)
def test_when_a_gpu_is_there(stands, wait) -> None:
    found = reckoned(spec(), offer(**stands))
    assert (found.wait_s, found.wait_from) == wait


def test_the_data_that_is_not_there_costs_time_and_yen() -> None:
    """100 GB, of which 40 are there: at 10 MB/s 100 minutes, and at 2 yen a GB 120 yen."""
    asked = spec(data_bytes=100 * 10**9, data=(Held("a", 40 * 10**9), Held("b", 100 * 10**9)))
    known = reckoned(asked, offer(bytes_per_s=10**7, transfer_yen_per_gb=Decimal(2)))
    assert (known.missing_bytes, known.transfer_s, known.transfer_known, known.begins_s) == (
        60 * 10**9,
        6000,
        True,
        6000,
    )
    assert (known.transfer_yen, known.transfer_yen_known, known.yen) == (120, True, 1128)
    unknown = reckoned(asked, offer())
    assert (unknown.transfer_s, unknown.transfer_known, unknown.transfer_yen_known, unknown.yen) == (
        2400, False, False, 1008,
    )  # fmt: skip
    assert reasons(replace(asked, cap_yen=1100), offer(transfer_yen_per_gb=Decimal(2))) == [
        Reason(Why.CAP, {"needs_yen": 1128})
    ]
    assert reckoned(asked, offer(provider="b")).transfer_known


def test_what_is_only_assumed_does_not_break_a_deadline_and_leaves_it_unsure() -> None:
    asked = spec(deadline=NOW + timedelta(hours=1))
    assert [reckoned(asked, offer(**how)).deadline_sure for how in ({}, {"seen": ""}, {"answers": False})] == [
        True, False, False,
    ]  # fmt: skip


CHEAP = offer("cheap", yen=Decimal("0.1"), seen="", provider="b")
FAST = offer("fast", provider="c", yen=Decimal("0.3"))
CLOSE = offer("close", yen=Decimal("0.2"), seen="")


@pytest.mark.parametrize(
    ("strategy", "order"),
    [
        (Strategy.CHEAPEST, ["cheap", "close", "fast"]),
        (Strategy.FASTEST, ["fast", "close", "cheap"]),
        (Strategy.CLOSEST, ["close", "cheap", "fast"]),
    ],
)
def test_the_wish_decides_the_order(strategy, order) -> None:
    asked = spec(strategy=strategy, data_bytes=10**9, data=(Held("a", 10**9),))
    assert ranked(asked, FAST, CHEAP, CLOSE) == order


def test_who_does_not_answer_comes_last() -> None:
    assert ranked(spec(), replace(CHEAP, answers=False), FAST) == ["fast", "cheap"]


def test_what_ties_is_drawn_by_the_seed_and_not_by_the_order() -> None:
    twins = [offer(str(number)) for number in range(6)]
    drawn = {seed: ranked(spec(seed=seed), *twins) for seed in "abcdefgh"}
    assert all(ranked(spec(seed=seed), *reversed(twins)) == order for seed, order in drawn.items())
    assert len({order[0] for order in drawn.values()}) > 2


def test_those_named_are_barred() -> None:
    assert [one.barred for one in bar([offer("1"), offer("2")], {"2": Why.TRIED})] == ["", "tried"]


def keeps_every_need(asked: Spec, some: list[Offer]) -> None:
    by_key = {one.key: one for one in some}
    decision = place(asked, some, at=NOW, policy=POLICY)
    assert {one.key for one in (*decision.candidates, *decision.refused)} == set(by_key)
    for candidate in decision.candidates:
        chosen = by_key[candidate.key]
        gpus_paid = asked.gpus if chosen.per_gpu else 1
        price = chosen.yen * gpus_paid * max(asked.time_limit_s, chosen.minimum_s) / chosen.unit_s
        assert asked.cap_yen is None or price <= asked.cap_yen
        assert chosen.country == "JP"
        assert asked.architecture in ("", chosen.architecture)
        assert not asked.memory_gb or (chosen.memory_gb or 0) >= asked.memory_gb
        assert asked.gpu_model in ("", chosen.gpu_model)
        assert asked.provider in ("", chosen.provider)
        assert chosen.gpus_min <= asked.gpus <= chosen.gpus_max
        assert asked.time_limit_s <= chosen.longest_s
        assert not chosen.barred


@settings(max_examples=500, deadline=None)
@given(specs, offers())
def test_no_candidate_breaks_a_need(asked: Spec, some: list[Offer]) -> None:
    keeps_every_need(asked, some)


@pytest.mark.faults_full
@pytest.mark.timeout(0)
@settings(max_examples=10_000, deadline=None)
@given(specs, offers())
def test_no_candidate_of_ten_thousand_breaks_a_need(asked: Spec, some: list[Offer]) -> None:
    keeps_every_need(asked, some)


@settings(max_examples=300, deadline=None)
@given(specs, offers(), st.permutations(PROVIDERS), st.randoms())
def test_other_names_and_another_order_change_nothing(asked, some, names, chance) -> None:
    renamed = dict(zip(PROVIDERS, names, strict=True))
    under_other_names = [replace(one, provider=renamed[one.provider]) for one in some]
    chance.shuffle(under_other_names)
    same_wish = replace(
        asked,
        provider=renamed.get(asked.provider, ""),
        data=tuple(replace(held, provider=renamed[held.provider]) for held in asked.data),
    )
    assert place(same_wish, under_other_names, at=NOW, policy=POLICY) == place(asked, some, at=NOW, policy=POLICY)
