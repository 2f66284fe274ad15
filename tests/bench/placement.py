"""How long one decision takes: `python3 -m tests.bench.placement`, no database. The goal: 5 ms at 300 offers."""

from __future__ import annotations

import random
import statistics
import time
from decimal import Decimal

from portal.jobs.placement.rule import POLICY, Held, Strategy, place
from portal.jobs.placement.spelling import canonical, decision_json, input_json
from tests.jobs.placement.offers import NOW, offer, spec

OFFERS, DECISIONS = 300, 200


def main() -> None:
    chance = random.Random(7)
    some = [
        offer(
            str(number),
            provider=chance.choice("abc"),
            gpu_model=chance.choice(["H100", "V100", "GB200"]),
            memory_gb=chance.choice([32, 80, 186]),
            yen=Decimal(chance.randint(1, 900)) / 1000,
            seen_age_s=chance.randint(0, 600),
            bytes_per_s=chance.choice([None, 10**8]),
        )
        for number in range(OFFERS)
    ]
    for name, asked in (
        ("everything fits", spec(strategy=Strategy.FASTEST, data_bytes=10**12, data=(Held("a", 10**12),))),
        ("most are refused", spec(gpu_model="H100", memory_gb=80, cap_yen=500, strategy=Strategy.CLOSEST)),
    ):
        took = []
        for _ in range(DECISIONS):
            began = time.process_time()
            decision = place(asked, some, at=NOW, policy=POLICY)
            took.append((time.process_time() - began) * 1000)
        p95 = statistics.quantiles(took, n=20)[-1]
        began = time.process_time()
        bytes_stored = len(canonical(input_json(asked, some, at=NOW, policy=POLICY)))
        bytes_stored += len(canonical(decision_json(decision)))
        spelt_ms = (time.process_time() - began) * 1000
        print(
            f"{name}: {OFFERS} offers, {len(decision.candidates)} candidates: "
            f"a decision takes the processor p50 {statistics.median(took):.2f} ms, p95 {p95:.2f} ms; "
            f"spelt {spelt_ms:.1f} ms, {bytes_stored / 1000:.0f} kB"
        )


if __name__ == "__main__":
    main()
