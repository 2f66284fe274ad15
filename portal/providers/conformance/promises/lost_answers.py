"""Whatever goes wrong on the way: never a doubt about whether a job may exist."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from portal.providers.base import Adapter, RemoteJob
from portal.providers.conformance.bench import POLL_S, Bench
from portal.providers.conformance.kit import Broken, NotOffered, equal, hold, patient_promise, promise, raises
from portal.providers.errors import Misconfigured, OutcomeUnknown, ProviderError, Rejected, Unavailable

HTTP = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
SHOWN_WITHIN_S = 3.0  # after the lag that the adapter admits
CUTS = 12


@promise
def an_answer_that_is_cut_off_after_the_job_was_made_is_unknown(bench: Bench) -> str:
    error, _key = _cut_when_made(bench)
    return f"{type(error).__name__}: {error.summary}"


@promise
def a_job_whose_answer_was_cut_off_is_found_by_its_key(bench: Bench) -> str:
    _error, key = _cut_when_made(bench)
    jobs = bench.adapter.find(key)
    equal([job.key for job in jobs], [key], "found")
    bench.adapter.cancel(jobs[0].remote_id)
    return jobs[0].remote_id


@promise
def a_connection_that_is_refused_is_certainly_nothing(bench: Bench) -> str:
    with bench.over_a_bad_wire() as (adapter, wire):
        adapter.check()
        wire.refuse()
        spec = bench.spec("true")
        raises((Unavailable, OutcomeUnknown), lambda: adapter.submit(spec))  # a kept connection breaks while in use
        raises(Unavailable, lambda: adapter.submit(spec))
    equal(bench.adapter.find(spec.key), [], "jobs made")
    return "nothing was made"


@promise
def an_answer_that_makes_no_sense_is_unknown(bench: Bench) -> str:
    return _spoilt_submit(bench, HTTP + b"Content-Length: 18\r\n\r\n<html>sorry</html>", OutcomeUnknown)


@promise
def an_answer_without_a_job_is_unknown(bench: Bench) -> str:
    return _spoilt_submit(bench, HTTP + b"Content-Length: 2\r\n\r\n{}", OutcomeUnknown)


@promise
def an_answer_that_is_cut_in_its_middle_is_unknown(bench: Bench) -> str:
    return _spoilt_submit(bench, HTTP + b'Content-Length: 500\r\n\r\n{"id": "17", "job_i', OutcomeUnknown)


@promise
def an_error_of_the_server_is_unknown(bench: Bench) -> str:
    return _spoilt_submit(
        bench, b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbusy", OutcomeUnknown
    )


@promise
def an_answer_of_a_hundred_megabytes_is_not_read_to_its_end(bench: Bench) -> str:
    began = time.monotonic()
    said = _spoilt_submit(bench, HTTP + b"Content-Length: 104857600\r\n\r\n" + b"[" * 3_000_000, OutcomeUnknown)
    seconds = time.monotonic() - began
    hold(seconds < 25, f"only after {seconds:.0f} s")
    return said


@promise
def too_many_requests_is_unavailable_with_its_time(bench: Bench) -> str:
    for body in (b"", b'{"message": "slow down"}'):  # a gateway may say it in words of its own
        head = f"HTTP/1.1 429 Slow\r\nRetry-After: 17\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        with _spoilt(bench, head.encode() + body) as adapter:
            error = raises(Unavailable, partial(adapter.submit, bench.spec("true")))
        equal(getattr(error, "retry_after_s", None), 17, "seconds to wait")
    return "17 s, without a body and with one"


@patient_promise
def a_silence_ends_as_unknown_within_its_time(bench: Bench) -> str:
    with bench.over_a_bad_wire() as (adapter, wire):
        adapter.check()
        wire.swallow_answers()
        began = time.monotonic()
        raises((OutcomeUnknown, Unavailable), lambda: adapter.submit(bench.spec("true")))
        seconds = time.monotonic() - began
    hold(seconds < 45, f"only after {seconds:.0f} s")
    return f"after {seconds:.0f} s"


@promise
def a_look_that_is_cut_off_is_unavailable(bench: Bench) -> str:
    job = bench.sample_job("good")
    return _cut_read(bench, lambda adapter: adapter.get(job.remote_id))


@promise
def a_search_that_is_cut_off_is_unavailable(bench: Bench) -> str:
    """Never an empty list: nothing found would mean that it may be sent again."""
    job = bench.sample_job("good")
    return _cut_read(bench, lambda adapter: adapter.find(job.key))


@promise
def a_list_that_is_cut_off_is_unavailable(bench: Bench) -> str:
    return _cut_read(bench, lambda adapter: list(adapter.list_jobs(bench.prefix, since=bench.since)))


@promise
def a_list_that_makes_no_sense_is_unavailable(bench: Bench) -> str:
    job = bench.sample_job("good")
    with _spoilt(bench, HTTP + b"Content-Length: 18\r\n\r\n<html>sorry</html>") as adapter:
        error = raises(Unavailable, lambda: adapter.find(job.key))
    return error.summary


@promise
def asking_for_the_end_over_a_cut_line_is_unavailable_and_may_be_repeated(bench: Bench) -> str:
    job = bench.submit("sleep 60")
    with bench.over_a_bad_wire() as (adapter, wire):
        adapter.check()
        wire.cut_answers()
        raises(Unavailable, lambda: adapter.cancel(job.remote_id))
        wire.mend()
        adapter.cancel(job.remote_id)
    return f"then {bench.wait(job).state.value}"


@promise
def after_a_broken_connection_the_next_call_makes_a_new_one(bench: Bench) -> str:
    job = bench.sample_job("good")
    with bench.over_a_bad_wire() as (adapter, wire):
        adapter.get(job.remote_id)
        before = wire.requests
        wire.cut()
        time.sleep(0.2)
        equal(adapter.get(job.remote_id).key, job.key, "key")
        return f"{before} connections before, {wire.requests} after"


@patient_promise
def an_answer_that_drips_ends_within_its_time(bench: Bench) -> str:
    job = bench.sample_job("good")
    with bench.over_a_bad_wire() as (adapter, wire):
        adapter.check()
        wire.drip_answers()
        began = time.monotonic()
        raises(Unavailable, lambda: adapter.get(job.remote_id))
        seconds = time.monotonic() - began
    hold(seconds < 45, f"only after {seconds:.0f} s")
    return f"after {seconds:.0f} s"


def _cut_when_made(bench: Bench) -> tuple[ProviderError, str]:
    """The worst moment: the provider has the job, and its answer is lost.

    Which answer that is nobody can say from outside: the last of a whole submit is tried, and what came of it says
    whether an earlier or a later one is the one.
    """

    def cut() -> tuple[ProviderError, str]:
        number = _submit_with_a_cut(bench, 0).answers
        for _ in range(CUTS):
            tried = _submit_with_a_cut(bench, number)
            if tried.error is None:
                number -= 1
            elif not tried.jobs:
                number += 1
            else:
                hold(isinstance(tried.error, OutcomeUnknown), f"a job was made, and {_words(tried.error)} came")
                return tried.error, tried.key
        raise Broken(f"of {CUTS} answers that were cut off none was that of a job that had been made")

    return bench.once("cut when made", cut)


@dataclass(frozen=True)
class _Cut:
    """A submit in which one answer was cut off."""

    key: str
    error: ProviderError | None  # None: it was answered all the same
    jobs: list[RemoteJob]  # made although there was an error
    answers: int


def _submit_with_a_cut(bench: Bench, number: int) -> _Cut:
    spec = bench.spec("sleep 30")
    with bench.over_a_bad_wire() as (adapter, wire):
        adapter.check()
        wire.cut_answer(number)
        try:
            bench.adapter.cancel(adapter.submit(spec).remote_id)
        except ProviderError as error:
            return _Cut(spec.key, error, _made(bench, spec.key), wire.answers)
        return _Cut(spec.key, None, [], wire.answers)


def _made(bench: Bench, key: str) -> list[RemoteJob]:
    """What the provider has of it, once it has had the time to show it."""
    deadline = time.monotonic() + bench.adapter.listing_lag_s + SHOWN_WITHIN_S
    while not (jobs := bench.adapter.find(key)) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    return jobs


def _words(error: ProviderError) -> str:
    return f"{type(error).__name__} ({error.summary})"


@contextmanager
def _spoilt(bench: Bench, answer: bytes) -> Iterator[Adapter]:
    """An adapter that has been connected, and then gets this instead of the provider's answers."""
    if not bench.is_http:
        raise NotOffered("the protocol itself finds out: SSH checks every byte")
    with bench.over_a_bad_wire() as (adapter, wire):
        adapter.check()
        wire.replace_answers(answer)
        yield adapter


def _spoilt_submit(bench: Bench, answer: bytes, expected: type[ProviderError]) -> str:
    spec = bench.spec("sleep 30")
    with _spoilt(bench, answer) as adapter:
        error = raises(expected, lambda: adapter.submit(spec))
    for job in bench.adapter.find(spec.key):  # it was made: the request went through
        bench.adapter.cancel(job.remote_id)
    return error.summary


def _cut_read(bench: Bench, act: Callable[[Adapter], object]) -> str:
    with bench.over_a_bad_wire() as (adapter, wire):
        adapter.check()
        wire.cut_answers()
        error = raises(Unavailable, lambda: act(adapter))
    hold(not isinstance(error, Rejected | Misconfigured), type(error).__name__)
    return error.summary
