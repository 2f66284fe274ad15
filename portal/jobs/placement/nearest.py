"""What comes nearest to needs that no plan meets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from portal.jobs.placement.rule import Decision, Refusal, Why


def nearest(decision: Decision) -> Sequence[Refusal]:
    """Of a decision without candidates: the plans that come nearest, those with the fewest reasons, one for each set of
    reasons. What has to give way is one of these."""
    least = min((len(one.reasons) for one in decision.refused), default=0)
    found: dict[tuple[Why, ...], Refusal] = {}
    for one in decision.refused:
        if len(one.reasons) == least:
            whys = tuple(reason.why for reason in one.reasons)
            found[whys] = min(found.get(whys, one), one, key=_distance)
    return [found[whys] for whys in sorted(found)]


def _distance(refusal: Refusal) -> tuple[int, ...]:
    """Less is nearer, among plans refused for the same reasons."""
    return tuple(_FAR.get(reason.why, lambda numbers: 0)(reason.numbers) for reason in refusal.reasons)


_FAR: dict[Why, Any] = {
    Why.MEMORY: lambda numbers: -(numbers["has_gb"] or 0),
    Why.GPUS: lambda numbers: -numbers["nearest"],
    Why.NODES: lambda numbers: numbers["needs"],
    Why.TIME_LIMIT: lambda numbers: -numbers["most_s"],
    Why.CAP: lambda numbers: numbers["needs_yen"],
    Why.DEADLINE: lambda numbers: numbers["late_s"],
}
