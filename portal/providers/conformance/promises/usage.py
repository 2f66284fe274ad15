"""What the provider counts: the numbers that money stands on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from portal.providers.base import Availability, PriceList, RemoteJob, RemoteUsage, UsageStatement
from portal.providers.conformance.bench import Bench
from portal.providers.conformance.kit import NotOffered, equal, hold, promise

SECONDS_MAY_DIFFER = 2


@promise
def gpu_seconds_are_run_time_times_gpus(bench: Bench) -> str:
    return _counted(bench.sample("good").job, gpus=bench.target.gpus)


@promise
def each_further_gpu_is_counted(bench: Bench) -> str:
    more = bench.target.gpus_next
    if more is None:
        raise NotOffered(f"this plan has {bench.target.gpus} GPU{'s' * (bench.target.gpus > 1)}, never more")
    return f"{more} GPUs: {_counted(bench.wait(bench.submit('sleep 3', gpus=more)), gpus=more)}"


@promise
def a_job_that_failed_is_counted_too(bench: Bench) -> str:
    job = bench.sample("exits_3").job
    hold(job.gpu_seconds is not None, "nothing is counted")
    return f"{job.gpu_seconds} GPU-seconds"


@promise
def the_statement_has_a_job_once_with_the_same_count(bench: Bench) -> str:
    job = bench.sample("good").job
    lines = [line for line in statement(bench) if line.key == job.key]
    equal([(line.remote_id, line.gpu_seconds) for line in lines], [(job.remote_id, job.gpu_seconds)], "lines")
    return f"{lines[0].gpu_seconds} GPU-seconds"


@promise
def the_statement_has_the_times_of_a_job(bench: Bench) -> str:
    job = bench.sample("good").job
    lines = [line for line in statement(bench) if line.key == job.key]
    equal([(line.started_at, line.ended_at) for line in lines], [(job.started_at, job.ended_at)], "times")
    return "start and end are the job's"


@promise
def no_line_of_the_statement_comes_twice(bench: Bench) -> str:
    ids = [line.line_id for line in statement(bench)]
    equal(len(ids), len(set(ids)), "different lines")
    return f"{len(ids)} lines"


@promise
def a_statement_ends_before_its_end(bench: Bench) -> str:
    """Half-open: what ended at the very end belongs to the next statement."""
    adapter, job = bench.ability(UsageStatement), bench.sample("good").job
    assert job.ended_at is not None
    hour = timedelta(hours=1)
    before = [line.key for line in adapter.usage(since=job.ended_at - hour, until=job.ended_at)]
    after = [line.key for line in adapter.usage(since=job.ended_at, until=job.ended_at + hour)]
    equal((before.count(job.key), after.count(job.key)), (0, 1), "lines before and after the job's end")
    return "a job that ends at 10:00:00 is on the statement from 10:00:00"


@promise
def a_plan_is_on_the_price_list_with_its_price(bench: Bench) -> str:
    offers = {offer.plan: offer for offer in bench.ability(PriceList).offerings()}
    hold(bench.target.plan in offers, f"{sorted(offers)}")
    offer = offers[bench.target.plan]
    hold(offer.unit_price is None or offer.unit_price >= 0, f"{offer.unit_price}")
    return f"{offer.name}: {offer.unit_price} per {offer.unit}, at least {offer.minimum_s} s"


@promise
def what_is_free_is_told_by_plan(bench: Bench) -> str:
    seen = {item.plan: item for item in bench.ability(Availability).availability()}
    hold(bench.target.plan in seen, f"{sorted(seen)}")
    free = seen[bench.target.plan]
    hold(free.free_gpus is None or free.free_gpus >= 0, f"{free.free_gpus}")
    hold(abs(datetime.now(UTC) - free.observed_at) < timedelta(minutes=5), f"seen at {free.observed_at}")
    return f"{free.free_gpus} GPUs"


def statement(bench: Bench) -> list[RemoteUsage]:
    now = datetime.now(UTC)
    return list(bench.ability(UsageStatement).usage(since=now - timedelta(hours=1), until=now + timedelta(minutes=5)))


def _counted(job: RemoteJob, *, gpus: int) -> str:
    assert job.started_at is not None and job.ended_at is not None
    seconds = (job.ended_at - job.started_at).total_seconds()
    hold(job.gpu_seconds is not None, "nothing is counted")
    assert job.gpu_seconds is not None
    hold(abs(job.gpu_seconds - gpus * seconds) <= gpus * SECONDS_MAY_DIFFER, f"{job.gpu_seconds} in {seconds:g} s")
    return f"{job.gpu_seconds} GPU-seconds in {seconds:g} s"
