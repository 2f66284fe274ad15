"""One spelling of what goes into a decision and comes out of it: equal things are equal bytes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from portal.jobs.placement.rule import (
    Candidate,
    Container,
    Decision,
    Held,
    Offer,
    Policy,
    Reason,
    Refusal,
    Spec,
    Strategy,
    Why,
    place,
)


def input_json(spec: Spec, offers: Iterable[Offer], *, at: datetime, policy: Policy) -> dict[str, Any]:
    """All that `place` is given, as JSON knows it: Decimals as text, instants as ISO 8601, offers by their key."""
    told = {
        "spec": {**asdict(spec), "data": sorted((asdict(held) for held in spec.data), key=_spelt)},
        "offers": [asdict(offer) for offer in sorted(offers, key=lambda one: one.key)],
        "at": at,
        "policy": asdict(policy),
    }
    plain: dict[str, Any] = json.loads(_spelt(told))
    return plain


def decision_json(decision: Decision) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(_spelt(asdict(decision)))
    return plain


def canonical(plain: Mapping[str, Any]) -> bytes:
    """Of `input_json` or `decision_json`: equal things are equal bytes."""
    return _spelt(plain).encode()


def place_again(told: Mapping[str, Any]) -> Decision:
    """`place` of what `input_json` has told."""
    spec, offers, at, policy = read_input(told)
    return place(spec, offers, at=at, policy=policy)


def read_input(told: Mapping[str, Any]) -> tuple[Spec, list[Offer], datetime, Policy]:
    """A field that was not there yet when it was told has its default."""
    spec = _known(Spec, told["spec"])
    spec["strategy"], spec["container"] = Strategy(spec["strategy"]), Container(spec["container"])
    spec["deadline"] = datetime.fromisoformat(spec["deadline"]) if spec["deadline"] else None
    spec["data"] = tuple(Held(**_known(Held, held)) for held in spec["data"])
    offers = [_offer(one) for one in told["offers"]]
    return Spec(**spec), offers, datetime.fromisoformat(told["at"]), Policy(**_known(Policy, told["policy"]))


def read_decision(told: Mapping[str, Any]) -> Decision:
    candidates = tuple(Candidate(**_known(Candidate, one)) for one in told["candidates"])
    refused = tuple(
        Refusal(one["key"], tuple(Reason(Why(r["why"]), r["numbers"]) for r in one["reasons"]))
        for one in told["refused"]
    )
    return Decision(told["version"], candidates, refused)


def _offer(told: Mapping[str, Any]) -> Offer:
    values = _known(Offer, told)
    values["yen"] = Decimal(values["yen"])
    if values["transfer_yen_per_gb"] is not None:
        values["transfer_yen_per_gb"] = Decimal(values["transfer_yen_per_gb"])
    return Offer(**values)


def _known(kind: Any, told: Mapping[str, Any]) -> dict[str, Any]:
    names = {one.name for one in fields(kind)}
    return {name: value for name, value in told.items() if name in names}


def _spelt(told: Any) -> str:
    return json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=_text)


def _text(value: object) -> str:
    if isinstance(value, Decimal):
        return format(value.normalize(), "f")  # 0.28 and 0.280 are equal
    assert isinstance(value, datetime)
    return value.astimezone(UTC).isoformat()
