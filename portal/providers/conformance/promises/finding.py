"""A key finds what it made: what the hand-off stands on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from portal.providers.base import RemoteState
from portal.providers.conformance.bench import Bench
from portal.providers.conformance.kit import equal, hold, promise, raises
from portal.providers.errors import NotFound

STRANGERS = ("00000000-0000-4000-8000-000000000000", "99999999", "9" * 30, "../../plans", "1; id", "", "一", "1\n2")


@promise
def a_key_finds_what_it_made_and_nothing_else(bench: Bench) -> str:
    key = bench.key()
    jobs = [bench.submit("true", key=one) for one in (key, f"{key}0", f"{key}-x")]
    equal([job.remote_id for job in bench.adapter.find(key)], [jobs[0].remote_id], "found")
    return "neither a longer key nor one that begins so"


@promise
def a_key_that_made_nothing_finds_nothing(bench: Bench) -> str:
    equal(bench.adapter.find(bench.key()), [], "found")
    return "none"


@promise
def a_key_finds_a_job_as_soon_as_it_was_taken(bench: Bench) -> str:
    lag = bench.adapter.listing_lag_s
    if lag:
        return f"the adapter says it may take {lag:g} s"
    job = bench.submit("true")
    equal([found.remote_id for found in bench.adapter.find(job.key)], [job.remote_id], "found at once")
    return "at once"


@promise
def a_key_finds_a_job_that_has_ended(bench: Bench) -> str:
    job = bench.sample("good").job
    jobs = bench.adapter.find(job.key)
    equal([found.remote_id for found in jobs], [job.remote_id], "found")
    found = jobs[0]
    equal((found.state, found.exit_code), (job.state, job.exit_code), "state and code")
    return f"{found.state.value}, {found.exit_code}"


@promise
def the_list_has_every_job_of_a_prefix_once(bench: Bench) -> str:
    prefix = bench.key()
    jobs = [bench.submit("true", key=f"{prefix}-a{number}") for number in range(3)]
    bench.submit("true", key=f"{prefix}-b")
    listed = [job.remote_id for job in bench.adapter.list_jobs(f"{prefix}-a", since=bench.since)]
    equal(sorted(listed), sorted(job.remote_id for job in jobs), "listed")
    return f"{len(listed)} of {len(listed)}"


@promise
def the_list_shows_states_as_a_single_look_does(bench: Bench) -> str:
    names = ("good", "exits_3", "killed", "silent")
    ended = {bench.sample(name).job.remote_id: bench.sample(name).job for name in names}
    listed = {job.remote_id: job for job in bench.adapter.list_jobs(bench.prefix, since=bench.since)}
    for remote_id, job in ended.items():
        hold(remote_id in listed, f"{job.key} is missing")
        equal((listed[remote_id].state, listed[remote_id].key), (job.state, job.key), "listed")
    return f"{len(ended)} ended jobs are equal"


@promise
def the_list_has_a_job_while_it_runs(bench: Bench) -> str:
    job = bench.submit("sleep 60")
    bench.wait_until_running(job)
    listed = [item.state for item in bench.adapter.list_jobs(job.key, since=bench.since)]
    bench.adapter.cancel(job.remote_id)
    equal(listed, [RemoteState.RUNNING], "states")
    return "running"


@promise
def the_list_has_nothing_from_before_its_beginning(bench: Bench) -> str:
    equal(list(bench.adapter.list_jobs(bench.prefix, since=datetime.now(UTC) + timedelta(hours=1))), [], "listed")
    return "none since an hour from now"


@promise
def a_list_of_jobs_that_nobody_made_is_empty(bench: Bench) -> str:
    equal(list(bench.adapter.list_jobs(f"{bench.key()}-nobody", since=bench.since)), [], "listed")
    return "none"


@promise
def an_id_that_nobody_knows_is_not_found(bench: Bench) -> str:
    for stranger in STRANGERS:
        raises(NotFound, lambda stranger=stranger: bench.adapter.get(stranger))  # type: ignore[misc]
    return f"{len(STRANGERS)} ids, paths and commands among them"
