"""Many copies as one job: each runs once, counts for itself, and ends with the whole."""

from __future__ import annotations

from portal.providers.base import Arrays, RemoteJob, RemoteState, UsageStatement, element_key
from portal.providers.conformance.bench import Bench
from portal.providers.conformance.kit import equal, hold, patient_promise, promise, raises
from portal.providers.conformance.promises.usage import statement
from portal.providers.errors import NotFound, Rejected

SIZE = 3
# The one in the middle fails. What each writes where it stands shows whether a place is shared.
COMMAND = (
    'echo "$PORTAL_ARRAY_INDEX of $PORTAL_ARRAY_SIZE"; echo x >>here; sleep 2; cat here >"$PORTAL_OUTPUT_DIR/here"; '
    '[ "$PORTAL_ARRAY_INDEX" != 1 ] || exit 3'
)


@promise
def every_element_of_an_array_runs_once_and_knows_its_index(bench: Bench) -> str:
    logs = [bench.log_of(job) for job in _ended(bench)]
    equal(logs, [b"%d of %d\n" % (index, SIZE) for index in range(SIZE)], "logs")
    return f"0 to {SIZE - 1}, one line each"


@promise
def every_element_has_a_place_and_results_of_its_own(bench: Bench) -> str:
    equal([bench.output_of(job) for job in _ended(bench)], [{"here": b"x\n"}] * SIZE, "results")
    return "none saw what another wrote"


@promise
def an_element_that_fails_leaves_the_others(bench: Bench) -> str:
    ends = [(job.state, job.exit_code) for job in _ended(bench)]
    good = (RemoteState.SUCCEEDED, 0)
    equal(ends, [good, (RemoteState.FAILED, 3), good], "ends")
    return "0, 3, 0"


@promise
def an_array_with_a_failed_element_has_failed(bench: Bench) -> str:
    _ended(bench)
    whole = bench.adapter.get(_array(bench).remote_id)
    equal((whole.state, whole.exit_code, whole.key), (RemoteState.FAILED, 3, _array(bench).key), "the whole")
    return "failed, 3"


@promise
def a_key_finds_an_array_as_one(bench: Bench) -> str:
    array = _array(bench)
    equal([(job.remote_id, job.key) for job in bench.adapter.find(array.key)], [(array.remote_id, array.key)], "found")
    return array.remote_id


@promise
def the_list_has_every_element_by_key_and_index(bench: Bench) -> str:
    elements, key = _ended(bench), _array(bench).key
    listed = {job.remote_id: job for job in bench.adapter.list_jobs(key, since=bench.since)}
    equal(sorted(job.key for job in listed.values()), [element_key(key, index) for index in range(SIZE)], "keys")
    for job in elements:
        equal(listed[job.remote_id].state, job.state, job.key)
    return ", ".join(sorted(listed))


@promise
def an_element_can_be_looked_at_alone(bench: Bench) -> str:
    for job in _ended(bench):
        again = bench.adapter.get(job.remote_id)
        equal((again.key, again.state, again.ended_at), (job.key, job.state, job.ended_at), "alone")
    return f"{SIZE} looks"


@promise
def an_array_that_nobody_knows_is_not_found(bench: Bench) -> str:
    raises(NotFound, lambda: bench.ability(Arrays).array_jobs("99999999"))
    return "not found"


@promise
def elements_are_counted_one_by_one(bench: Bench) -> str:
    bench.ability(UsageStatement)
    counted = {job.remote_id: job.gpu_seconds for job in _ended(bench)}
    lines = {line.remote_id: line.gpu_seconds for line in statement(bench) if line.remote_id in counted}
    equal(lines, counted, "lines")
    return f"{sum(seconds or 0 for seconds in counted.values())} GPU-seconds on {len(lines)} lines"


@promise
def an_array_of_nothing_is_refused(bench: Bench) -> str:
    adapter, spec = bench.ability(Arrays), bench.spec("true")
    return raises(Rejected, lambda: adapter.submit_array(spec, [])).summary


@patient_promise
def ending_an_array_ends_every_element(bench: Bench) -> str:
    adapter = bench.ability(Arrays)
    array = bench.submit_array("sleep 120", SIZE)
    bench.wait_until_running(array)
    bench.adapter.cancel(array.remote_id)
    ended = bench.wait(array)
    equal(ended.state, RemoteState.CANCELLED, "the whole")
    states = {job.state for job in adapter.array_jobs(array.remote_id)}
    equal(states, {RemoteState.CANCELLED}, "elements")
    return f"{ended.state.value}, all of them"


@patient_promise
def an_element_that_is_ended_leaves_the_others(bench: Bench) -> str:
    adapter = bench.ability(Arrays)
    array = bench.submit_array('[ "$PORTAL_ARRAY_INDEX" != 0 ] || sleep 120', SIZE)
    first = bench.wait_until_running(adapter.array_jobs(array.remote_id)[0])
    bench.adapter.cancel(first.remote_id)
    bench.wait(array)
    states = [job.state for job in adapter.array_jobs(array.remote_id)]
    equal(states, [RemoteState.CANCELLED, RemoteState.SUCCEEDED, RemoteState.SUCCEEDED], "states")
    return "cancelled, succeeded, succeeded"


def _array(bench: Bench) -> RemoteJob:
    return bench.once("array", lambda: bench.submit_array(COMMAND, SIZE))


def _ended(bench: Bench) -> list[RemoteJob]:
    """Its elements when all have ended, by index."""
    array = _array(bench)

    def wait() -> list[RemoteJob]:
        bench.wait(array)
        jobs = bench.ability(Arrays).array_jobs(array.remote_id)
        hold(len(jobs) == SIZE, f"{len(jobs)} elements instead of {SIZE}")
        return jobs

    return bench.once("array, ended", wait)
