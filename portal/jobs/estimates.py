"""What would this cost: yen with tax, from the price that holds now. Pure arithmetic, no query."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal

from portal.catalog.models import Offering, Price
from portal.catalog.pricing import cost_of_job, per_gpu_hour, with_tax
from portal.jobs.request import TIME_LIMIT_MIN_S


@dataclass(frozen=True)
class Quote:
    """Whole yen are rounded up, because they are limits; what is `per_…` is exact."""

    per_hour: Decimal  # for all GPUs asked for
    per_gpu_hour: Decimal
    per_unit: Decimal  # for the price's own unit, of one GPU or of the whole plan
    minimum: int  # the least a cost cap may be: it pays for the shortest time limit
    maximum: int  # if the job runs until its time limit, once
    most: int  # if each of its tries does
    hold: int  # put aside at submit: the cap, or the most where that is less
    pays_for_s: int  # how long the cap lets it run, at most the time limit
    minimum_s: int  # charged at least for so long, once it has started

    @property
    def is_capped(self) -> bool:
        """The cap ends the job before its time limit does."""
        return self.hold < self.maximum


def quote(
    offering: Offering, price: Price, *, gpus: int, time_limit_s: int, cost_cap: int | None = None, tries: int = 1
) -> Quote:
    """`cost_cap` None: nobody has said yet, so the most."""
    maximum = whole_yen(cost_of_job(price, gpus=gpus, seconds=time_limit_s))
    most = maximum * tries
    cap = most if cost_cap is None else cost_cap
    an_hour = per_gpu_hour(price, gpus=gpus) * gpus
    return Quote(
        per_hour=an_hour,
        per_gpu_hour=an_hour / gpus,
        per_unit=with_tax(price),
        minimum=whole_yen(cost_of_job(price, gpus=gpus, seconds=min(TIME_LIMIT_MIN_S, time_limit_s))),
        maximum=maximum,
        most=most,
        hold=min(cap, most),
        pays_for_s=min(time_limit_s, affordable_s(price, gpus=gpus, yen=cap)),
        minimum_s=price.minimum_s,
    )


def affordable_s(price: Price, *, gpus: int, yen: int) -> int:
    """The most whole seconds that cost no more than that; 0 when the minimum duration alone costs more."""
    an_hour = cost_of_job(price, gpus=gpus, seconds=max(3600, price.minimum_s))
    per_second = an_hour / max(3600, price.minimum_s)
    if not per_second:
        return 10**9
    seconds = int(yen / per_second)
    # Decimal division may be one second off at the border.
    while seconds and cost_of_job(price, gpus=gpus, seconds=seconds) > yen:
        seconds = seconds - 1 if seconds > price.minimum_s else 0
    return seconds


def whole_yen(exact: Decimal) -> int:
    return int(exact.to_integral_value(ROUND_CEILING))
