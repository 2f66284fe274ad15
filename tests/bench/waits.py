"""How often a job begins within the time that nine of ten were promised to: weeks that the rule has not seen.

    DJANGO_SETTINGS_MODULE=portal.settings .venv/bin/python -m tests.bench.waits [--weeks 20] [--seed 1]

Simulated places of some GPUs, first come, first served: people come by day more than by night and less at weekends,
runs are short for most and long for few. The rule (portal/jobs/waits.py) learns from the weeks before, day by day, and
is asked for every job of the next one. Prints the share that began within P90 and P50 for each kind of place.
"""

from __future__ import annotations

import argparse
import heapq
import random
from collections.abc import Iterator
from dataclasses import dataclass

import django

if __name__ == "__main__":
    django.setup()

from portal.jobs import waits
from portal.jobs.waits import Start, expected

HOUR_S, DAY_S, WEEK_S = 3_600, 86_400, 604_800
LEARNED_S = int(waits.LEARNED_FROM.total_seconds())


@dataclass(frozen=True)
class Place:
    """`load`: the share of its GPUs' time that is asked for by day at the busiest hour."""

    name: str
    gpus: int
    load: float
    mean_run_s: int


PLACES = (
    Place("never full", 16, 0.5, 3_600),
    Place("full by day", 8, 1.1, 3_600),
    Place("few and long", 4, 0.9, 4 * HOUR_S),
    Place("many and short", 32, 1.15, 900),
)
START_UP_S = (5, 90)  # an image is fetched, a machine wakes


@dataclass(frozen=True)
class Job:
    at_s: float
    began_s: float

    @property
    def hour(self) -> int:
        return int(self.at_s % DAY_S // HOUR_S)

    @property
    def wait_s(self) -> int:
        return int(self.began_s - self.at_s)


def simulated(place: Place, *, weeks: int, seed: int) -> list[Job]:
    """In the order in which they came."""
    chance = random.Random(f"{place.name} {seed}")
    free = [0.0] * place.gpus
    jobs = []
    for at in _arrivals(place, weeks, chance):
        gpu = heapq.heappop(free)
        began = max(at, gpu) + chance.uniform(*START_UP_S)
        heapq.heappush(free, began + place.mean_run_s * chance.lognormvariate(-0.72, 1.2))
        jobs.append(Job(at, began))
    return jobs


def _arrivals(place: Place, weeks: int, chance: random.Random) -> Iterator[float]:
    """A Poisson process whose rate goes with the hour and the day: thinned from the busiest."""
    most_a_second = place.load * place.gpus / place.mean_run_s
    at = 0.0
    while at < weeks * WEEK_S:
        at += chance.expovariate(most_a_second)
        hour, day = at % DAY_S / HOUR_S, int(at // DAY_S) % 7
        share = (1.0 if 10 <= hour < 18 else 0.6 if 8 <= hour < 22 else 0.25) * (0.4 if day >= 5 else 1.0)
        if chance.random() < share:
            yield at


@dataclass
class Kept:
    asked: int = 0
    within_most: int = 0
    within_half: int = 0
    unsaid: int = 0

    @property
    def most(self) -> float:
        return self.within_most / self.asked

    @property
    def half(self) -> float:
        return self.within_half / self.asked


def held_out(jobs: list[Job], *, weeks: int) -> Kept:
    """Each job of the weeks after the first four, by what had begun before its day."""
    kept = Kept()
    for day in range(28, weeks * 7):
        begin = day * DAY_S
        known = [Start(j.hour, j.wait_s) for j in jobs if begin - LEARNED_S <= j.at_s and j.began_s < begin]
        known = known[:: max(1, len(known) // waits.MOST_STARTS)]
        by_hour = {hour: expected(known, hour=hour) for hour in range(24)}
        for job in jobs:
            if begin <= job.at_s < begin + DAY_S:
                said = by_hour[job.hour]
                if said is None:
                    kept.unsaid += 1
                    continue
                kept.asked += 1
                kept.within_most += job.wait_s <= said.most_s
                kept.within_half += job.wait_s <= said.half_s
    return kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weeks", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    for place in PLACES:
        jobs = simulated(place, weeks=options.weeks, seed=options.seed)
        kept = held_out(jobs, weeks=options.weeks)
        ordered = sorted(job.wait_s for job in jobs)
        print(
            f"{place.name}: {len(jobs)} jobs, waits p50 {ordered[len(ordered) // 2]} s,"
            f" p90 {ordered[len(ordered) * 9 // 10]} s; asked for {kept.asked}, within P90 {100 * kept.most:.1f} %,"
            f" within P50 {100 * kept.half:.1f} %, unsaid {kept.unsaid}"
        )
    print("goal: 85 to 95 % within P90")


if __name__ == "__main__":
    main()
