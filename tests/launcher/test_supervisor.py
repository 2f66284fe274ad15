"""With programs of a line each. A whole start is a journey in tests/browser."""

import os
import signal
import sys

import pytest

from portal.launcher.errors import CannotContinue
from portal.launcher.messages import sentence
from portal.launcher.processes import Program
from portal.launcher.state_folder import StateFolder
from portal.launcher.supervisor import StopRequested, Supervisor, _request_stop, start


@pytest.fixture(autouse=True)
def _own_signals():
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.fixture
def supervisor(tmp_path):
    made = Supervisor(StateFolder(tmp_path), port=8000)
    yield made
    made.stop()


def program(tmp_path, name, code, *, is_ready=lambda: True):
    return Program(
        name=name, title=name, argv=[sys.executable, "-c", code], log=tmp_path / f"{name}.log", is_ready=is_ready
    )


FOREVER = "import time; time.sleep(60)"


@pytest.mark.parametrize(
    ("name", "value", "most"), [("WEB_WORKERS", "0", 64), ("QUEUE_WORKERS", "65", 64), ("QUEUE_THREADS", "２", 256)]
)
def test_a_number_that_cannot_be_is_named(tmp_path, monkeypatch, name, value, most):
    monkeypatch.setenv(name, value)
    with pytest.raises(CannotContinue) as problem:
        Supervisor(StateFolder(tmp_path), port=8000)
    assert str(problem.value) == sentence("not_a_number", name=name, value=value, least=1, most=most)


def test_an_empty_number_is_the_default(tmp_path, monkeypatch):
    monkeypatch.setenv("WEB_WORKERS", "")
    monkeypatch.setenv("QUEUE_THREADS", "7")
    made = Supervisor(StateFolder(tmp_path), port=8000)
    assert (made.web_workers, made.queue_workers, made.queue_threads) == (2, 2, 7)


def test_a_start_with_a_wrong_port_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setenv("PORT", "70000")
    monkeypatch.setenv("PORTAL_DATA", str(tmp_path / "var"))
    monkeypatch.delenv("PORTAL_MODE")
    with pytest.raises(CannotContinue):
        start()
    assert list(tmp_path.iterdir()) == []


def test_a_child_that_ends_while_others_get_ready_is_told_with_its_last_words(supervisor, tmp_path):
    slow = supervisor._launch(program(tmp_path, "slow", FOREVER, is_ready=lambda: False), supervisor._servers)
    supervisor._launch(program(tmp_path, "broken", "raise SystemExit('no disk')"), supervisor._servers)
    with pytest.raises(CannotContinue) as problem:
        supervisor._wait_for([slow])
    assert ("broken" in str(problem.value), str(problem.value).endswith("\n  no disk")) == (True, True)


def test_a_child_that_never_gets_ready_is_not_waited_for_for_ever(supervisor, tmp_path):
    slow = supervisor._launch(program(tmp_path, "slow", FOREVER, is_ready=lambda: False), supervisor._servers)
    with pytest.raises(CannotContinue) as problem:
        supervisor._wait_for([slow], timeout_s=0)
    assert "slow" in str(problem.value)


def test_preparing_that_fails_ends_the_start_and_one_that_works_is_over(supervisor, tmp_path):
    supervisor._prepare(program(tmp_path, "prepare", "pass"), meanwhile=[])
    assert supervisor._all() == []
    with pytest.raises(CannotContinue) as problem:
        supervisor._prepare(program(tmp_path, "prepare", "raise SystemExit('no such table')"), meanwhile=[])
    assert str(problem.value).endswith("\n  no such table")


def test_what_dies_is_brought_back_until_it_keeps_dying(supervisor, tmp_path, capsys):
    code = f"open({str(tmp_path / 'lives')!r}, 'a').write('x'); raise SystemExit(3)"
    kept = supervisor._launch(program(tmp_path, "kept", FOREVER), supervisor._servers)
    supervisor._launch(program(tmp_path, "broken", code), supervisor._portal)
    with pytest.raises(CannotContinue) as problem:
        supervisor.watch()
    assert ((tmp_path / "lives").read_text(), kept.exit_status) == ("xxxxx", None)
    assert "broken" in str(problem.value)


def test_stopping_ends_those_that_use_the_servers_first(supervisor, tmp_path):
    code = (
        "import signal, sys, time\n"
        f"order = open({str(tmp_path / 'order')!r}, 'a')\n"
        "signal.signal(signal.SIGTERM, lambda *_: (order.write(sys.argv[1]), sys.exit()))\n"
        "print('ready', flush=True); time.sleep(60)"
    )
    groups = {"s": supervisor._servers, "e": supervisor._emulators, "p": supervisor._portal}
    children = []
    for name, group in groups.items():
        made = program(tmp_path, name, code, is_ready=lambda name=name: (tmp_path / f"{name}.log").read_text() != "")
        made = Program(**{**made.__dict__, "argv": [*made.argv, name]})
        children.append(supervisor._launch(made, group))
    supervisor._wait_for(children)
    assert supervisor.state.children.exists()

    supervisor.stop()

    assert (tmp_path / "order").read_text() == "pes"
    assert ([child.exit_status for child in children], supervisor.state.children.exists()) == ([0, 0, 0], False)


def test_ctrl_c_asks_for_the_end():
    signal.signal(signal.SIGHUP, _request_stop)
    with pytest.raises(StopRequested):
        os.kill(os.getpid(), signal.SIGHUP)
