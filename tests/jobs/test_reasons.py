"""Every reason of the closed list and every part of a score has its words."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import translation

from portal.catalog.models import Offering
from portal.jobs.placement.rule import POLICY, Candidate, Held, Offer, Reason, Spec, Why, place, placed
from portal.jobs.reasons import Obstacle, begins_words, data_words, obstacles, reason_words, rows_of
from tests.jobs.placement.offers import HOUR, NOW, offer, spec

NUMBERS = {
    "has": "arm64", "has_gb": 40, "nearest": 4, "needs": 2, "most_s": HOUR, "needs_yen": 1008, "late_s": 60,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _english():
    with translation.override("en"):
        yield


def reckoned(asked: Spec, one: Offer) -> Candidate:
    (candidate,) = place(asked, [one], at=NOW, policy=POLICY).candidates
    return candidate


@pytest.mark.parametrize("language", ["ja", "en"])
def test_each_reason_is_said(language: str) -> None:
    with translation.override(language):
        said = [reason_words(Reason(why, NUMBERS), spec()) for why in Why]
    assert len(set(said)) == len(Why)
    assert all("%(" not in sentence for sentence in said)
    if language == "ja":
        assert [sentence for sentence in said if sentence.isascii()] == []


def test_what_is_not_stated_is_said_to_be_so() -> None:
    nothing = [
        Reason(Why.GPU_MODEL, {"has": ""}),
        Reason(Why.MEMORY, {"has_gb": None}),
        Reason(Why.COUNTRY, {"has": ""}),
    ]
    assert [reason_words(one, spec()) for one in nothing] == [
        "The GPU model is not stated",
        "The GPU's memory is not stated",
        "Nobody states the country of its machines",
    ]


def test_when_it_begins() -> None:
    learnt = {"seen": "", "past_tries": 9, "past_taken": 9, "past_wait_s": 120}
    ends_in_time = spec(deadline=NOW + timedelta(hours=9))
    assert [
        begins_words(reckoned(spec(), offer()), spec()),
        begins_words(reckoned(spec(), offer(**learnt)), spec()),
        begins_words(reckoned(spec(), offer(**{**learnt, "past_wait_s": 0})), spec()),
        begins_words(reckoned(spec(), offer(**learnt, line=3)), spec()),
        begins_words(reckoned(spec(), offer(seen="")), spec()),
        begins_words(reckoned(spec(), offer(answers=False)), spec()),
        begins_words(reckoned(ends_in_time, offer()), ends_in_time),
        begins_words(reckoned(ends_in_time, offer(seen="")), ends_in_time),
    ] == [
        "At once: a free GPU was seen",
        "In about 2 min, as the last jobs there",
        "In about 0 s, as the last jobs there",
        "Not known; reckoned with 4 h",
        "Not known; reckoned with 1 h",
        "The provider does not answer at the moment",
        "At once: a free GPU was seen",
        "Not known; reckoned with 1 h. Whether it ends in time is not sure",
    ]


def test_the_way_of_the_data() -> None:
    asked = spec(data_bytes=10**10, data=(Held("a", 10**10),))
    far = {"provider": "b"}
    assert [
        data_words(reckoned(spec(), offer()), spec()),
        data_words(reckoned(asked, offer()), asked),
        data_words(reckoned(asked, offer(**far)), asked),
        data_words(reckoned(asked, offer(**far, bytes_per_s=10**8, transfer_yen_per_gb=Decimal(2))), asked),
    ] == [
        "",
        "All of it is there",
        "10.0 GB to bring; the rate is not known, reckoned with 6 min 40 s",
        "10.0 GB to bring, about 1 min 40 s, for ¥20",
    ]


def test_candidates_come_first_then_what_is_refused_for_least() -> None:
    some = [offer("1"), offer("2", memory_gb=40, architecture="arm64"), offer("3", memory_gb=40)]
    asked = spec(memory_gb=80)
    offerings = {key: Offering(slug=f"plan-{key}", name_en=f"Plan {key}") for key in "123"}
    rows = rows_of(place(asked, some, at=NOW, policy=POLICY), asked, offerings)
    assert [(row.offering.slug, row.rank, row.yen, row.reasons) for row in rows] == [
        ("plan-1", 1, 1008, ()),
        ("plan-3", 0, 0, ["40 GB of memory for each GPU"]),
        ("plan-2", 0, 0, ["40 GB of memory for each GPU", "Runs programs built for Arm (arm64)"]),
    ]


def test_without_any_plan_it_says_so() -> None:
    assert obstacles(placed(spec(), [], at=NOW), {}) == [
        Obstacle("offering", "No plan takes jobs now. Your draft is kept; come back later.")
    ]
