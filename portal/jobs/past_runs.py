"""What jobs like one took before: where enough of them ended well, the likeliest guess at what it will cost."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median_low

from portal.accounts.models import Project
from portal.catalog.models import Price
from portal.catalog.pricing import cost_of_job
from portal.jobs.models import Job
from portal.jobs.states import JobState

ENOUGH = 5  # fewer say nothing
TAKEN = 20  # of more only the newest
LOOKED_AT = 500  # newest jobs of the project among which they are sought: the look costs the same in any project


@dataclass(frozen=True)
class Expected:
    """Yen with tax, whole ones as a charge has them. `high` is what is set aside: it never costs more.

    `low` is the least that any job there is charged and `likely` None where fewer than ENOUGH are like it; else the
    cheapest and the middle of those `runs`.
    """

    low: int
    likely: int | None
    high: int
    runs: int


def expected(
    project: Project, price: Price, *, template: str, gpus: int, high: int, before: Job | None = None
) -> Expected:
    """Like it are the project's jobs of the same template (or none), plan and number of GPUs that succeeded; reckoned
    at `price`, whatever they cost then. `before`: only those that were submitted before that job. One query."""
    newest = Job.objects.filter(project=project).order_by("-pk")
    if before is not None:
        newest = newest.filter(pk__lt=before.pk)
    like_it = Job.objects.filter(
        pk__in=newest.values("pk")[:LOOKED_AT],
        template=template,
        offering=price.offering_id,
        gpus=gpus,
        state=JobState.SUCCEEDED,
    )
    took = like_it.order_by("-pk").values_list("gpu_seconds", flat=True)[:TAKEN]
    costs = [_charge(price, gpus, gpu_seconds // gpus) for gpu_seconds in took]
    if len(costs) < ENOUGH:
        return Expected(min(_charge(price, gpus, 1), high), None, high, len(costs))
    return Expected(min(*costs, high), min(median_low(costs), high), high, len(costs))


def _charge(price: Price, gpus: int, seconds: int) -> int:
    return int(cost_of_job(price, gpus=gpus, seconds=seconds))
