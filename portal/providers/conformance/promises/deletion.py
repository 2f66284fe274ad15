"""Taking out of the account what has ended, and nothing else."""

from __future__ import annotations

from portal.providers.base import Deletion
from portal.providers.conformance.bench import Bench
from portal.providers.conformance.kit import equal, hold, promise, raises
from portal.providers.conformance.promises.finding import STRANGERS
from portal.providers.errors import NotFound, Rejected


@promise
def what_has_ended_and_is_deleted_is_gone(bench: Bench) -> str:
    adapter, job = bench.ability(Deletion), bench.wait(bench.submit("true"))
    adapter.delete(job.remote_id)
    raises(NotFound, lambda: bench.adapter.get(job.remote_id))
    equal(bench.adapter.find(job.key), [], "found")
    adapter.delete(job.remote_id)
    return "neither shown nor found, and deleting it again is quiet"


@promise
def what_has_not_ended_is_not_deleted(bench: Bench) -> str:
    adapter, job = bench.ability(Deletion), bench.submit("sleep 60")
    error = raises(Rejected, lambda: adapter.delete(job.remote_id))
    now = bench.adapter.get(job.remote_id)
    bench.adapter.cancel(job.remote_id)
    hold(not now.state.is_final, f"it is {now.state.value}")
    return f"{error.summary}; it went on"


@promise
def deleting_what_nobody_knows_is_quiet(bench: Bench) -> str:
    adapter = bench.ability(Deletion)
    for stranger in STRANGERS:
        adapter.delete(stranger)
    return f"{len(STRANGERS)} ids, paths and commands among them"
