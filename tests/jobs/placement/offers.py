"""Needs and offers as values, plain ones and random ones."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from portal.jobs.placement.rule import Container, Held, Offer, Spec, Strategy

NOW = datetime(2026, 12, 1, 3, tzinfo=UTC)
HOUR = 3600


def spec(**changes: Any) -> Spec:
    return Spec(**{"gpus": 1, "time_limit_s": HOUR, "seed": "a form", **changes})


def offer(key: str = "1", **changes: Any) -> Offer:
    """An H100 of 80 GB at "a", 0.28 yen a second: 1,008 yen an hour; one was seen free a minute ago."""
    values: dict[str, Any] = {
        "key": key, "provider": "a", "gpu_model": "H100", "memory_gb": 80, "gpus_min": 1, "gpus_max": 8,
        "gpus_step": 1, "gpus_per_node": 8, "architecture": "amd64", "country": "JP", "longest_s": 24 * HOUR,
        "containers": True, "takes_logins": True, "yen": Decimal("0.28"), "unit_s": 1, "per_gpu": True, "minimum_s": 60,
        "seen": "available", "seen_age_s": 60,
    }  # fmt: skip
    return Offer(**{**values, **changes})


PROVIDERS = ["a", "b", "c"]
MEMORIES = [16, 32, 80, 96, 186]

specs = st.builds(
    Spec,
    gpus=st.integers(1, 16),
    time_limit_s=st.integers(60, 48 * HOUR),
    seed=st.text(max_size=5),
    cap_yen=st.none() | st.integers(1, 20_000),
    gpu_model=st.sampled_from(["", "", "H100", "V100"]),
    memory_gb=st.sampled_from([0, *MEMORIES]),
    nodes=st.integers(1, 4),
    architecture=st.sampled_from(["", "amd64", "arm64"]),
    provider=st.sampled_from(["", "", *PROVIDERS]),
    strategy=st.sampled_from(Strategy),
    deadline=st.none() | st.integers(0, 72 * HOUR).map(lambda s: NOW + timedelta(seconds=s)),
    container=st.sampled_from(Container),
    needs_login=st.booleans(),
    data_bytes=st.sampled_from([0, 1, 10**9, 10**12]),
    data=st.lists(st.builds(Held, st.sampled_from(PROVIDERS), st.sampled_from([0, 10**9, 10**12])), max_size=3).map(
        tuple
    ),
)


@st.composite
def offers(draw: st.DrawFn, most: int = 12) -> list[Offer]:
    count = draw(st.integers(0, most))
    return [replace(draw(_ANY), key=str(number)) for number in range(count)]


_ANY = st.builds(
    Offer,
    key=st.just(""),
    provider=st.sampled_from(PROVIDERS),
    gpu_model=st.sampled_from(["", "H100", "V100", "GB200"]),
    memory_gb=st.none() | st.sampled_from(MEMORIES),
    gpus_min=st.sampled_from([1, 4]),
    gpus_max=st.sampled_from([4, 8, 72]),
    gpus_step=st.sampled_from([1, 4]),
    gpus_per_node=st.sampled_from([1, 4, 8]),
    architecture=st.sampled_from(["amd64", "arm64"]),
    country=st.sampled_from(["JP", "JP", "JP", "US", ""]),
    longest_s=st.integers(HOUR, 480 * HOUR),
    containers=st.booleans(),
    takes_logins=st.booleans(),
    yen=st.decimals("0.001", "25", places=4),
    unit_s=st.sampled_from([1, 60, 3600]),
    per_gpu=st.booleans(),
    minimum_s=st.sampled_from([0, 60]),
    transfer_yen_per_gb=st.none() | st.decimals("0", "20", places=2),
    bytes_per_s=st.none() | st.integers(1, 10**9),
    answers=st.booleans(),
    seen=st.sampled_from(["", "available", "few", "full"]),
    seen_age_s=st.integers(0, 600),
    free_gpus=st.none() | st.integers(0, 16),
    line=st.integers(0, 2),
    past_tries=st.integers(0, 20),
    past_taken=st.integers(0, 20),
    past_wait_s=st.none() | st.integers(0, 9000),
    barred=st.sampled_from(["", "", "", "tried", "closed"]),
)
