"""The walls around an emulated job, tried with the bubblewrap of this machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.providers.emulated import ROOT

PROBE = "from portal.providers.emulators.sandbox import is_sandboxed, why_not; print(is_sandboxed(), why_not())"


@pytest.fixture
def below_tmp() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="needs bubblewrap")
def test_a_python_below_tmp_is_seen_inside(below_tmp: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", below_tmp / "venv"], check=True)
    done = subprocess.run([below_tmp / "venv/bin/python", "-c", PROBE], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("True \n", "")


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"EMULATOR_SANDBOX": "off"}, "EMULATOR_SANDBOX is off"),
        ({"PATH": "/nowhere"}, "bubblewrap (bwrap) is not installed"),
        ({"PATH": "{broken}"}, "bubblewrap does not work here (bwrap: no permission)"),
    ],
)
def test_an_emulator_without_a_sandbox_says_so(below_tmp: Path, environment: dict[str, str], reason: str) -> None:
    broken = below_tmp / "bin"
    broken.mkdir()
    (broken / "bwrap").write_text("#!/bin/sh\necho 'bwrap: no permission' >&2\nexit 1\n")
    (broken / "bwrap").chmod(0o700)
    given = {name: value.format(broken=broken) for name, value in environment.items()}
    said, access = _started(below_tmp, given, lines=2)
    assert said[1] == f"Jobs run without a sandbox, with all that this user may read and write: {reason}.\n"
    assert access["options"] == {"own_id": "true", "emulated": "true", "sandbox": "none"}


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="needs bubblewrap")
def test_an_emulator_with_a_sandbox_says_which(below_tmp: Path) -> None:
    _, access = _started(below_tmp, {}, lines=1)
    assert access["options"] == {"own_id": "true", "emulated": "true", "sandbox": "bubblewrap"}


def _started(folder: Path, environment: dict[str, str], *, lines: int) -> tuple[list[str], dict[str, dict[str, str]]]:
    """The first lines that an emulator prints, and what it writes into access.json."""
    command = [sys.executable, "-m", "portal.providers.emulators", "sakura_dok", "--state", folder / "s", "--port", "0"]
    with subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(lines)]
        process.kill()  # it may not listen to signals yet
    return said, json.loads((folder / "s/access.json").read_text())
