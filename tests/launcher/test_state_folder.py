import os
import stat
from pathlib import Path

import pytest

from portal.launcher.errors import CannotContinue
from portal.launcher.messages import sentence
from portal.launcher.state_folder import EMULATORS, StateFolder


def test_secrets_are_made_once_and_only_this_account_reads_them(tmp_path):
    first, second = StateFolder(tmp_path / "var"), StateFolder(tmp_path / "var")
    assert first.remembered() is None

    first.take(url="http://localhost:8000/")
    made = first.remembered()
    first.release()
    second.take(url="http://localhost:8000/")

    assert second.remembered() == made
    assert set(made.emulator_ports) == set(EMULATORS)
    assert len(set(made.emulator_ports.values())) == len(EMULATORS)
    assert stat.S_IMODE((tmp_path / "var" / "secrets.json").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "var").stat().st_mode) == 0o700


def test_second_start_says_where_the_first_one_is(tmp_path):
    first, second = StateFolder(tmp_path), StateFolder(tmp_path)
    first.take(url="http://localhost:8123/")

    with pytest.raises(CannotContinue) as problem:
        second.take(url="http://localhost:9999/")

    assert str(problem.value) == sentence("already_running", pid=os.getpid(), url="http://localhost:8123/")
    assert second.last_url() == "http://localhost:8123/"


@pytest.mark.parametrize("path", ["/proc/portal", "/dev/null/portal"])
def test_folder_that_cannot_be_written_is_one_sentence(path):
    """Even root cannot make a folder there."""
    with pytest.raises(CannotContinue) as problem:
        StateFolder(Path(path)).take(url="http://localhost:8000/")

    assert str(problem.value) == sentence("folder_not_writable", path=path)


def test_unreadable_secrets_are_never_replaced(tmp_path):
    (tmp_path / "secrets.json").write_text('{"secret_key": "cut sho')

    with pytest.raises(CannotContinue) as problem:
        StateFolder(tmp_path).take(url="http://localhost:8000/")

    assert str(problem.value) == sentence("secrets_unreadable", path=tmp_path / "secrets.json")
    assert (tmp_path / "secrets.json").read_text() == '{"secret_key": "cut sho'


@pytest.mark.parametrize("text", ['{"a": 1}', "[1]"])
def test_secrets_of_another_shape_are_never_replaced(tmp_path, text):
    (tmp_path / "secrets.json").write_text(text)

    with pytest.raises(CannotContinue) as problem:
        StateFolder(tmp_path).take(url="http://localhost:8000/")

    assert str(problem.value) == sentence("secrets_unreadable", path=tmp_path / "secrets.json")
    assert (tmp_path / "secrets.json").read_text() == text


@pytest.mark.parametrize("name", ["logs", "emulators", "beat"])
def test_a_file_where_a_folder_belongs_is_named(tmp_path, name):
    (tmp_path / name).touch()

    with pytest.raises(CannotContinue) as problem:
        StateFolder(tmp_path).take(url="http://localhost:8000/")

    assert str(problem.value) == sentence("in_the_way", path=tmp_path / name)
