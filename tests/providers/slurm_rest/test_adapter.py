"""One adapter for v0.0.38 to v0.0.45, over the wire. What every provider promises is in tests/providers."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from portal.providers.base import Account, RemoteState
from portal.providers.errors import Misconfigured, NotFound, Unavailable
from portal.providers.slurm_rest import SlurmRest
from portal.providers.slurm_rest.client import VERSIONS
from tests.providers.answering import Asked, Reply, answering
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
        bench.adapter.set_time_limit(stopped.remote_id, time_limit_s=5400)
        bench.adapter.cancel(stopped.remote_id)
        assert bench.wait(stopped).state is RemoteState.CANCELLED
        with pytest.raises(NotFound):
            bench.adapter.get("4711")
        for number in ("4711", stopped.remote_id):
            with pytest.raises(NotFound):
                bench.adapter.set_time_limit(number, time_limit_s=5400)
        bench.close()
    store.close()


def test_a_server_that_speaks_no_version_of_ours() -> None:
    with (
        emulator("slurm_rest", "--versions", "v0.0.99") as running,
        pytest.raises(Misconfigured, match=r"none of v0\.0\.38"),
    ):
        running.adapter().check()


class Gateway:
    """A slurmrestd of one version, with accounting or without, that can lose its accounting's path for a moment."""

    def __init__(self, version: str, *, missing: object = b"Not found") -> None:
        self.version = version
        self.missing = missing
        self.accounts = True

    def __call__(self, asked: Asked) -> Reply:
        area, version = asked.path.strip("/").split("/")[:2]
        if version != self.version or (area == "slurmdb" and not self.accounts):
            return Reply(404, self.missing)
        return Reply(body={"errors": [], "jobs": []})


def adapter_at(url: str) -> SlurmRest:
    return SlurmRest(Account("slurm_rest", url, {"user": "u", "token": "t"}, {"work_dir": "/jobs"}))


def test_accounting_that_has_answered_and_is_gone_for_a_moment_is_no_empty_list() -> None:
    gateway = Gateway("v0.0.40")
    with answering(to=gateway) as server:
        adapter = adapter_at(server.url)
        assert adapter.find("jga-t-1") == []
        gateway.accounts = False
        for ask in (lambda: adapter.find("jga-t-1"), lambda: list(adapter.list_jobs("jga", since=datetime.now(UTC)))):
            with pytest.raises(Unavailable):
                ask()
        gateway.accounts = True
        assert adapter.find("jga-t-1") == []


def test_a_cluster_without_accounting_is_asked_for_it_once() -> None:
    gateway = Gateway("v0.0.40")
    gateway.accounts = False
    with answering(to=gateway) as server:
        adapter = adapter_at(server.url)
        assert [adapter.find("jga-t-1") for _ in range(3)] == [[], [], []]
        assert sum("/slurmdb/" in asked.path for asked in server.asked) == 1


@pytest.mark.parametrize("missing", [b"Not found", {"message": "no route"}])
def test_a_version_is_looked_for_behind_a_gateway_whatever_its_404_is_made_of(missing: object) -> None:
    with answering(to=Gateway("v0.0.41", missing=missing)) as server:
        assert adapter_at(server.url).check().startswith("slurmrestd v0.0.41,")


def test_a_server_that_was_upgraded_is_asked_anew_what_it_speaks() -> None:
    gateway = Gateway("v0.0.40")
    with answering(to=gateway) as server:
        adapter = adapter_at(server.url)
        assert adapter.check().startswith("slurmrestd v0.0.40,")
        gateway.version = "v0.0.43"
        with pytest.raises(Unavailable):
            adapter.check()
        assert adapter.check().startswith("slurmrestd v0.0.43,")
