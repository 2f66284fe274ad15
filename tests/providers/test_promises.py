"""What every adapter promises (portal/providers/__init__.py), tried with each provider's emulator over the wire."""

from __future__ import annotations

import hashlib
import io
import itertools
import os
import signal
import tarfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import jwt
import pytest

from portal.providers.base import (
    Artifacts,
    FinalLog,
    JobSpec,
    LiveLog,
    RemoteJob,
    RemoteState,
    UsageStatement,
)
from portal.providers.bootstrap import ManifestFile
from portal.providers.errors import Misconfigured, NotFound, OutcomeUnknown, ProviderError, Rejected, Unavailable
from tests.providers.emulated import KINDS, Emulator, Provider, emulator, start_emulator
from tests.providers.file_server import FileServer

_numbers = itertools.count(1)


@pytest.fixture(scope="module", params=KINDS)
def running_emulator(request: pytest.FixtureRequest) -> Iterator[Emulator]:
    with emulator(request.param, "--running", "4") as running:
        yield running


@pytest.fixture(scope="module")
def store() -> Iterator[FileServer]:
    server = FileServer()
    yield server
    server.close()


@pytest.fixture
def provider(running_emulator: Emulator, store: FileServer) -> Iterator[Provider]:
    running_emulator.fault(clear=True)
    adapter = running_emulator.adapter()
    yield Provider(running_emulator, adapter, store)
    running_emulator.fault(clear=True)
    adapter.close()


@pytest.fixture
def key() -> str:
    return f"jga-test-{next(_numbers)}"


def recently() -> datetime:
    return datetime.now(UTC) - timedelta(minutes=10)


def unpacked(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        members = ((member, archive.extractfile(member)) for member in archive if member.isfile())
        return {member.name.removeprefix("./"): stream.read() for member, stream in members if stream}


def output_of(provider: Provider, job: RemoteJob) -> dict[str, bytes] | None:
    """As the collector gets it: from the adapter, or from the store where the bootstrap sent it."""
    if isinstance(provider.adapter, Artifacts):
        pieces = provider.adapter.fetch_artifacts(job)
        return None if pieces is None else unpacked(b"".join(pieces))
    data = provider.store.objects.get(f"{job.key}/output")
    return None if data is None else unpacked(data)


def log_of(provider: Provider, job: RemoteJob) -> bytes:
    if isinstance(provider.adapter, FinalLog):
        return b"".join(provider.adapter.fetch_log(job))
    return provider.store.objects[f"{job.key}/log"]


class TestAccount:
    def test_good_credentials_are_confirmed_in_one_line(self, provider: Provider) -> None:
        assert len(provider.adapter.check().splitlines()) == 1

    def test_bad_credentials_need_an_operator(self, provider: Provider) -> None:
        credentials = dict(provider.emulator.account.credentials)
        if provider.kind == "sakura_dok":
            credentials["secret"] = "revoked-canary"
        elif provider.kind == "slurm_rest":
            claims = {"sun": "jga", "iat": 1, "exp": int(time.time()) - 1}
            credentials["token"] = jwt.encode(claims, provider.emulator.private["jwt_key"])
        else:
            import asyncssh

            credentials["private_key"] = asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()
        adapter = provider.emulator.adapter(replace(provider.emulator.account, credentials=credentials))
        for act in (
            adapter.check,
            lambda: adapter.get("1"),
            lambda: adapter.find("jga-x"),
            lambda: list(adapter.list_jobs("jga-", since=recently())),
            lambda: adapter.submit(provider.spec("jga-bad", "true")),
            lambda: adapter.cancel("1"),
        ):
            with pytest.raises(Misconfigured) as caught:
                act()
            assert not any(value in str(caught.value) for value in credentials.values())
        adapter.close()

    def test_missing_credentials_are_named(self, provider: Provider) -> None:
        with pytest.raises(Misconfigured, match="credentials lack"):
            provider.emulator.adapter(replace(provider.emulator.account, credentials={}))

    def test_nobody_there_is_unavailable_at_once(self, provider: Provider, key: str) -> None:
        endpoint = "127.0.0.1:9" if provider.kind == "slurm_ssh" else "http://127.0.0.1:9"
        adapter = provider.emulator.adapter(replace(provider.emulator.account, endpoint=endpoint))
        began = time.monotonic()
        for act in (adapter.check, lambda: adapter.submit(provider.spec(key, "true")), lambda: adapter.find(key)):
            with pytest.raises(Unavailable):
                act()
        assert time.monotonic() - began < 3
        adapter.close()


class TestLife:
    def test_a_job_runs_and_leaves_log_output_and_times(self, provider: Provider, key: str) -> None:
        began = datetime.now(UTC).replace(microsecond=0)
        text = "一二 三\n".encode()
        provider.store.put(f"{key}/in", text)
        item = ManifestFile(
            provider.store.url(f"{key}/in"), hashlib.sha256(text).hexdigest(), len(text), "日本/語 1.txt"
        )
        job = provider.run(
            key,
            'cat "$PORTAL_DATA_DIR/日本/語 1.txt" && cp "$PORTAL_DATA_DIR/日本/語 1.txt" "$PORTAL_OUTPUT_DIR/写し.txt"',
            inputs=(item,),
        )
        assert (job.state, job.exit_code, job.key) == (RemoteState.SUCCEEDED, 0, key)
        assert job.started_at and job.ended_at and began <= job.started_at <= job.ended_at <= datetime.now(UTC)
        assert (log_of(provider, job), output_of(provider, job)) == (text, {"写し.txt": text})

    def test_a_program_that_exits_3_failed_with_3(self, provider: Provider, key: str) -> None:
        job = provider.run(key, "echo 'no such model' >&2; exit 3")
        assert (job.state, job.exit_code) == (RemoteState.FAILED, 3)
        assert (log_of(provider, job), output_of(provider, job)) == (b"no such model\n", None)

    def test_a_program_killed_by_a_signal_failed(self, provider: Provider, key: str) -> None:
        job = provider.run(key, "kill -KILL $$")
        assert (job.state, job.exit_code) == (RemoteState.FAILED, 137)

    def test_a_job_is_queued_before_it_runs(self, provider: Provider, key: str) -> None:
        job = provider.adapter.submit(provider.spec(key, "sleep 30"))
        assert (job.state, job.key, job.started_at, job.ended_at) == (RemoteState.QUEUED, key, None, None)
        running = provider.wait_until_running(job.remote_id)
        assert (running.state, running.exit_code, running.ended_at) == (RemoteState.RUNNING, None, None)
        provider.adapter.cancel(job.remote_id)

    def test_a_second_copy_in_the_same_place_runs_nothing(self, provider: Provider, key: str) -> None:
        if provider.kind == "sakura_dok":
            pytest.skip("each DOK task has a file system of its own: the look before a repeat is the guard there")
        first = provider.run(key, "echo once >>$PORTAL_OUTPUT_DIR/runs")
        if provider.kind == "slurm_ssh":
            assert provider.adapter.submit(provider.spec(key, "true")).remote_id == first.remote_id
            return
        assert first.state is RemoteState.SUCCEEDED

    def test_one_spec_gives_equal_output_everywhere(self, provider: Provider, key: str) -> None:
        command = (
            'python3 -c "import numpy, os;'
            "numpy.save(os.environ['PORTAL_OUTPUT_DIR'] + '/a.npy', numpy.arange(9) ** 2);"
            'print(\'九\')"; mkdir "$PORTAL_OUTPUT_DIR/sub"; printf \'x\\0y\' >"$PORTAL_OUTPUT_DIR/sub/b.bin"'
        )
        job = provider.run(key, command)
        output = output_of(provider, job)
        assert output is not None
        digests = {name: hashlib.sha256(data).hexdigest()[:16] for name, data in output.items()}
        assert (digests, log_of(provider, job)) == (
            # Numbers, not a computation: equal here means equal on all three.
            {"a.npy": "6653154a22013813", "sub/b.bin": "ce3890a816f5237a"},
            "九\n".encode(),
        )


class TestFinding:
    def test_a_key_finds_what_it_made_and_nothing_else(self, provider: Provider, key: str) -> None:
        others = [provider.adapter.submit(provider.spec(f"{key}{end}", "true")) for end in ("0", "-x")]
        job = provider.adapter.submit(provider.spec(key, "true"))
        assert [found.remote_id for found in provider.adapter.find(key)] == [job.remote_id]
        assert provider.adapter.find(f"{key}-nobody") == []
        for other in others:
            provider.wait(other.remote_id)

    def test_an_ended_job_is_still_found(self, provider: Provider, key: str) -> None:
        job = provider.run(key, "true")
        assert provider.adapter.find(key) == [job]

    def test_the_list_has_all_of_a_prefix(self, provider: Provider, key: str) -> None:
        jobs = [provider.adapter.submit(provider.spec(f"{key}-a{number}", "true")) for number in range(3)]
        other = provider.adapter.submit(provider.spec(f"{key}-b", "true"))
        listed = provider.adapter.list_jobs(f"{key}-a", since=recently())
        assert {job.remote_id for job in listed} == {job.remote_id for job in jobs}
        assert list(provider.adapter.list_jobs(key, since=datetime.now(UTC) + timedelta(hours=1))) == []
        for job in [*jobs, other]:
            provider.wait(job.remote_id)

    def test_a_job_that_nobody_knows_is_not_found(self, provider: Provider) -> None:
        for remote_id in ("00000000-0000-4000-8000-000000000000", "99999999", "../../plans", "1; id"):
            with pytest.raises(NotFound):
                provider.adapter.get(remote_id)
            provider.adapter.cancel(remote_id)

    def test_a_new_job_may_be_missing_from_lists_for_a_while(self, provider: Provider, key: str) -> None:
        provider.emulator.fault(on="list", listing_lag_s=60)
        job = provider.adapter.submit(provider.spec(key, "true"))
        assert provider.adapter.find(key) == []
        provider.emulator.fault(clear=True)
        assert [found.remote_id for found in provider.adapter.find(key)] == [job.remote_id]


class TestEnding:
    def test_cancelling_a_running_job_ends_it_and_may_be_repeated(self, provider: Provider, key: str) -> None:
        job = provider.adapter.submit(
            provider.spec(key, 'echo part >"$PORTAL_OUTPUT_DIR/part"; echo begun; sleep 60 & wait; sleep 60')
        )
        provider.wait_until_running(job.remote_id)
        time.sleep(1)
        provider.adapter.cancel(job.remote_id)
        provider.adapter.cancel(job.remote_id)
        ended = provider.wait(job.remote_id)
        provider.adapter.cancel(job.remote_id)
        assert (ended.state, provider.adapter.get(job.remote_id)) == (RemoteState.CANCELLED, ended)
        assert (log_of(provider, ended), output_of(provider, ended)) == (b"begun\n", {"part": b"part\n"})

    def test_cancelling_a_waiting_job_ends_it_before_it_starts(self, provider: Provider, key: str) -> None:
        job = provider.adapter.submit(provider.spec(key, "true"))
        provider.adapter.cancel(job.remote_id)
        ended = provider.wait(job.remote_id)
        assert (ended.state, ended.started_at) == (RemoteState.CANCELLED, None)

    def test_cancelling_an_ended_job_changes_nothing(self, provider: Provider, key: str) -> None:
        job = provider.run(key, "true")
        provider.adapter.cancel(job.remote_id)
        assert provider.adapter.get(job.remote_id) == job


class TestLog:
    def test_a_live_log_is_read_from_where_one_stopped(self, provider: Provider, key: str) -> None:
        adapter = provider.adapter
        if not isinstance(adapter, LiveLog):
            pytest.skip("this provider hands out no log: the bootstrap sends it")
        job = adapter.submit(provider.spec(key, "echo 一; sleep 3; echo 二; sleep 1"))
        collected, offset = [], 0
        deadline = time.monotonic() + 30
        while not adapter.get(job.remote_id).state.is_final and time.monotonic() < deadline:
            piece = adapter.read_log(job, offset=offset, max_bytes=4)
            assert piece.next_offset == offset + len(piece.data) and len(piece.data) <= 4
            collected.append(piece.data)
            offset = piece.next_offset
            time.sleep(0.1)
        assert b"".join(collected).startswith("一\n".encode())
        rest = adapter.read_log(job, offset=offset, max_bytes=1000).data
        assert b"".join(collected) + rest == "一\n二\n".encode()

    def test_a_waiting_job_has_an_empty_log(self, provider: Provider, key: str) -> None:
        if not isinstance(provider.adapter, LiveLog):
            pytest.skip("this provider hands out no log: the bootstrap sends it")
        job = provider.adapter.submit(provider.spec(key, "true"))
        assert provider.adapter.read_log(job, offset=0, max_bytes=100).data == b""
        provider.wait(job.remote_id)

    def test_a_large_log_comes_whole(self, provider: Provider, key: str) -> None:
        job = provider.run(key, "head -c 5000000 /dev/zero | tr '\\0' 'x'")
        assert log_of(provider, job) == b"x" * 5_000_000


class TestUsage:
    def test_the_statement_counts_gpu_seconds_once(self, provider: Provider, key: str) -> None:
        if not isinstance(provider.adapter, UsageStatement):
            pytest.skip("this provider makes no statement")
        job = provider.run(key, "sleep 2")
        lines = list(provider.adapter.usage(since=recently(), until=datetime.now(UTC) + timedelta(minutes=1)))
        mine = [line for line in lines if line.key == key]
        assert [(line.remote_id, line.gpu_seconds) for line in mine] == [(job.remote_id, job.gpu_seconds)]
        assert job.gpu_seconds in (2, 3, 4)


class TestRefusal:
    def test_a_plan_that_does_not_exist_is_refused(self, provider: Provider, key: str) -> None:
        with pytest.raises((Rejected, Misconfigured)):
            provider.adapter.submit(replace(provider.spec(key, "true"), plan="no-such-plan"))
        assert provider.adapter.find(key) == []

    def test_more_gpus_than_there_are_is_refused(self, provider: Provider, key: str) -> None:
        if provider.kind == "sakura_dok":
            pytest.skip("DOK counts GPUs by plan")
        with pytest.raises(Rejected) as caught:
            provider.adapter.submit(replace(provider.spec(key, "true"), gpus=999))
        assert caught.value.failure == "no_capacity"

    def test_a_refusal_quotes_no_secret(self, provider: Provider, key: str) -> None:
        spec = replace(provider.spec(key, "true"), plan="no-such-plan", environment={"TOKEN": "canary-canary"})
        provider.emulator.fault(
            on="submit", status=422 if provider.kind == "sakura_dok" else 1, body="bad: canary-canary"
        )
        with pytest.raises(ProviderError) as caught:
            provider.adapter.submit(spec)
        assert "canary" not in f"{caught.value!r} {spec!r} {provider.emulator.account!r}"


class TestLostAnswers:
    """Whatever went wrong after the request left: unknown, and the key finds the job."""

    @pytest.mark.parametrize(
        "fault",
        [
            {"status": 503},
            {"status": 500},
            {"reset": True},
            {"status": 200, "body": "<html>sorry</html>"},
            {"status": 200, "body": "{}"},
            {"status": 200, "body": '{"id": null, "job_id": nu'},
        ],
        ids=lambda fault: "-".join(str(value) for value in fault.values()),
    )
    def test_accepted_but_the_answer_is_lost(self, provider: Provider, key: str, fault: dict[str, object]) -> None:
        provider.emulator.fault(on="submit", phase="after", times=1, **fault)
        with pytest.raises(OutcomeUnknown):
            provider.adapter.submit(provider.spec(key, "true"))
        assert [job.key for job in provider.adapter.find(key)] == [key]

    def test_a_hang_ends_as_unknown_and_the_job_is_found(self, provider: Provider, key: str) -> None:
        provider.emulator.fault(on="submit", phase="after", latency_s=40, times=1)
        began = time.monotonic()
        with pytest.raises(OutcomeUnknown):
            provider.adapter.submit(provider.spec(key, "true"))
        assert time.monotonic() - began < 25
        assert [job.key for job in provider.adapter.find(key)] == [key]

    def test_a_lost_read_is_unavailable(self, provider: Provider, key: str) -> None:
        job = provider.run(key, "true")
        for fault in ({"status": 503}, {"reset": True}, {"status": 200, "body": "<html>"}):
            for on, act in {
                "get": lambda: provider.adapter.get(job.remote_id),
                "find": lambda: provider.adapter.find(key),
                "list": lambda: list(provider.adapter.list_jobs(key, since=recently())),
            }.items():
                provider.emulator.fault(clear=True)
                provider.emulator.fault(on=on, **fault)
                if provider.kind == "slurm_ssh" and "body" in fault:
                    continue  # text that is no line of the format is no job
                with pytest.raises(Unavailable):
                    act()

    def test_too_many_requests_says_when_to_come_back(self, provider: Provider, key: str) -> None:
        if provider.kind == "slurm_ssh":
            pytest.skip("SSH has no 429")
        provider.emulator.fault(on="submit", status=429, headers={"Retry-After": "17"})
        with pytest.raises(Unavailable) as caught:
            provider.adapter.submit(provider.spec(key, "true"))
        assert caught.value.retry_after_s == 17

    def test_a_body_of_20_megabytes_is_not_read_to_its_end(self, provider: Provider, key: str) -> None:
        if provider.kind == "slurm_ssh":
            pytest.skip("a command's output is bounded elsewhere")
        provider.emulator.fault(on="submit", status=200, body='{"id": "' + "x" * 4_000_000)
        with pytest.raises(OutcomeUnknown, match="larger"):
            provider.adapter.submit(provider.spec(key, "true"))


class TestManyAtOnce:
    def test_eight_threads_share_one_adapter(self, provider: Provider, key: str) -> None:
        jobs: list[RemoteJob] = []

        def submit(number: int) -> None:
            jobs.append(provider.adapter.submit(provider.spec(f"{key}-{number}", "true")))

        threads = [threading.Thread(target=submit, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert {job.key for job in jobs} == {f"{key}-{number}" for number in range(16)}
        for job in jobs:
            provider.adapter.cancel(job.remote_id)
        assert {provider.wait(job.remote_id).key for job in jobs} == {job.key for job in jobs}


@pytest.mark.parametrize("kind", KINDS)
def test_a_job_is_ended_at_its_time_limit(kind: str, store: FileServer, key: str) -> None:
    with emulator(kind, "--time-scale", "300") as running:
        provider = Provider(running, running.adapter(), store)
        job = provider.run(key, "sleep 60", time_limit_s=600)
        assert job.state is RemoteState.TIMED_OUT
        deadline = time.monotonic() + 20
        while job.gpu_seconds is None and time.monotonic() < deadline:  # accounting may lag behind the queue
            time.sleep(0.1)
            job = provider.adapter.get(job.remote_id)
        assert job.gpu_seconds is not None and job.gpu_seconds >= 600
        provider.adapter.close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_emulator_finds_its_jobs_again(kind: str, store: FileServer, key: str) -> None:
    with emulator(kind, "--running", "2") as running:
        port = int(running.account.endpoint.removeprefix("http://").split("/")[0].rpartition(":")[2])
        provider = Provider(running, running.adapter(), store)
        survivor = provider.adapter.submit(provider.spec(f"{key}-a", "sleep 4; exit 5"))
        waiting = [provider.adapter.submit(provider.spec(f"{key}-{name}", "sleep 60")) for name in "bc"]
        provider.wait_until_running(survivor.remote_id)
        os.kill(running.process.pid, signal.SIGKILL)
        running.process.wait()
        with pytest.raises(Unavailable):
            provider.adapter.get(survivor.remote_id)
        again = start_emulator(kind, running.state, "--running", "2", port=port)
        running.process = again.process
        assert (again.account, again.control["token"]) == (running.account, running.control["token"])
        assert provider.wait(survivor.remote_id).exit_code == 5
        for job in waiting:
            provider.adapter.cancel(job.remote_id)
            assert provider.wait(job.remote_id).state is RemoteState.CANCELLED
        provider.adapter.close()


def test_emulators_do_not_start_in_production() -> None:
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-m", "portal.providers.emulators", "sakura_dok", "--state", "/nonexistent", "--port", "0"],
        env={**os.environ, "PORTAL_MODE": "production"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "production" in done.stderr and "Traceback" not in done.stderr


def test_job_spec_has_no_secret_in_its_repr() -> None:
    spec = JobSpec("k", "script", "plan", 1, 60, environment={"A": "canary"})
    assert "canary" not in repr(spec)
