"""One adapter for v0.0.38 to v0.0.45, over the wire. What every provider promises is in tests/providers."""

from __future__ import annotations

import pytest

from portal.providers.base import RemoteState
from portal.providers.errors import Misconfigured, NotFound
from portal.providers.slurm_rest.client import VERSIONS
from tests.providers.emulated import bench_of, emulator
from tests.providers.file_server import FileServer


@pytest.mark.parametrize("version", VERSIONS[::3] + VERSIONS[-1:])
def test_each_version_runs_a_job_to_its_exit_code(version: str) -> None:
    store = FileServer()
    with emulator("slurm_rest", "--versions", version) as running:
        bench = bench_of(running, store)
        assert bench.adapter.check().startswith(f"slurmrestd {version},")
        job = bench.wait(bench.submit("sleep 1; echo seen; exit 3"))
        assert (job.state, job.exit_code, job.reason) == (RemoteState.FAILED, 3, "NonZeroExitCode")
        assert job.gpu_seconds in (1, 2, 3)
        assert bench.adapter.find(job.key) == [job]
        stopped = bench.submit("sleep 60")
        bench.wait_until_running(stopped)
        bench.adapter.cancel(stopped.remote_id)
        assert bench.wait(stopped).state is RemoteState.CANCELLED
        with pytest.raises(NotFound):
            bench.adapter.get("4711")
        bench.close()
    store.close()


def test_a_server_that_speaks_no_version_of_ours() -> None:
    with (
        emulator("slurm_rest", "--versions", "v0.0.99") as running,
        pytest.raises(Misconfigured, match=r"none of v0\.0\.38"),
    ):
        running.adapter().check()
