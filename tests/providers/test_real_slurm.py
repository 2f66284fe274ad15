"""The conformance kit against Debian's own Slurm: the same promises, kept with software that nobody of us wrote."""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from portal.providers.architectures import architecture
from portal.providers.conformance import Bench, Result, Target, all_promises, begin, examine
from portal.providers.registry import make_adapter
from portal.providers.slurm_rest import SlurmRest
from portal.providers.slurm_ssh import SlurmSsh
from tests.providers.containers import IMAGE, RUNTIMES, BenchInImages
from tests.providers.containers import PROMISES as IN_CONTAINERS
from tests.providers.file_server import FileServer
from tests.providers.real_slurm import Cluster, cluster, missing
from tests.providers.test_conformance import NOT_OFFERED

pytestmark = [pytest.mark.slurm, pytest.mark.skipif(bool(missing()), reason=missing())]

TARGET = Target("gpu", gpu_type="h200", gpus_max=8, architecture=architecture(platform.machine()))
PROMISES = {one.name: one for one in all_promises()}
SLOW = [one for one in PROMISES.values() if one.slow]


@pytest.fixture(scope="module")
def slurm() -> Iterator[Cluster]:
    with (
        tempfile.TemporaryDirectory(prefix="slurm-", ignore_cleanup_errors=True) as folder,
        cluster(Path(folder)) as running,
    ):
        yield running


@pytest.fixture(scope="module")
def benches(slurm: Cluster, store: FileServer) -> Iterator[dict[str, Bench]]:
    """Both begin at once: what takes a minute at the one is waited for while the other is tried."""
    made = {
        "slurm_rest": Bench(slurm.rest_account(), SlurmRest, TARGET, store, wait_s=120),
        "slurm_ssh": Bench(slurm.ssh_account(), SlurmSsh, TARGET, store, wait_s=120),
    }
    for one in made.values():
        begin(one, PROMISES.values())
        for promise in SLOW:  # a minute is the shortest limit that Slurm knows
            one.start_act(promise.name, promise.act)
    yield made
    for one in made.values():
        one.close()


@pytest.mark.parametrize("kind", ["slurm_rest", "slurm_ssh"])
@pytest.mark.parametrize("name", sorted(PROMISES, key=lambda name: PROMISES[name].slow))
def test_a_promise_is_kept(name: str, kind: str, benches: dict[str, Bench]) -> None:
    bench = benches[kind]
    (finding,) = examine(bench, [PROMISES[name]])
    expected = Result.NOT_OFFERED if name in NOT_OFFERED[bench.account.kind] else Result.HELD
    assert finding.result is expected, finding.evidence


@pytest.fixture(
    scope="module", params=[(kind, runtime) for kind in ("slurm_rest", "slurm_ssh") for runtime in RUNTIMES]
)
def contained(request: pytest.FixtureRequest, slurm: Cluster, store: FileServer) -> Iterator[Bench]:
    """With stand-ins for apptainer and for srun's plugin, in front of the real srun."""
    kind, runtime = request.param
    account = slurm.rest_account() if kind == "slurm_rest" else slurm.ssh_account()
    account = replace(account, options={**account.options, "container_runtime": runtime})
    target = replace(TARGET, image=IMAGE)
    with closing(BenchInImages(account, make_adapter, target, store, wait_s=120)) as made:
        made.start_samples()
        yield made


@pytest.mark.parametrize("name", IN_CONTAINERS)
def test_a_promise_is_kept_in_a_container(name: str, contained: Bench) -> None:
    (finding,) = examine(contained, [PROMISES[name]])
    assert finding.result is Result.HELD, finding.evidence
