"""With a PATH of our own, so that no package of this machine is looked at and none is installed."""

import pytest

from portal.launcher import debian
from portal.launcher.errors import CannotContinue
from portal.launcher.messages import sentence


@pytest.fixture
def bin(tmp_path, monkeypatch):
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("CHROMIUM", raising=False)
    monkeypatch.delenv("CI", raising=False)
    package = debian.Package("bubblewrap", lambda: (folder / "bwrap").exists(), "tests_sandbox")
    monkeypatch.setattr(debian, "PACKAGES", (package,))
    return folder


def command(folder, name, script):
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_what_is_there_is_not_installed_again(bin, capsys):
    command(bin, "bwrap", "exit 0")
    command(bin, "apt-get", "exit 1")
    debian.install_missing()
    assert capsys.readouterr().out == ""


def test_where_nothing_can_be_installed_the_tests_that_cannot_run_are_named(bin, capsys):
    debian.install_missing()
    said = sentence("cannot_test", package="bubblewrap", tests=sentence("tests_sandbox"))
    assert said in capsys.readouterr().out


def test_in_ci_a_missing_package_ends_the_run(bin, monkeypatch):
    monkeypatch.setenv("CI", "true")
    with pytest.raises(CannotContinue) as problem:
        debian.install_missing()
    assert "bubblewrap" in str(problem.value)


def test_lists_are_fetched_only_when_the_ones_here_do_not_do(bin, tmp_path):
    log = tmp_path / "asked"
    command(bin, "env", 'shift; exec "$@"')
    command(
        bin,
        "apt-get",
        f'echo "$*" >>{log}\n'
        f'case "$*" in *update*) : >{tmp_path}/fresh;; *) [ -e {tmp_path}/fresh ] && : >{bin}/bwrap;; esac',
    )
    assert debian._install(["bubblewrap"], []) == ""
    lines = [line.split("DPkg::Lock::Timeout=300 ")[1] for line in log.read_text().splitlines()]
    assert lines == [
        "install -y --no-install-recommends bubblewrap",
        "update",
        "install -y --no-install-recommends bubblewrap",
    ]


def test_apts_last_words_are_told(bin):
    command(bin, "env", 'shift; exec "$@"')
    command(bin, "apt-get", "echo 'E: no such package' >&2; exit 100")
    assert debian._install(["bubblewrap"], []) == "  E: no such package"


def test_a_package_that_starts_a_server_is_named_where_an_init_system_would_start_it(
    bin, tmp_path, monkeypatch, capsys
):
    command(bin, "apt-get", f"echo asked >>{tmp_path}/asked; exit 1")
    server = debian.Package("munge", lambda: False, "tests_slurm", is_server=True)
    monkeypatch.setattr(debian, "PACKAGES", (server,))
    monkeypatch.setattr(debian, "INIT", tmp_path)
    debian.install_missing()
    assert sentence("cannot_test", package="munge", tests=sentence("tests_slurm")) in capsys.readouterr().out
    assert not (tmp_path / "asked").exists()
