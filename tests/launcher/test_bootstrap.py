"""Making .venv, with a stand-in for uv on the PATH that only notes how it was called."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from portal.launcher.bootstrap import ROOT

CODE = """
import sys
from pathlib import Path
from portal.launcher.bootstrap import continue_in_environment, enter_environment
from portal.launcher.errors import CannotContinue
GO = "import sys; print('now in', sys.prefix)"
try:
    {call}
except CannotContinue as problem:
    sys.exit(str(problem))
"""
START = "continue_in_environment(['-c', GO], lock=sys.argv[2], root=Path(sys.argv[1]))"


class Checkout:
    """A folder with lock files, as after `git clone`."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "checkout"
        self.root.mkdir()
        self.venv = self.root / ".venv"
        (self.root / "requirements.lock").write_text("a==1\n")
        (self.root / "requirements-dev.lock").write_text("a==1\nb==1\n")
        self.tools = folder / "tools"
        self.tools.mkdir()
        self.calls = folder / "calls"
        self.uv("exit 0")

    def uv(self, then: str) -> None:
        script = self.tools / "uv"
        script.write_text(f'#!/bin/sh\n[ "$1" = --version ] && exit 0\necho "$@" >> {self.calls}\n{then}\n')
        script.chmod(0o755)

    def run(
        self, lock: str = "requirements.lock", *, call: str = START, packages: bool = True, **given: str
    ) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PATH": f"{self.tools}:{os.environ['PATH']}", "LANG": "C", "LC_ALL": "C", **given}
        command = [sys.executable, *([] if packages else ["-S"]), "-c", CODE.replace("{call}", call), self.root, lock]
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)

    def installs(self) -> int:
        return len(self.calls.read_text().splitlines()) if self.calls.exists() else 0


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_first_command_makes_the_environment_and_goes_on_in_it(checkout):
    done = checkout.run()

    assert done.stdout.splitlines()[-1] == f"now in {checkout.venv}"
    assert "Installing the locked packages of requirements.lock" in done.stdout
    assert checkout.calls.read_text() == (
        f"pip install -q --compile-bytecode --python {checkout.venv}/bin/python "
        f"--require-hashes -r {checkout.root}/requirements.lock\n"
    )


def test_second_command_installs_nothing_and_says_nothing(checkout):
    checkout.run()

    assert checkout.run().stdout == f"now in {checkout.venv}\n"
    assert checkout.installs() == 1


def test_changed_lock_is_installed(checkout):
    checkout.run()
    (checkout.root / "requirements.lock").write_text("a==2\n")
    checkout.run()

    assert checkout.installs() == 2


def test_test_lock_covers_the_portals_own(checkout):
    checkout.run("requirements-dev.lock")

    assert checkout.run("requirements.lock").stdout == f"now in {checkout.venv}\n"
    assert checkout.installs() == 1


def test_interrupted_installation_is_made_anew(checkout):
    checkout.uv("kill -9 $PPID")  # the power goes while packages are being written
    checkout.run()
    half = checkout.venv / "half-a-package"
    half.touch()

    checkout.uv("exit 0")
    done = checkout.run()

    assert "The last installation was interrupted" in done.stdout
    assert done.stdout.splitlines()[-1] == f"now in {checkout.venv}"
    assert not half.exists()


def test_failed_installation_is_one_sentence_with_the_installers_words(checkout):
    checkout.uv("echo no route to the registry; exit 2")
    done = checkout.run()

    assert done.returncode == 1
    assert done.stderr == (
        "The packages could not be installed (uv pip install -r requirements.lock). "
        "Check the network connection and run the same command again.\n  no route to the registry\n"
    )


def test_full_disk_is_said_as_such(checkout):
    checkout.uv("echo 'error: No space left on device (os error 28)'; exit 2")

    assert checkout.run().stderr.startswith("The disk that holds ")


def test_dead_link_to_a_python_that_was_removed_is_repaired(checkout):
    checkout.run()
    python = checkout.venv / "bin" / "python"
    python.unlink()
    python.symlink_to("/usr/bin/python-of-the-last-release")

    assert checkout.run().stdout.splitlines()[-1] == f"now in {checkout.venv}"
    assert checkout.installs() == 2


def test_an_interrupted_installation_into_a_folder_of_somebody_else_deletes_nothing(checkout):
    checkout.run()
    (checkout.venv / ".made-by-manage.py").unlink()
    (checkout.venv / ".installing").touch()

    assert checkout.run().stderr == (
        f"{checkout.venv} holds no complete installation, and it was not made by manage.py, which therefore leaves it "
        "alone. Delete it and run the same command again.\n"
    )
    assert (checkout.venv / "bin" / "python").exists()


def test_an_environment_that_a_person_made_is_used_as_it_is(checkout):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", checkout.venv], check=True)

    assert checkout.run().stdout == f"now in {checkout.venv}\n"
    assert checkout.installs() == 0


def test_a_folder_without_an_environment_in_it_is_not_deleted(checkout):
    checkout.venv.mkdir()
    (checkout.venv / "notes.txt").touch()

    assert checkout.run().stderr.startswith(f"{checkout.venv} holds no complete installation")
    assert (checkout.venv / "notes.txt").exists()


def test_an_environment_without_its_configuration_is_made_anew_and_not_entered_for_ever(checkout):
    checkout.run()
    (checkout.venv / "pyvenv.cfg").unlink()

    assert checkout.run().stdout.splitlines()[-1] == f"now in {checkout.venv}"


def test_a_python_that_may_not_be_run_is_one_sentence(checkout):
    checkout.run()
    python = checkout.venv / "bin" / "python"
    python.unlink()
    python.write_text("no program")

    assert checkout.run().stderr == (
        f"The Python in {checkout.venv} cannot be run (Permission denied). "
        "Delete that folder and run the same command again.\n"
    )


def test_other_commands_install_nothing(checkout):
    bare = checkout.run(call="enter_environment(['-c', GO], root=Path(sys.argv[1]))", packages=False)
    assert bare.stderr == (
        "The portal's packages are not installed. python3 manage.py start installs them; README.md shows how to do it "
        "by hand.\n"
    )
    assert not checkout.venv.exists()

    checkout.run()
    assert (
        checkout.run(call="enter_environment(['-c', GO], root=Path(sys.argv[1]))").stdout == f"now in {checkout.venv}\n"
    )


@pytest.mark.parametrize("call", ["enter_environment", "continue_in_environment"])
def test_in_production_an_interpreter_that_has_the_packages_goes_on(checkout, call):
    """As in an image, whose environment is not in .venv."""
    code = f"{call}(['-c', GO], root=Path(sys.argv[1])); print('stays')"
    assert checkout.run(call=code, PORTAL_MODE="production").stdout == "stays\n"
    assert not checkout.venv.exists()
