"""Needs, offers, and how the offers are ranked for the needs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import ROUND_CEILING, Decimal
from enum import StrEnum

GB = 10**9


@dataclass(frozen=True)
class Policy:
    """The numbers of the rule. Another number is another version."""

    version: str = "2026-12-01.2"
    stale_after_s: int = 300  # what was seen longer ago counts as not known
    assumed_wait_s: int = 3600  # where nobody can say how long a GPU is waited for
    assumed_bytes_per_s: int = 25_000_000  # where no rate was measured: 200 Mbit/s
    least_past: int = 5  # attempts from which something is learnt


POLICY = Policy()


class Strategy(StrEnum):
    CHEAPEST = "cheapest"
    FASTEST = "fastest"
    CLOSEST = "closest"  # to the data


class Container(StrEnum):
    """What the job says of container images."""

    NEEDED = "needed"  # an image of its own: only where images run
    POSSIBLE = "possible"  # the usual image: a cluster without containers will do
    NONE = "none"  # no image: only where none is needed


class Why(StrEnum):
    """Reasons for a refusal, a closed list. Each carries the numbers named beside it."""

    GPU_MODEL = "gpu_model"  # has
    MEMORY = "memory"  # has_gb, None where nobody states it
    GPUS = "gpus"  # nearest: the number it has that is nearest to the one asked for
    NODES = "nodes"  # needs
    ARCHITECTURE = "architecture"  # has
    PROVIDER = "provider"
    COUNTRY = "country"  # has, "" where nobody states it
    TIME_LIMIT = "time_limit"  # most_s
    CAP = "cap"  # needs_yen
    DEADLINE = "deadline"  # late_s
    NO_IMAGE = "no_image"  # runs images, and the job has none
    NO_CONTAINERS = "no_containers"  # runs no images, and the job needs its own
    LOGIN = "login"  # cannot log in to the registry of the image
    # Of a plan in this situation, told by whoever asks:
    TRIED = "tried"  # by an attempt before
    UNREACHABLE = "unreachable"  # its provider has not answered for a minute
    CLOSED = "closed"  # takes no jobs at this moment


@dataclass(frozen=True)
class Held:
    """So many bytes of the job's data are at that provider."""

    provider: str
    size_bytes: int


@dataclass(frozen=True)
class Spec:
    """What the job needs. `seed` decides what ties; anything that no provider has chosen."""

    gpus: int
    time_limit_s: int
    seed: str
    cap_yen: int | None = None  # tax included; None: nobody has said one yet
    gpu_model: str = ""  # "": any
    memory_gb: int = 0  # at least, of each GPU
    nodes: int = 1  # machines, at most
    architecture: str = "amd64"  # "": any
    provider: str = ""  # "": any
    strategy: Strategy = Strategy.CHEAPEST
    deadline: datetime | None = None  # the job has ended by then
    container: Container = Container.POSSIBLE
    needs_login: bool = False  # the image is of a registry that the organization has a login for
    country: str = "JP"
    data_bytes: int = 0
    data: tuple[Held, ...] = ()

    def wishes(self) -> list[str | int]:
        """What a person has said of the place, beside number, time and cap."""
        until = self.deadline.astimezone(UTC).isoformat() if self.deadline else ""
        return [self.gpu_model, self.memory_gb, self.nodes, self.architecture, self.provider, self.strategy, until]


@dataclass(frozen=True)
class Offer:
    """A plan as it stands at that moment. `key` and `provider` are opaque."""

    key: str
    provider: str
    gpu_model: str  # "": not stated
    memory_gb: int | None  # of each GPU
    gpus_min: int
    gpus_max: int
    gpus_step: int
    gpus_per_node: int
    architecture: str
    country: str  # "": not stated
    longest_s: int
    containers: bool
    takes_logins: bool
    yen: Decimal  # for `unit_s`, tax included, of one GPU or of the whole plan
    unit_s: int
    per_gpu: bool
    minimum_s: int
    transfer_yen_per_gb: Decimal | None = None  # None: nobody has published one
    bytes_per_s: int | None = None  # measured into it; None: nobody has
    answers: bool = True  # the provider, at our last call
    seen: str = ""  # available, few, full; "": nobody can say
    seen_age_s: int = 0
    free_gpus: int | None = None
    line: int = 0  # jobs in the portal's own line for it
    past_tries: int = 0  # of the last attempts there
    past_taken: int = 0  # how many of those the provider took
    past_wait_s: int | None = None  # the median of those that began
    barred: str = ""  # one of the last three of Why


@dataclass(frozen=True)
class Candidate:
    """`yen`: whole, rounded up, if it runs to its time limit. What is not known is reckoned by the policy, and said."""

    key: str
    yen: int  # all of it
    transfer_yen: int
    transfer_yen_known: bool
    begins_s: int  # all of it, from now
    wait_s: int
    wait_from: str  # seen: free now; past: the median of the last attempts; assumed
    transfer_s: int
    transfer_known: bool
    missing_bytes: int  # of the data, to bring
    answers: bool
    deadline_sure: bool


@dataclass(frozen=True)
class Reason:
    why: Why
    numbers: Mapping[str, int | str | None]


@dataclass(frozen=True)
class Refusal:
    key: str
    reasons: tuple[Reason, ...]


@dataclass(frozen=True)
class Decision:
    """`candidates`: the best first. `refused`: by key."""

    version: str
    candidates: tuple[Candidate, ...]
    refused: tuple[Refusal, ...]

    @property
    def first(self) -> Candidate | None:
        return self.candidates[0] if self.candidates else None


@dataclass(frozen=True)
class Placed:
    """A decision with all that it was made of."""

    spec: Spec
    offers: tuple[Offer, ...]
    at: datetime
    policy: Policy
    decision: Decision


def placed(spec: Spec, offers: Iterable[Offer], *, at: datetime, policy: Policy = POLICY) -> Placed:
    given = tuple(offers)
    return Placed(spec, given, at, policy, place(spec, given, at=at, policy=policy))


def place(spec: Spec, offers: Iterable[Offer], *, at: datetime, policy: Policy) -> Decision:
    """The same for the same needs and offers, whatever the order of the offers."""
    found, refused = [], []
    for offer in offers:
        candidate = _reckoned(spec, offer, policy)
        if reasons := _reasons(spec, offer, candidate, at):
            refused.append(Refusal(offer.key, tuple(reasons)))
        else:
            found.append(candidate)
    found.sort(key=lambda one: (not one.answers, *_RANKS[spec.strategy](one), _lot(spec, one.key)))
    refused.sort(key=lambda one: one.key)
    return Decision(policy.version, tuple(found), tuple(refused))


_RANKS = {
    Strategy.CHEAPEST: lambda one: (one.yen, one.begins_s),
    Strategy.FASTEST: lambda one: (one.begins_s, one.yen),
    Strategy.CLOSEST: lambda one: (one.missing_bytes, one.yen),
}


def _lot(spec: Spec, key: str) -> str:
    return hashlib.sha256(f"{spec.seed}\n{key}".encode()).hexdigest()


def _reckoned(spec: Spec, offer: Offer, policy: Policy) -> Candidate:
    here = max((held.size_bytes for held in spec.data if held.provider == offer.provider), default=0)
    missing = max(0, spec.data_bytes - here)
    transfer_yen = _whole(Decimal(missing) / GB * (offer.transfer_yen_per_gb or 0))
    transfer_s = -(-missing // (offer.bytes_per_s or policy.assumed_bytes_per_s))
    wait_s, wait_from = _wait(spec, offer, policy)
    transfer_known = not missing or offer.bytes_per_s is not None
    return Candidate(
        key=offer.key,
        yen=_whole(cost(offer, gpus=spec.gpus, seconds=spec.time_limit_s)) + transfer_yen,
        transfer_yen=transfer_yen,
        transfer_yen_known=not missing or offer.transfer_yen_per_gb is not None,
        begins_s=wait_s + transfer_s,
        wait_s=wait_s,
        wait_from=wait_from,
        transfer_s=transfer_s,
        transfer_known=transfer_known,
        missing_bytes=missing,
        answers=offer.answers,
        deadline_sure=wait_from != "assumed" and transfer_known and offer.answers,
    )


def cost(offer: Offer, *, gpus: int, seconds: int) -> Decimal:
    """Exact yen: at least the minimum duration of the price is charged."""
    units = Decimal(max(seconds, offer.minimum_s)) / offer.unit_s
    return offer.yen * units * (gpus if offer.per_gpu else 1)


def _wait(spec: Spec, offer: Offer, policy: Policy) -> tuple[int, str]:
    """A GPU is free now where enough were seen free lately, nobody stands in line, and the provider did not turn away
    most of the last attempts all the same."""
    fresh = offer.seen if offer.seen_age_s <= policy.stale_after_s else ""
    learnt = offer.past_tries >= policy.least_past
    turns_away = learnt and 2 * offer.past_taken < offer.past_tries
    enough = offer.free_gpus is None or offer.free_gpus >= spec.gpus
    if fresh in ("available", "few") and enough and not offer.line and not turns_away:
        return 0, "seen"
    # Those before had no such line in front of them, so it says nothing of what waits behind one.
    if fresh != "full" and not turns_away and not offer.line and offer.past_wait_s is not None and learnt:
        return offer.past_wait_s, "past"
    return max(policy.assumed_wait_s, offer.past_wait_s or 0) * (1 + offer.line), "assumed"


def _reasons(spec: Spec, offer: Offer, reckoned: Candidate, at: datetime) -> list[Reason]:
    found: list[Reason] = []

    def refuse(why: Why, **numbers: int | str | None) -> None:
        found.append(Reason(why, numbers))

    if offer.barred:
        refuse(Why(offer.barred))
    if offer.country != spec.country:
        refuse(Why.COUNTRY, has=offer.country)
    if spec.provider and offer.provider != spec.provider:
        refuse(Why.PROVIDER)
    if spec.gpu_model and offer.gpu_model != spec.gpu_model:
        refuse(Why.GPU_MODEL, has=offer.gpu_model)
    if spec.memory_gb and (offer.memory_gb is None or offer.memory_gb < spec.memory_gb):
        refuse(Why.MEMORY, has_gb=offer.memory_gb)
    if spec.architecture and offer.architecture != spec.architecture:
        refuse(Why.ARCHITECTURE, has=offer.architecture)
    if (nearest := nearest_count(offer, spec.gpus)) != spec.gpus:
        refuse(Why.GPUS, nearest=nearest)
    elif (needs := -(-spec.gpus // offer.gpus_per_node)) > spec.nodes:
        refuse(Why.NODES, needs=needs)
    if spec.time_limit_s > offer.longest_s:
        refuse(Why.TIME_LIMIT, most_s=offer.longest_s)
    if offer.containers and spec.container == Container.NONE:
        refuse(Why.NO_IMAGE)
    if not offer.containers and spec.container == Container.NEEDED:
        refuse(Why.NO_CONTAINERS)
    if offer.containers and spec.needs_login and not offer.takes_logins:
        refuse(Why.LOGIN)
    if nearest == spec.gpus and spec.cap_yen is not None and reckoned.yen > spec.cap_yen:
        refuse(Why.CAP, needs_yen=reckoned.yen)
    if (late_s := _late_s(spec, reckoned, at)) > 0:
        refuse(Why.DEADLINE, late_s=late_s)
    return found


def _late_s(spec: Spec, reckoned: Candidate, at: datetime) -> int:
    """By how much it is late for certain: what is only assumed does not refuse a plan."""
    if spec.deadline is None:
        return 0
    wait_s = 0 if reckoned.wait_from == "assumed" else reckoned.wait_s
    transfer_s = reckoned.transfer_s if reckoned.transfer_known else 0
    return wait_s + transfer_s + spec.time_limit_s - (spec.deadline - at) // timedelta(seconds=1)


def nearest_count(offer: Offer, gpus: int) -> int:
    """The number of GPUs that the plan has and that is nearest to that one; of two the smaller."""
    if gpus <= offer.gpus_min:
        return offer.gpus_min
    most = offer.gpus_max - (offer.gpus_max - offer.gpus_min) % offer.gpus_step
    below = min(most, gpus - (gpus - offer.gpus_min) % offer.gpus_step)
    above = min(most, below + offer.gpus_step)
    return above if above - gpus < gpus - below and above != below else below


def _whole(yen: Decimal) -> int:
    return int(yen.to_integral_value(ROUND_CEILING))


def barred(offers: Iterable[Offer], reasons: Mapping[str, Why]) -> list[Offer]:
    """The same offers; those named by their key are refused for that reason."""
    return [replace(one, barred=reasons[one.key]) if one.key in reasons else one for one in offers]
