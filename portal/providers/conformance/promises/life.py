"""From submit to the end: states, exit codes, times."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta

from portal.providers.base import MoreTime, RemoteJob, RemoteState
from portal.providers.bootstrap import BootstrapExit
from portal.providers.conformance.bench import Bench
from portal.providers.conformance.kit import Broken, NotOffered, equal, hold, promise, slow_promise
from portal.providers.errors import NotFound, Rejected

CLOCKS_MAY_DIFFER = timedelta(minutes=5)


@promise
def a_job_that_is_handed_over_has_an_id_and_carries_our_key(bench: Bench) -> str:
    job = bench.sample_job("good")
    hold(job.remote_id and "\n" not in job.remote_id, f"id {job.remote_id!r}")
    hold(job.key.startswith(bench.prefix), f"key {job.key!r}")
    return job.remote_id


@promise
def a_job_that_is_handed_over_has_not_ended(bench: Bench) -> str:
    job = bench.sample_job("good")
    hold(not job.state.is_final, f"it is {job.state.value}")
    equal((job.exit_code, job.ended_at), (None, None), "exit code and end")
    return job.state.value


@promise
def sixteen_jobs_handed_over_at_once_are_sixteen_jobs(bench: Bench) -> str:
    jobs: list[RemoteJob] = []
    wanted = [bench.key() for _ in range(16)]
    specs = [bench.spec("true", key=key) for key in wanted]

    def submit(number: int) -> None:
        jobs.append(bench.adapter.submit(specs[number]))

    threads = [threading.Thread(target=submit, args=(number,)) for number in range(len(specs))]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    seconds = time.monotonic() - began
    equal(sorted(job.key for job in jobs), sorted(wanted), "keys")
    equal(len({job.remote_id for job in jobs}), len(wanted), "different ids")
    for job in jobs:
        bench.adapter.cancel(job.remote_id)
    equal({bench.wait(job).key for job in jobs}, set(wanted), "keys at the end")
    return f"in {seconds:.1f} s"


@promise
def a_running_job_has_a_start_and_no_end(bench: Bench) -> str:
    job = bench.submit("sleep 60")
    running = bench.wait_until_running(job)
    bench.adapter.cancel(job.remote_id)
    equal((running.state, running.exit_code, running.ended_at), (RemoteState.RUNNING, None, None), "state, code, end")
    hold(running.started_at is not None, "it has no start")
    return f"{running.reason or 'running'} since {running.started_at:%H:%M:%S}"


@promise
def a_program_that_ends_well_succeeded_with_0(bench: Bench) -> str:
    job = bench.sample("good").job
    equal((job.state, job.exit_code), (RemoteState.SUCCEEDED, 0), "state and code")
    return "succeeded, 0"


@promise
def a_program_that_exits_with_3_failed_with_3(bench: Bench) -> str:
    return _failed_with(bench, "exits_3", 3)


@promise
def a_program_that_is_killed_failed_with_137(bench: Bench) -> str:
    return _failed_with(bench, "killed", 137)


@promise
def a_program_that_ends_itself_with_term_failed_with_143(bench: Bench) -> str:
    return _failed_with(bench, "terminated", 143)


@promise
def a_program_that_is_not_there_failed_with_127(bench: Bench) -> str:
    return _failed_with(bench, "not_there", 127)


@promise
def an_exit_code_that_the_bootstrap_uses_itself_is_told_as_1(bench: Bench) -> str:
    said = _failed_with(bench, "exits_95", 1)
    hold(b"exit code 95" in bench.sample("exits_95").log, "the log does not say so")
    return f"{said}, and the log names 95"


@promise
def what_a_program_leaves_in_the_background_does_not_keep_the_job(bench: Bench) -> str:
    ended = bench.sample("background")
    equal((ended.job.state, ended.job.exit_code), (RemoteState.SUCCEEDED, 0), "state and code")
    return "ended although two processes would have slept for ten minutes"


@promise
def the_times_of_an_ended_job_are_in_order(bench: Bench) -> str:
    job = bench.sample("good").job
    hold(job.started_at and job.ended_at, "start or end is missing")
    assert job.started_at is not None and job.ended_at is not None
    hold(job.started_at <= job.ended_at, f"{job.started_at} to {job.ended_at}")
    hold(job.created_at is None or job.created_at <= job.started_at, f"made {job.created_at}, begun {job.started_at}")
    return f"{(job.ended_at - job.started_at).total_seconds():g} s"


@promise
def times_are_instants_in_utc_near_ours(bench: Bench) -> str:
    job, now = bench.sample("good").job, datetime.now(UTC)
    times = [at for at in (job.created_at, job.started_at, job.ended_at) if at is not None]
    hold(all(at.utcoffset() == timedelta(0) for at in times), "not in UTC")
    away = max(abs(now - at) for at in times)
    hold(all(at <= now + CLOCKS_MAY_DIFFER for at in times), f"in the future: {max(times)}")
    hold(away < timedelta(hours=2), f"{away} away from our clock")
    return f"newest {(now - max(times)).total_seconds():.0f} s ago"


@promise
def what_has_ended_stays_as_it_ended(bench: Bench) -> str:
    job = bench.sample("exits_3").job
    again = bench.adapter.get(job.remote_id)
    equal((again.state, again.key, again.ended_at), (job.state, job.key, job.ended_at), "the second look")
    return "two looks are equal"


@promise
def of_two_copies_of_a_job_one_runs(bench: Bench) -> str:
    """Two hand-overs of one key, as after a lost answer that nobody looked for."""
    command = 'echo "$(date +%s%N)" >>"$PORTAL_OUTPUT_DIR/runs"; sleep 1'
    spec = bench.spec(command)
    if not bench.adapter.shares_disk and not bench.store.claim_url(spec.key):
        raise NotOffered("each copy has a disk of its own, and there is no portal here for them to ask")
    first = bench.adapter.submit(spec)
    try:
        second = bench.adapter.submit(spec)
    except Rejected as error:
        bench.wait(first)
        equal([job.remote_id for job in bench.adapter.find(spec.key)], [first.remote_id], "jobs made")
        return f"the second hand-over is refused: {error.summary}"
    if second.remote_id == first.remote_id:
        bench.wait(first)
        return "the second hand-over is answered with the first job"
    ends = [bench.wait(job) for job in (first, second)]
    codes = sorted(job.exit_code or 0 for job in ends)
    equal(codes, [0, int(BootstrapExit.SECOND_COPY)], "exit codes of the two copies")
    return f"one ran, the other ended at once with {codes[1]}"


@slow_promise
def a_job_that_passes_its_time_limit_is_ended_there(bench: Bench) -> str:
    ended = bench.wait(bench.submit('echo part >"$PORTAL_OUTPUT_DIR/part"; sleep 3600', time_limit_s=60))
    equal(ended.state, RemoteState.TIMED_OUT, "state")
    return f"{ended.state.value} after {ended.gpu_seconds} GPU-seconds"


@slow_promise
def the_limit_of_a_running_job_can_be_changed(bench: Bench) -> str:
    """Raised, which needs the right to; and lowered, because its end is seen sooner so."""
    adapter = bench.adapter
    if not isinstance(adapter, MoreTime) or not adapter.gives_time:
        raise NotOffered("this account cannot change the limit of a job that runs")
    job = bench.wait_until_running(bench.submit("sleep 3600", time_limit_s=600))
    for limit_s in (1200, 1200, 60):
        adapter.set_time_limit(job.remote_id, time_limit_s=limit_s)
    ended = bench.wait(job)
    equal(ended.state, RemoteState.TIMED_OUT, "state")
    hold((ended.gpu_seconds or 0) < 600, f"it ran for {ended.gpu_seconds} GPU-seconds")
    try:
        adapter.set_time_limit(job.remote_id, time_limit_s=1200)
    except NotFound:
        return f"{ended.state.value} after {ended.gpu_seconds} GPU-seconds"
    raise Broken("what has ended is given more time")


def _failed_with(bench: Bench, name: str, code: int) -> str:
    job = bench.sample(name).job
    equal((job.state, job.exit_code), (RemoteState.FAILED, code), "state and code")
    return f"failed, {code}"
