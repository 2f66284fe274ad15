import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from portal.launcher.errors import CannotContinue
from portal.launcher.messages import sentence
from portal.launcher.processes import Child, Program, end_leftovers, remember, started_at


def program(tmp_path: Path, code: str, **changes) -> Program:
    given = {"is_ready": lambda: True, "log": tmp_path / "log", **changes}
    return Program(name="toy", title="toy", argv=[sys.executable, "-c", code], **given)


@pytest.fixture
def sleeper():
    process = subprocess.Popen(["sleep", "60"], start_new_session=True)
    yield process
    process.kill()
    process.wait()


def test_left_over_of_a_killed_start_is_ended(tmp_path, sleeper):
    record = tmp_path / "children.json"
    row = {"name": "web", "title": "web", "pid": sleeper.pid, "started": started_at(sleeper.pid)}
    record.write_text(json.dumps([row]))

    assert end_leftovers(record) == ["web"]
    assert sleeper.wait(5) == -signal.SIGKILL
    assert not record.exists()


def test_process_that_got_the_same_pid_later_is_left_alone(tmp_path, sleeper):
    record = tmp_path / "children.json"
    boot, _, ticks = started_at(sleeper.pid).rpartition(":")
    row = {"name": "web", "title": "web", "pid": sleeper.pid, "started": f"{boot}:{int(ticks) - 1}"}
    record.write_text(json.dumps([row]))

    assert end_leftovers(record) == []
    assert sleeper.poll() is None


def test_record_cut_short_by_a_full_disk_ends_nothing(tmp_path):
    record = tmp_path / "children.json"
    record.write_text('[{"name": "web", "pi')

    assert end_leftovers(record) == []


def test_what_is_remembered_is_what_is_found_again(tmp_path):
    child = Child(program(tmp_path, "import time; time.sleep(60)"))
    child.start()
    remember([child], tmp_path / "children.json")

    assert end_leftovers(tmp_path / "children.json") == ["toy"]
    assert child.exit_status == -signal.SIGKILL


def test_child_that_ends_instead_of_getting_ready_is_told_with_its_last_words(tmp_path):
    child = Child(program(tmp_path, "print('no such table'); raise SystemExit(3)", is_ready=lambda: False))
    child.start()

    with pytest.raises(CannotContinue) as problem:
        child.wait_until_ready()

    assert "toy" in str(problem.value)
    assert "3" in str(problem.value)
    assert str(problem.value).endswith("\n  no such table")


def test_stop_kills_a_child_that_ignores_the_signal_and_what_it_started(tmp_path):
    code = (
        "import signal, subprocess, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "print(subprocess.Popen(['sleep', '60']).pid, flush=True); time.sleep(60)"
    )
    child = Child(program(tmp_path, code, patience_s=0.2, is_ready=lambda: (tmp_path / "log").read_text() != ""))
    child.start()
    child.wait_until_ready()
    grandchild = int((tmp_path / "log").read_text())

    child.stop()

    assert child.exit_status == -signal.SIGKILL
    assert gone(grandchild)


def test_children_end_when_the_supervisor_is_killed(tmp_path):
    supervisor = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time; from pathlib import Path;"
            "from portal.launcher.processes import Child, Program;"
            "c = Child(Program(name='toy', title='toy', argv=['sleep', '60'], log=Path(sys.argv[1]),"
            "    is_ready=lambda: True));"
            "c.start(); print(c.pid, flush=True); time.sleep(60)",
            str(tmp_path / "log"),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    pid = int(supervisor.stdout.readline())
    assert started_at(pid) is not None

    supervisor.kill()
    supervisor.wait()

    assert gone(pid)


def gone(pid: int, *, within_s: float = 5) -> bool:
    deadline = time.monotonic() + within_s
    while started_at(pid) is not None and time.monotonic() < deadline:
        time.sleep(0.02)
    return started_at(pid) is None


def test_a_program_that_is_not_there_is_one_sentence(tmp_path):
    child = Child(Program(name="s3", title="S3", argv=["/gone/weed"], log=tmp_path / "log", is_ready=lambda: True))

    with pytest.raises(CannotContinue) as problem:
        child.start()

    told = sentence("program_broken", name="S3", path="/gone/weed", problem="No such file or directory")
    assert str(problem.value) == told


def test_a_log_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "log").mkdir()

    with pytest.raises(CannotContinue) as problem:
        Child(program(tmp_path, "")).start()

    path = tmp_path / "log"
    assert str(problem.value) == sentence("child_not_started", name="toy", path=path, problem="Is a directory")


@pytest.mark.parametrize(
    ("code", "module"),
    [
        ("import gone_from_here.x", "gone_from_here"),
        ("from json import nothing", f"cannot import name 'nothing' from 'json' ({json.__file__})"),
    ],
)
def test_a_missing_package_is_told_as_such(tmp_path, code, module):
    child = Child(program(tmp_path, code, is_ready=lambda: False))
    child.start()

    with pytest.raises(CannotContinue) as problem:
        child.wait_until_ready()

    assert str(problem.value) == sentence("module_missing", module=module)


def test_last_words_are_those_of_the_last_run(tmp_path):
    (tmp_path / "log").write_text("ModuleNotFoundError: No module named 'mended_since'\n")
    child = Child(program(tmp_path, "print('no such table'); raise SystemExit(3)", is_ready=lambda: False))
    child.start()

    with pytest.raises(CannotContinue) as problem:
        child.wait_until_ready()

    assert str(problem.value).endswith("Its last lines:\n  no such table")
