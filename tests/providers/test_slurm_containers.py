"""The shell around a container, as text and run for real, with stand-ins for apptainer and for srun's plugin."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from portal.providers.base import Account, JobSpec
from portal.providers.conformance import Bench, Result, all_promises, examine
from portal.providers.errors import Misconfigured, Rejected
from portal.providers.registry import make_adapter
from portal.providers.slurm_containers import ContainerRuntime, container_runtime, work_of
from tests.providers.containers import IMAGE, PROMISES, RUNTIMES, STANDINS, BenchInImages
from tests.providers.emulated import TARGETS, emulator
from tests.providers.file_server import FileServer

SPEC = JobSpec("jga-t-1", "echo it's", "gpu", 1, 60, image="python:3.11")
KNOWN = {one.name: one for one in all_promises()}


def start_of(runtime: str, **changes: object) -> str:
    """The words that start the container: the third line, up to the shell inside."""
    script = work_of(replace(SPEC, **changes), ContainerRuntime(runtime))  # type: ignore[arg-type]
    return script.splitlines()[2].partition(" /bin/sh -c ")[0]


def test_pyxis_enters_the_image_with_the_jobs_directory_and_nothing_of_the_home() -> None:
    assert start_of("pyxis") == (
        "srun --quiet --nodes=1 --ntasks=1 --export=ALL --container-image=python:3.11"
        ' --container-mounts="$PWD:$PWD" --container-workdir="$PWD" --no-container-mount-home --no-container-entrypoint'
    )


def test_apptainer_enters_the_image_with_the_jobs_directory_and_nothing_of_the_home() -> None:
    start = 'apptainer --quiet exec --nv --no-home --bind "$PWD" --pwd "$PWD" docker://python:3.11'
    assert start_of("apptainer") == start
    assert start_of("apptainer", gpus=0) == start.replace("--nv ", "")


@pytest.mark.parametrize(
    ("image", "enroots"),
    [
        ("ubuntu", "ubuntu"),
        ("jupyter/scipy-notebook:python-3.11", "jupyter/scipy-notebook:python-3.11"),
        ("docker.io/library/python:3.11", "library/python:3.11"),
        ("nvcr.io/nvidia/pytorch:25.09-py3", "'nvcr.io#nvidia/pytorch:25.09-py3'"),
        ("localhost:5000/lab/image", "'localhost:5000#lab/image'"),
        ("master:5000/image:v1", "'master:5000#image:v1'"),
        ("a.b/c__d/e---f:T_1", "'a.b#c__d/e---f:T_1'"),
    ],
)
def test_an_image_is_named_to_enroot_with_its_registry_apart(image: str, enroots: str) -> None:
    assert f"--container-image={enroots} " in start_of("pyxis", image=image)
    assert start_of("apptainer", image=image).endswith(f" docker://{image}")


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(
    "image",
    [
        "/home/other/secret.sqsh", "./image.sqsh", "../image", "docker://ubuntu", "user@nvcr.io#nvidia/cuda", "-v",
        "ubuntu; id", "ubuntu'$(id)'", "ubuntu --bind /", "Ubuntu", "ubuntu:", "ubuntu\n", "a//b", "国産:1", "a" * 600,
    ],
)  # fmt: skip
def test_what_is_no_name_of_an_image_is_refused(runtime: str, image: str) -> None:
    with pytest.raises(Rejected) as told:
        start_of(runtime, image=image)
    assert told.value.failure == "image"


def test_a_digest_reaches_apptainer_and_is_refused_for_pyxis() -> None:
    image = f"python:3.11@sha256:{'0' * 64}"
    assert start_of("apptainer", image=image).endswith(f"docker://{image}")
    with pytest.raises(Rejected) as told:
        start_of("pyxis", image=image)
    assert told.value.failure == "image"


def test_without_a_runtime_or_without_an_image_the_job_runs_on_the_machine_itself() -> None:
    assert work_of(SPEC, ContainerRuntime.NONE) == "echo it's"
    assert work_of(replace(SPEC, image=""), ContainerRuntime.PYXIS) == "echo it's"


def test_the_option() -> None:
    words: list[dict[str, str]] = [{}, {"container_runtime": ""}, {"container_runtime": "pyxis"}]
    assert [container_runtime(options) for options in words] == [
        ContainerRuntime.NONE, ContainerRuntime.NONE, ContainerRuntime.PYXIS,
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["slurm_rest", "slurm_ssh"])
def test_an_account_with_another_runtime_makes_no_adapter(kind: str) -> None:
    key = subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/dev/stdout"], input="y", capture_output=True, text=True
    ).stdout
    credentials = {"user": "u", "token": "t", "private_key": key[key.find("-----") :], "known_hosts": ""}
    endpoint = "http://127.0.0.1:1" if kind == "slurm_rest" else "127.0.0.1:1"
    account = Account(kind, endpoint, credentials, {"work_dir": "/w", "container_runtime": "docker"})
    with pytest.raises(Misconfigured, match="none, pyxis, apptainer"):
        make_adapter(account)


# --- run for real ----------------------------------------------------------------------------------------------------


def run(runtime: str, script: str, folder: Path, *, image: str = IMAGE) -> subprocess.Popen[str]:
    """As Slurm runs it, in the job's directory; `script` makes the claim itself, as the bootstrap does."""
    spec = JobSpec("k", f"mkdir .portal; {script}", "gpu", 1, 60, image=image)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SLURM")}
    return subprocess.Popen(
        ["/bin/sh", "-c", work_of(spec, ContainerRuntime(runtime))],
        cwd=folder,
        env={**environment, "PATH": f"{STANDINS}:/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(
    ("script", "code"), [("exit 0", 0), ("exit 3", 3), ("kill -KILL $$", 137), ("no-such", 127), ("exit 98", 98)]
)
def test_exit_codes_keep_their_meaning(runtime: str, script: str, code: int, tmp_path: Path) -> None:
    process = run(runtime, script, tmp_path)
    process.communicate(timeout=20)
    assert process.returncode == code


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_stop_reaches_the_script_and_its_saving_is_waited_for(runtime: str, tmp_path: Path) -> None:
    script = "trap 'sleep 1; echo saved; exit 143' TERM; echo begun; while :; do sleep 0.1; done"
    process = run(runtime, script, tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=20)
    assert (said, process.returncode) == ("saved\n", 143)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_an_image_that_cannot_be_fetched_is_told_as_the_images_fault(runtime: str, tmp_path: Path) -> None:
    process = run(runtime, "exit 0", tmp_path, image="missing/image")
    said, _ = process.communicate(timeout=20)
    assert (said.splitlines()[-1], process.returncode) == ("portal: the container image could not be started", 97)


@pytest.fixture(
    # All four pairs run on the real cluster (test_real_slurm.py); here each adapter and each runtime once.
    scope="module",
    params=[("slurm_rest", "pyxis"), ("slurm_ssh", "apptainer")],
)
def bench(request: pytest.FixtureRequest, store: FileServer) -> Iterator[Bench]:
    """Without the sandbox, in which the stand-ins are not to be seen."""
    kind, runtime = request.param
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMULATOR_SANDBOX", "off")
        with emulator(kind) as running:
            options = {**running.account.options, "container_runtime": runtime}
            account = replace(running.account, options=options)
            with closing(
                BenchInImages(account, running.adapter, replace(TARGETS[kind], image=IMAGE), store, wait_s=60)
            ) as made:
                made.start_samples()
                yield made


@pytest.mark.parametrize("name", PROMISES)
def test_a_promise_is_kept_in_a_container(name: str, bench: Bench) -> None:
    (finding,) = examine(bench, [KNOWN[name]])
    assert finding.result is Result.HELD, finding.evidence
