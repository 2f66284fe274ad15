"""What cannot be: a clear no, nothing made, no secret told."""

from __future__ import annotations

from dataclasses import replace

from portal.providers.conformance.bench import Bench
from portal.providers.conformance.kit import NotOffered, equal, hold, promise, raises
from portal.providers.errors import Misconfigured, ProviderError, Rejected


@promise
def a_plan_that_does_not_exist_is_refused(bench: Bench) -> str:
    error = raises((Rejected, Misconfigured), lambda: bench.submit("true", plan="no-such-plan"))
    return f"{type(error).__name__}: {error.summary}"


@promise
def what_was_refused_was_not_made(bench: Bench) -> str:
    spec = bench.spec("true", plan="no-such-plan")
    raises((Rejected, Misconfigured), lambda: bench.adapter.submit(spec))
    equal([job for job in bench.adapter.find(spec.key) if not job.state.is_final], [], "jobs")
    return "nothing waits or runs"


@promise
def more_gpus_than_there_are_is_refused_as_no_capacity(bench: Bench) -> str:
    if bench.target.gpus_max < 2:
        raise NotOffered("this plan counts its GPUs itself")
    error = raises(Rejected, lambda: bench.submit("true", gpus=999, nodes=1))
    equal(getattr(error, "failure", ""), "no_capacity", "kind of failure")
    return error.summary


@promise
def gpus_that_nodes_cannot_share_are_refused(bench: Bench) -> str:
    if bench.target.gpus_max < 2:
        raise NotOffered("this plan counts its GPUs itself")
    error = raises(Rejected, lambda: bench.submit("true", gpus=3, nodes=2))
    return error.summary


@promise
def a_job_for_another_architecture_is_refused_before_anything_is_sent(bench: Bench) -> str:
    own = bench.target.architecture
    if not own:
        raise NotOffered("the catalog does not know what these machines are")
    other = {"amd64": "arm64", "arm64": "amd64"}[own]
    spec = replace(bench.spec("true"), architecture=other)
    error = raises(Rejected, lambda: bench.adapter.submit(spec))
    hold(own in error.summary and other in error.summary, f"{error.summary!r} does not name both")
    equal(bench.adapter.find(spec.key), [], "jobs made")
    return error.summary


@promise
def a_refusal_tells_no_secret(bench: Bench) -> str:
    spec = replace(bench.spec("true"), plan="no-such-plan", environment={"TOKEN": "canary-in-environment"})
    error = raises(ProviderError, lambda: bench.adapter.submit(spec))
    shown = f"{error} {error!r} {error.code} {error.__cause__!r}"
    hold("canary" not in shown and bench.without_secrets(shown) == shown, "a secret is in it")
    return error.summary
