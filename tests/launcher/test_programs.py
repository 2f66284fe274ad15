import sys

import pytest

from portal.launcher import programs
from portal.launcher.state_folder import StateFolder

GIVEN = {"DATABASE_URL": "postgresql://x", "SECRET_KEY": "canary"}


@pytest.fixture
def state(tmp_path):
    return StateFolder(tmp_path)


def everything(state):
    return [
        programs.emulator("slurm_ssh", state, port=20001),
        programs.prepare(state, GIVEN),
        programs.web(state, GIVEN, port=8000, workers=3),
        programs.worker(state, GIVEN, number=2, threads=5),
        programs.data_worker(state, GIVEN),
        programs.beat(state, GIVEN),
    ]


def test_each_has_its_own_name_and_log_and_runs_in_our_python(state):
    made = everything(state)

    assert [program.name for program in made] == ["slurm_ssh", "prepare", "web", "worker2", "data", "beat"]
    assert [program.log for program in made] == [state.logs / f"{program.name}.log" for program in made]
    assert {program.argv[0] for program in made} == {sys.executable}
    assert [word for program in made for word in program.argv if not isinstance(word, str)] == []


def test_no_secret_stands_on_a_command_line_and_emulators_get_none_of_ours(state):
    made = everything(state)

    assert [program.name for program in made if "canary" in " ".join(program.argv)] == []
    assert [program.environment.get("SECRET_KEY") for program in made] == [None, *["canary"] * 5]


def test_what_the_user_set_reaches_the_programs(state):
    web = programs.web(state, {**GIVEN, "MALLOC_ARENA_MAX": "8"}, port=8123, workers=3)
    worker = programs.worker(state, GIVEN, number=2, threads=5)

    assert web.argv[web.argv.index("--port") + 1] == "8123"
    assert web.argv[web.argv.index("--workers") + 1] == "3"
    assert worker.argv[worker.argv.index("-c") + 1] == "5"
    assert web.environment["MALLOC_ARENA_MAX"] == "8"


def test_the_web_listens_on_this_machine_alone(state):
    web = programs.web(state, GIVEN, port=8000, workers=1)

    assert web.argv[web.argv.index("--host") + 1] == "127.0.0.1"


def test_what_does_not_answer_is_not_ready(state):
    emulator, web = programs.emulator("slurm_ssh", state, port=9), programs.web(state, GIVEN, port=9, workers=1)

    assert (emulator.is_ready(), web.is_ready(), programs.beat(state, GIVEN).is_ready()) == (False, False, True)
