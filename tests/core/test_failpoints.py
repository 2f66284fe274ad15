from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from django.conf import settings

from portal.core import failpoints

CODE = (
    "from portal.core.failpoints import failpoint\n"
    "failpoint('another'); print('alive', flush=True); failpoint('after_send'); print('still alive')"
)


def test_a_failpoint_does_nothing_until_a_test_arms_it(monkeypatch: pytest.MonkeyPatch) -> None:
    passed: list[str] = []
    failpoints.failpoint("here")
    monkeypatch.setitem(failpoints.armed, "here", lambda: passed.append("here"))
    failpoints.failpoint("there")
    failpoints.failpoint("here")
    assert passed == ["here"]


@pytest.mark.parametrize(
    ("mode", "status", "said"),
    [
        ("test", -signal.SIGKILL, "alive\n"),
        ("production", 0, "alive\nstill alive\n"),
        ("demo", 0, "alive\nstill alive\n"),
    ],
)
def test_a_process_dies_there_only_in_a_test(mode: str, status: int, said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        cwd=settings.BASE_DIR,
        env={**os.environ, "PORTAL_MODE": mode, "PORTAL_FAILPOINT": "after_send"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (status, said, "")
