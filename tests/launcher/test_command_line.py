"""More of `start` is in test_start.py, and what runs before anything is installed in test_manage.py."""

import os
import subprocess
import sys

from portal.launcher.bootstrap import ROOT
from portal.launcher.command_line import main
from portal.launcher.messages import sentence


def manage(*arguments, **environment):
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env={**os.environ, "LC_ALL": "C", **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr


def test_a_setting_that_is_missing_is_a_sentence_and_no_traceback():
    status, said, wrong = manage("check", PORTAL_MODE="production", SECRET_KEY="")

    assert (status, said, "SECRET_KEY" in wrong, wrong.count("\n")) == (1, "", True, 1)


def test_any_other_command_is_djangos():
    status, said, wrong = manage("sqlsequencereset", "audit")

    assert (status, "audit_auditevent" in said, wrong) == (0, True, "")


def test_what_is_refused_is_one_sentence_and_status_1(capsys):
    assert (main(["manage.py", "start", "--port"]), capsys.readouterr().err) == (
        1,
        sentence("start_takes_nothing") + "\n",
    )


def test_a_command_with_a_slip_is_named_and_djangos_own_are_left_alone():
    status, said, wrong = manage("strat")
    assert (status, said, wrong) == (1, "", sentence("no_such_command", command="strat", nearest="start") + "\n")
    assert manage("startapp", "--help")[0] == 0
