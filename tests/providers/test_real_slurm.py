"""The conformance kit against Debian's own Slurm: the same promises, kept with software that nobody of us wrote."""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from portal.providers.architectures import architecture
from portal.providers.conformance import Bench, Result, Target, all_promises, begin, examine
from portal.providers.slurm_rest import SlurmRest
from portal.providers.slurm_ssh import SlurmSsh
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
