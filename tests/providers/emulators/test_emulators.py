"""What only an emulator can be asked for: faults of the provider itself, its own death, its place."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from portal.providers.base import RemoteState
from portal.providers.conformance import Bench
from portal.providers.errors import OutcomeUnknown, ProviderError, Unavailable
from tests.providers.emulated import KINDS, Emulator, bench_of, emulator, start_emulator
from tests.providers.file_server import FileServer


@pytest.fixture(scope="module", params=KINDS)
def running(request: pytest.FixtureRequest) -> Iterator[Emulator]:
    with emulator(request.param, "--running", "4") as one:
        yield one


@pytest.fixture
def bench(running: Emulator, store: FileServer) -> Iterator[Bench]:
    running.fault(clear=True)
    made = bench_of(running, store)
    yield made
    running.fault(clear=True)
    made.close()


def test_a_new_job_may_be_missing_from_lists_for_a_while(running: Emulator, bench: Bench) -> None:
    running.fault(on="list", listing_lag_s=60)
    job = bench.submit("true")
    assert bench.adapter.find(job.key) == []
    running.fault(clear=True)
    assert [found.remote_id for found in bench.adapter.find(job.key)] == [job.remote_id]


@pytest.mark.parametrize("fault", [{"status": 503}, {"reset": True}], ids=["503", "reset"])
def test_a_fault_after_the_effect_leaves_a_job(running: Emulator, bench: Bench, fault: dict[str, object]) -> None:
    running.fault(on="submit", phase="after", times=1, **fault)
    spec = bench.spec("true")
    with pytest.raises(OutcomeUnknown):
        bench.adapter.submit(spec)
    assert [job.key for job in bench.adapter.find(spec.key)] == [spec.key]


def test_a_refusal_that_quotes_the_request_tells_no_secret(running: Emulator, bench: Bench) -> None:
    spec = replace(bench.spec("true"), plan="no-such-plan", environment={"TOKEN": "canary-canary"})
    running.fault(on="submit", status=422 if running.kind == "sakura_dok" else 1, body="bad: canary-canary")
    with pytest.raises(ProviderError) as caught:
        bench.adapter.submit(spec)
    assert "canary" not in f"{caught.value!r} {spec!r} {running.account!r}"


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_emulator_finds_its_jobs_again(kind: str, store: FileServer) -> None:
    with emulator(kind, "--running", "2") as running:
        port = int(running.account.endpoint.removeprefix("http://").split("/")[0].rpartition(":")[2])
        bench = bench_of(running, store)
        survivor = bench.submit("sleep 6; exit 5")
        waiting = [bench.submit("sleep 60") for _ in range(2)]
        for job in (survivor, waiting[0]):  # both that may run at once: none is killed in the middle of its start
            bench.wait_until_running(job)
        os.kill(running.process.pid, signal.SIGKILL)
        running.process.wait()
        with pytest.raises(Unavailable):
            bench.adapter.get(survivor.remote_id)
        again = start_emulator(kind, running.state, "--running", "2", port=port)
        running.process = again.process
        assert (again.account, again.control["token"]) == (running.account, running.control["token"])
        assert bench.wait(survivor).exit_code == 5
        for job in waiting:
            bench.adapter.cancel(job.remote_id)
            assert bench.wait(job).state is RemoteState.CANCELLED
        bench.close()


def test_emulators_do_not_start_in_production() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "portal.providers.emulators", "sakura_dok", "--state", "/nonexistent", "--port", "0"],
        env={**os.environ, "PORTAL_MODE": "production"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "production" in done.stderr and "Traceback" not in done.stderr
