"""Each fault of portal/providers/emulators/faults.py, asked for over HTTP and seen through the real adapter."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from email.utils import parsedate_to_datetime
from itertools import product
from typing import Any, cast

import asyncssh
import httpx
import pytest
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import connect

from portal.providers.base import (
    Adapter,
    BillingStatement,
    FinalLog,
    LiveLog,
    RemoteCharge,
    RemoteJob,
    RemoteState,
    RemoteUsage,
    UsageStatement,
)
from portal.providers.conformance import Bench
from portal.providers.conformance.promises.billing import JAPAN
from portal.providers.emulators.fault_requests import OPERATIONS
from portal.providers.errors import Misconfigured, NotFound, OutcomeUnknown, ProviderError, Unavailable
from tests.providers.emulated import KINDS, Emulator, bench_of, emulator
from tests.providers.file_server import FileServer

PATIENCE_S = 60
HTTP = ("sakura_dok", "slurm_rest")
WITH_LOG = ("sakura_dok", "slurm_ssh")
LOG = b"one\ntwo\n"


@pytest.fixture(scope="module")
def started(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Emulator]]:
    """One emulator of each kind that is asked for."""
    running: dict[str, Any] = {}

    def start(kind: str) -> Emulator:
        if kind not in running:
            context = emulator(kind, "--running", "8")
            running[kind] = (context, context.__enter__())
        return cast(Emulator, running[kind][1])

    yield start
    for context, _ in running.values():
        context.__exit__(None, None, None)


@pytest.fixture
def running(request: pytest.FixtureRequest, started: Callable[[str], Emulator]) -> Iterator[Emulator]:
    """Without faults before and after."""
    one = started(request.param)
    one.fault(clear=True)
    yield one
    one.fault(clear=True)


@pytest.fixture
def bench(running: Emulator, store: FileServer) -> Iterator[Bench]:
    made = bench_of(running, store)
    yield made
    running.fault(clear=True)
    made.close()


def at(*kinds: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("running", kinds, indirect=True)


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def found(bench: Bench, key: str) -> list[str]:
    return [job.remote_id for job in bench.adapter.find(key)]


def listed(bench: Bench, key: str) -> list[str]:
    return [job.remote_id for job in bench.adapter.list_jobs(key, since=bench.since)]


# --- requests --------------------------------------------------------------------------------------------------------


@at(*KINDS)
def test_what_is_no_fault_is_answered_with_422_and_one_sentence(running: Emulator, bench: Bench) -> None:
    headers = {"Authorization": f"Bearer {running.control['token']}"}
    said = {}
    for body in ("null", "[]", "{", "[" * 100_000, "\xff", '[{"revoked": 401}, {"on": "got", "status": 500}]'):
        answer = httpx.post(running.control["url"], content=body.encode("latin-1"), headers=headers)
        said[body[:20]] = (answer.status_code, answer.json()["detail"])
    assert said == {
        "null": (422, "A fault is a JSON object, or a list of them."),
        "[]": (422, "An empty list asks for nothing."),
        "{": (422, "The body is not JSON."),
        "[" * 20: (422, "The body is not JSON."),
        "\xff": (422, "The body is not JSON."),
        '[{"revoked": 401}, {': (422, f"on must be one of {', '.join(OPERATIONS)}."),
    }
    assert bench.adapter.check()  # the key was not revoked


@at(*KINDS)
def test_the_word_and_a_list_of_words_are_faults(running: Emulator, bench: Bench) -> None:
    running.faults({"on": "submit", "fault": "503:1:after", "times": 1}, {"on": "find", "fault": "503:1:before"})
    spec = bench.spec("true")
    with pytest.raises(OutcomeUnknown):
        bench.adapter.submit(spec)
    with pytest.raises(Unavailable):
        bench.adapter.find(spec.key)
    running.fault(clear=True)
    assert [job.key for job in bench.adapter.find(spec.key)] == [spec.key]


# --- jobs ------------------------------------------------------------------------------------------------------------


@at(*KINDS)
def test_a_job_vanishes_and_comes_back_as_it_is(running: Emulator, bench: Bench) -> None:
    job, other = bench.submit("sleep 60"), bench.submit("true")
    before = bench.wait_until_running(job)
    running.fault(vanished=job.remote_id)
    with pytest.raises(NotFound):
        bench.adapter.get(job.remote_id)
    assert (found(bench, job.key), listed(bench, job.key)) == ([], [])
    assert found(bench, other.key) == [other.remote_id]
    bench.adapter.cancel(job.remote_id)  # quiet: nobody knows it
    running.fault(clear=True)
    now = bench.adapter.get(job.remote_id)
    assert (now.state, now.started_at) == (RemoteState.RUNNING, before.started_at)
    assert found(bench, job.key) == [job.remote_id]


@at("slurm_rest")
def test_a_job_that_vanished_for_a_time_is_back_after_it(running: Emulator, bench: Bench) -> None:
    job = bench.submit("true")
    running.fault(vanished=job.key, for_s=2)
    assert found(bench, job.key) == []
    until(lambda: found(bench, job.key) == [job.remote_id], "it did not come back")


@at(*KINDS)
@pytest.mark.parametrize("skew_s", [900, -900])
def test_all_times_move_with_the_providers_clock(running: Emulator, bench: Bench, skew_s: int) -> None:
    before = bench.wait(bench.submit("sleep 1"))
    running.fault(clock_skew_s=skew_s)
    after, skew = bench.adapter.get(before.remote_id), timedelta(seconds=skew_s)
    assert before.created_at and before.started_at and before.ended_at
    assert after == replace(
        before,
        created_at=before.created_at + skew,
        started_at=before.started_at + skew,
        ended_at=before.ended_at + skew,
    )
    running_now = bench.wait_until_running(bench.submit("sleep 30"))
    assert (running_now.gpu_seconds or 0) < 100  # by its own clock it has just begun
    if bench.is_http:
        date = parsedate_to_datetime(httpx.get(f"{running.account.endpoint}/x").headers["Date"])
        assert abs(date.timestamp() - time.time() - skew_s) < 300


@at(*KINDS)
def test_what_was_shown_as_ended_is_shown_running_again_for_some_answers(running: Emulator, bench: Bench) -> None:
    job = bench.submit("exit 3")
    ended = bench.wait(job, until=lambda job: job.state.is_final and job.exit_code == 3)
    looks = 3
    answers_a_look = 2 if running.kind == "slurm_ssh" else 1  # squeue and sacct
    running.fault(backwards=job.remote_id, times=looks * answers_a_look)
    seen = [bench.adapter.get(job.remote_id) for _ in range(looks + 1)]
    runs = (RemoteState.RUNNING, None, None)
    assert [(one.state, one.exit_code, one.ended_at) for one in seen[:looks]] == [runs] * looks
    assert seen[looks] == ended


@at(*KINDS)
def test_two_submits_are_answered_with_one_id_and_are_two_jobs(running: Emulator, bench: Bench) -> None:
    first = bench.submit("true")
    running.fault(same_id=True, times=1)
    second, third = bench.submit("true"), bench.submit("true")
    (own,) = found(bench, second.key)
    assert (second.remote_id, second.key == first.key) == (first.remote_id, False)
    assert len({first.remote_id, own, third.remote_id}) == 3


# --- keys ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("running", "status"), [*product(HTTP, (401, 403)), ("slurm_ssh", 401)], indirect=["running"])
def test_a_key_that_was_revoked_needs_an_operator_whatever_is_asked(
    running: Emulator, bench: Bench, status: int
) -> None:
    job = bench.submit("sleep 30")
    spec = bench.spec("true")
    bench.adapter.get(job.remote_id)  # its connection is kept open
    running.fault(revoked=status)
    acts: dict[str, Callable[[Adapter], object]] = {
        "check": lambda adapter: adapter.check(),
        "submit": lambda adapter: adapter.submit(spec),
        "find": lambda adapter: adapter.find(job.key),
        "get": lambda adapter: adapter.get(job.remote_id),
        "list": lambda adapter: list(adapter.list_jobs(job.key, since=bench.since)),
        "cancel": lambda adapter: adapter.cancel(job.remote_id),
    }
    # A log-in that was open may be seen to break before the next one is refused.
    until(lambda: _error(acts["check"], bench.adapter) is Misconfigured, "the key still works")
    with closing(running.adapter()) as fresh:
        assert {name: _error(act, bench.adapter) for name, act in acts.items()} == dict.fromkeys(acts, Misconfigured)
        assert _error(acts["check"], fresh) is Misconfigured
    running.fault(clear=True)
    assert (found(bench, spec.key), found(bench, job.key)) == ([], [job.remote_id])


@at("slurm_ssh")
def test_a_log_in_that_is_open_ends_when_its_key_is_revoked(running: Emulator) -> None:
    async def log_in_and_wait() -> None:
        async with await _ssh(running) as connection:
            await asyncio.to_thread(running.fault, revoked=401)
            await asyncio.wait_for(connection.wait_closed(), PATIENCE_S)
        with pytest.raises(asyncssh.PermissionDenied):
            await _ssh(running)

    # On a thread of its own: where a browser test came before, this one has a running loop.
    with ThreadPoolExecutor(1) as beside:
        beside.submit(asyncio.run, log_in_and_wait()).result()


# --- bodies ----------------------------------------------------------------------------------------------------------

UNREADABLE = ("html", "invalid_utf8", "wrong_type", "20_mb", "empty", "missing_id")


@at(*KINDS)
@pytest.mark.parametrize("malformed", UNREADABLE)
def test_an_answer_to_a_submit_that_cannot_be_read_is_unknown_and_leaves_one_job(
    running: Emulator, bench: Bench, malformed: str
) -> None:
    spec = bench.spec("true")
    running.fault(on="submit", malformed=malformed, phase="after", times=1)
    with pytest.raises(OutcomeUnknown) as lost:
        bench.adapter.submit(spec)
    assert len(lost.value.summary) < 300
    assert [job.key for job in bench.adapter.find(spec.key)] == [spec.key]


@pytest.mark.parametrize(
    ("running", "malformed"),
    # A command that prints nothing says that there are no jobs.
    [pair for pair in product(KINDS, UNREADABLE) if pair != ("slurm_ssh", "empty")],
    indirect=["running"],
)
def test_an_answer_that_cannot_be_read_is_unavailable_and_never_an_empty_list(
    running: Emulator, bench: Bench, malformed: str
) -> None:
    job = bench.submit("true")
    running.fault(on="*", malformed=malformed, phase="after")
    acts: dict[str, Callable[[Adapter], object]] = {
        "find": lambda adapter: adapter.find(job.key),
        "get": lambda adapter: adapter.get(job.remote_id),
    }
    assert {name: _error(act, bench.adapter) for name, act in acts.items()} == dict.fromkeys(acts, Unavailable)


@at(*KINDS)
def test_a_reset_in_the_middle_of_the_body_leaves_a_job(running: Emulator, bench: Bench) -> None:
    spec = bench.spec("true")
    running.faults(
        {"on": "submit", "reset_in_body": True, "phase": "after", "times": 1},
        {"on": "get", "reset_in_body": True, "phase": "after"},
    )
    with pytest.raises(OutcomeUnknown):
        bench.adapter.submit(spec)
    (job,) = bench.adapter.find(spec.key)
    with pytest.raises(Unavailable):
        bench.adapter.get(job.remote_id)


@at(*HTTP)
def test_a_reset_in_the_middle_comes_after_the_head_and_half_the_body(running: Emulator) -> None:
    running.fault(on="check", status=200, body="0123456789", reset_in_body=True)
    came = b""
    with (
        pytest.raises(httpx.ReadError),
        httpx.stream("GET", f"{running.account.endpoint}/auth/", headers={"x-slurm-user-name": "a"}) as answer,
    ):
        assert (answer.status_code, answer.headers["Content-Length"]) == (200, "10")
        for piece in answer.iter_raw():
            came += piece
    assert came == b"01234"


# --- logs ------------------------------------------------------------------------------------------------------------


@at(*WITH_LOG)
def test_a_log_that_drips_keeps_nobody_waiting(running: Emulator, bench: Bench) -> None:
    job = _writing(bench)
    running.fault(log_bytes_per_s=0.2)
    if running.kind == "sakura_dok":
        with _stream(running, job) as stream:
            assert [stream.recv(PATIENCE_S) for _ in range(2)] == ["o", "n"]
        until(lambda: _live(bench, job, max_bytes=100) == b"o", "no first byte")
    else:
        began = time.monotonic()
        assert _error(lambda adapter: _live(bench, job, max_bytes=100), bench.adapter) is Unavailable
        assert time.monotonic() - began < 2 * PATIENCE_S


@at(*WITH_LOG)
def test_a_burst_is_read_in_pieces_that_are_bounded(running: Emulator, bench: Bench) -> None:
    job = _writing(bench, ends=True)
    megabytes = 200 if running.kind == "sakura_dok" else 20
    running.fault(log_burst_mb=megabytes)
    assert _live(bench, job, offset=64, max_bytes=100) == (b"x" * 63 + b"\n" + b"x" * 36)
    pieces = cast(FinalLog, bench.adapter).fetch_log(job)
    sizes, last = [0], b""
    for piece in pieces:
        sizes.append(len(piece))
        last = (last + piece)[-len(LOG) :]
    assert (sum(sizes), max(sizes) <= 1 << 20, last) == (megabytes * 1_000_000 + len(LOG), True, LOG)


@at("sakura_dok")
def test_a_burst_on_the_live_stream_is_read_as_far_as_it_is_asked_for(running: Emulator, bench: Bench) -> None:
    job = _writing(bench)
    running.fault(log_burst_mb=200)
    deep = 10_000_000 // 64 * 64
    until(lambda: _live(bench, job, offset=deep, max_bytes=1 << 20) == (b"x" * 63 + b"\n") * (1 << 14), "other bytes")


@at(*WITH_LOG)
@pytest.mark.parametrize("ends", [False, True], ids=["live", "ended"])
def test_a_log_that_is_no_utf8_is_the_bytes_that_it_is(running: Emulator, bench: Bench, ends: bool) -> None:
    job = _writing(bench, ends=ends)
    running.fault(log_garbled=True)
    until(lambda: _live(bench, job, max_bytes=100) == b"\xff\xfe\xc3(\n" + LOG, "other bytes")
    assert _live(bench, job, offset=2, max_bytes=100) == b"\xc3(\n" + LOG
    if ends:
        assert b"".join(cast(FinalLog, bench.adapter).fetch_log(job)) == b"\xff\xfe\xc3(\n" + LOG


@at("sakura_dok")
def test_a_stream_is_cut_without_a_word(running: Emulator, bench: Bench) -> None:
    job = _writing(bench)
    running.fault(log_cut_every_s=1)
    with _stream(running, job) as stream, pytest.raises(ConnectionClosedError) as closed:
        while True:
            stream.recv(PATIENCE_S)
    assert (closed.value.rcvd, bench.adapter.get(job.remote_id).state) == (None, RemoteState.RUNNING)


@at(*WITH_LOG)
def test_a_log_that_is_cut_is_unavailable_and_comes_whole_at_the_next_try(running: Emulator, bench: Bench) -> None:
    job = _writing(bench, ends=True)
    running.fault(log_cut_every_s=1, log_bytes_per_s=0.5)
    assert _error(lambda adapter: b"".join(cast(FinalLog, adapter).fetch_log(job)), bench.adapter) is Unavailable
    running.fault(clear=True)
    assert b"".join(cast(FinalLog, bench.adapter).fetch_log(job)) == LOG


# --- usage -----------------------------------------------------------------------------------------------------------


@at("slurm_rest", "slurm_ssh")
def test_accounting_is_told_twice_late_corrected_and_negative(running: Emulator, bench: Bench) -> None:
    job = bench.wait(bench.submit("sleep 1"), until=lambda job: job.state.is_final and job.gpu_seconds is not None)
    (line,) = _usage(bench, job)
    told = {}
    for name, fault in {
        "duplicated": {"usage_duplicated": True},
        "late": {"usage_late_s": 3_888_000},
        "corrected": {"usage_corrected_by_s": 60},
        "negative": {"usage_negative": True},
    }.items():
        running.fault(clear=True)
        running.fault(**fault)
        told[name] = _usage(bench, job)
    assert told == {
        "duplicated": [line, line],
        "late": [],
        "corrected": [replace(line, gpu_seconds=line.gpu_seconds + 60 * bench.target.gpus)],
        "negative": [],  # a count that is none is not said
    }


@at("sakura_dok")
def test_the_bill_is_told_twice_late_corrected_and_negative(running: Emulator, bench: Bench) -> None:
    job = bench.wait(bench.submit("sleep 1"))
    (line,) = _bill(bench, job)
    running.fault(usage_duplicated=True)
    assert _bill(bench, job) == [line, line]
    running.fault(usage_late_s=3_888_000)
    assert _bill(bench, job) == []
    running.fault(usage_corrected_by_s=100)
    assert _bill(bench, job) == [replace(line, usage=line.usage + 100, amount=(line.usage + 100) * 28 // 100)]
    running.fault(usage_negative=True)
    assert [one.usage for one in _bill(bench, job)] == [-line.usage]  # a line that takes back is told as it stands
    token, secret = (running.account.credentials[name] for name in ("token", "secret"))
    (bill,) = httpx.get(f"{running.account.endpoint}/billing_infos/", auth=(token, secret)).json()
    assert [one["usage"] for one in bill["details"]] == [-line.usage]


# --- helpers ---------------------------------------------------------------------------------------------------------


def _error(act: Callable[[Adapter], object], adapter: Adapter) -> type[ProviderError] | None:
    """The class that an error is of: one of errors.py's."""
    try:
        act(adapter)
    except Misconfigured:
        return Misconfigured
    except ProviderError as error:
        return type(error)
    return None


def _writing(bench: Bench, *, ends: bool = False) -> RemoteJob:
    """A job whose log is LOG; it runs on, or has ended."""
    job = bench.submit(f"printf 'one\\ntwo\\n'; sleep {0 if ends else 120}")
    if ends:
        return bench.wait(job)
    job = bench.wait_until_running(job)
    until(lambda: _live(bench, job, max_bytes=100) == LOG, "the log did not come")
    return job


def _live(bench: Bench, job: RemoteJob, *, offset: int = 0, max_bytes: int) -> bytes:
    return cast(LiveLog, bench.adapter).read_log(job, offset=offset, max_bytes=max_bytes).data


def _stream(running: Emulator, job: RemoteJob) -> Any:
    token, secret = (running.account.credentials[name] for name in ("token", "secret"))
    path = f"{running.account.endpoint}/tasks/{job.remote_id}/containers/0/stream/"
    answer = httpx.post(path, auth=(token, secret)).json()
    return connect(answer["url"], additional_headers={"Authorization": f"Bearer {answer['token']}"}, compression=None)


async def _ssh(running: Emulator) -> asyncssh.SSHClientConnection:
    host, _, port = running.account.endpoint.partition(":")
    key = asyncssh.import_private_key(running.account.credentials["private_key"])
    return await asyncssh.connect(host, int(port), username="jga", client_keys=[key], known_hosts=None, config=None)


def _usage(bench: Bench, job: RemoteJob) -> list[RemoteUsage]:
    assert job.ended_at is not None
    hour = timedelta(hours=1)
    lines = bench.ability(UsageStatement).usage(since=job.ended_at - hour, until=job.ended_at + hour)
    return [line for line in lines if line.key == job.key]


def _bill(bench: Bench, job: RemoteJob) -> list[RemoteCharge]:
    assert job.ended_at is not None
    month = job.ended_at.astimezone(JAPAN)
    return bench.ability(BillingStatement).charges(year=month.year, month=month.month)
