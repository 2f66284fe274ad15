from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta, timezone
from decimal import Decimal

from hypothesis import given, settings

from portal.jobs.placement.rule import POLICY, Offer, Spec, place
from portal.jobs.placement.spelling import canonical, decision_json, input_json, place_again, read_decision, read_input
from tests.jobs.placement.offers import NOW, offer, offers, spec, specs


def told_of(asked: Spec, some: list[Offer]) -> dict:
    return input_json(asked, some, at=NOW, policy=POLICY)


@settings(max_examples=200, deadline=None)
@given(specs, offers(most=6))
def test_a_stored_input_decides_the_same_to_the_byte(asked: Spec, some: list[Offer]) -> None:
    decided = place(asked, some, at=NOW, policy=POLICY)
    stored = json.loads(json.dumps(told_of(asked, some)))
    assert canonical(decision_json(place_again(stored))) == canonical(decision_json(decided))
    assert read_decision(decision_json(decided)) == decided


def test_what_is_equal_has_equal_bytes() -> None:
    deadline = NOW + timedelta(hours=5)
    one = told_of(spec(deadline=deadline), [offer("1"), offer("2", yen=Decimal("0.3"))])
    tokyo = deadline.astimezone(timezone(timedelta(hours=9)))
    other = told_of(spec(deadline=tokyo), [offer("2", yen=Decimal("0.3000")), offer("1")])
    assert canonical(one) == canonical(other)
    assert canonical(one) != canonical(told_of(spec(), [offer("1"), offer("2", yen=Decimal("0.3"))]))


def test_what_was_told_before_a_field_was_there_is_read_with_its_default() -> None:
    told = told_of(spec(), [offer(line=3)])
    del told["offers"][0]["line"]
    told["offers"][0]["gone_since"] = "x"
    assert read_input(told) == (spec(), [replace(offer(), line=0)], NOW, POLICY)
