"""Asking for the end: any time, any number of times."""

from __future__ import annotations

import time

from portal.providers.base import RemoteJob, RemoteState
from portal.providers.conformance.bench import Bench, Ended
from portal.providers.conformance.kit import NotOffered, equal, hold, patient_promise, promise
from portal.providers.conformance.promises.finding import STRANGERS

STOPPED_WITHIN_S = 60.0
SAVES = (
    "trap 'echo saved >\"$PORTAL_OUTPUT_DIR/saved\"; echo heard; exit 0' TERM; echo begun; "
    'echo part >"$PORTAL_OUTPUT_DIR/part"; n=0; while [ $n -lt 300 ]; do sleep 0.2; n=$((n+1)); done'
)
DEAF = "trap '' TERM; echo begun; n=0; while [ $n -lt 1500 ]; do sleep 0.2; n=$((n+1)); done"


@promise
def a_running_job_that_is_ended_is_cancelled(bench: Bench) -> str:
    ended = _stopped(bench, SAVES)
    equal(ended.job.state, RemoteState.CANCELLED, "state")
    return f"{ended.job.state.value}, exit code {ended.job.exit_code}"


@promise
def the_program_hears_of_the_end_and_may_save(bench: Bench) -> str:
    ended = _stopped(bench, SAVES)
    equal(ended.output, {"part": b"part\n", "saved": b"saved\n"}, "results")
    return "part, saved"


@promise
def the_log_up_to_the_end_is_kept(bench: Bench) -> str:
    ended = _stopped(bench, SAVES)
    lines = ended.log.splitlines()  # between them a shell may tell of its own children's end
    equal((lines[:1], lines[-1:]), ([b"begun"], [b"heard"]), "first and last line")
    return "begun … heard"


@patient_promise
def a_program_that_does_not_listen_is_ended_too(bench: Bench) -> str:
    began = time.monotonic()
    ended = _stopped(bench, DEAF)
    equal(ended.job.state, RemoteState.CANCELLED, "state")
    seconds = time.monotonic() - began
    hold(seconds < STOPPED_WITHIN_S, f"only after {seconds:.0f} s")
    return f"{seconds:.0f} s with its start"


@patient_promise
def the_end_may_be_asked_for_again_and_again(bench: Bench) -> str:
    job = bench.submit("sleep 60")
    bench.wait_until_running(job)
    for _ in range(3):
        bench.adapter.cancel(job.remote_id)
    ended = bench.wait(job)
    bench.adapter.cancel(job.remote_id)
    equal(bench.adapter.get(job.remote_id).state, ended.state, "state after one more")
    return "four times"


@promise
def a_waiting_job_that_is_ended_never_starts(bench: Bench) -> str:
    ended = bench.wait(_cancelled_while_waiting(bench))
    equal(ended.state, RemoteState.CANCELLED, "state")
    hold(not ended.gpu_seconds, f"{ended.gpu_seconds} GPU-seconds are counted")
    return "cancelled, nothing counted"


@promise
def a_waiting_job_that_is_ended_has_no_start(bench: Bench) -> str:
    ended = bench.wait(_cancelled_while_waiting(bench))
    equal(ended.started_at, None, "start")
    return "no start"


@promise
def ending_a_job_that_has_ended_changes_nothing(bench: Bench) -> str:
    job = bench.sample("good").job
    bench.adapter.cancel(job.remote_id)
    again = bench.adapter.get(job.remote_id)
    equal((again.state, again.exit_code, again.ended_at), (job.state, job.exit_code, job.ended_at), "afterwards")
    return f"still {again.state.value}"


@promise
def ending_what_nobody_knows_is_quiet(bench: Bench) -> str:
    for stranger in STRANGERS:
        bench.adapter.cancel(stranger)
    return f"{len(STRANGERS)} ids, paths and commands among them"


def _stopped(bench: Bench, command: str) -> Ended:
    def stop() -> Ended:
        job = bench.submit(command)
        bench.wait_until_running(job)
        time.sleep(1.5)  # it is at its loop by then
        bench.adapter.cancel(job.remote_id)
        ended = bench.wait(job)
        return Ended(ended, bench.log_of(ended), bench.output_of(ended))

    return bench.once(command, stop)


def _cancelled_while_waiting(bench: Bench) -> RemoteJob:
    """Behind a job that takes all there is, where a job can; else one that was quick enough."""
    most = bench.target.gpus_max
    blocker = bench.submit("sleep 60", gpus=most) if most > 1 else None
    try:
        for _ in range(5):
            job = bench.submit("sleep 60", gpus=most) if blocker else bench.submit("sleep 60")
            state = bench.adapter.get(job.remote_id).state
            bench.adapter.cancel(job.remote_id)
            if state is RemoteState.QUEUED:
                return job
    finally:
        if blocker:
            bench.adapter.cancel(blocker.remote_id)
    raise NotOffered("five jobs started before they could be ended: nothing waits here now")
