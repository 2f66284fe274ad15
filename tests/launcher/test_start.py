"""`start` when it cannot: one sentence, status 1, nothing left running. A whole start is a journey in tests/browser."""

import os
import socket
import subprocess
import sys

import pytest

from portal.launcher.bootstrap import ROOT
from portal.launcher.state_folder import StateFolder

SET_BY_THE_TESTS = {
    *("DATABASE_URL", "BROKER_URL", "CACHE_URL", "PORTAL_MODE", "PORTAL_URL", "PORTAL_DATA"),
    *("SECRET_KEY", "INSTALLATION_ID"),
}


def start(*arguments: str, **environment: str) -> tuple[int, str]:
    """Exit status and what was said on the error stream."""
    kept = {n: v for n, v in os.environ.items() if n not in SET_BY_THE_TESTS and not n.startswith("S3_")}
    done = subprocess.run(
        [sys.executable, "manage.py", "start", *arguments],
        cwd=ROOT,
        env={**kept, "LC_ALL": "C", **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stderr


@pytest.fixture
def taken_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_taken_port(tmp_path, taken_port):
    status, said = start(PORT=str(taken_port), PORTAL_DATA=str(tmp_path))

    assert status == 1
    assert said.startswith(
        f"Port {taken_port} is taken by another program. Stop that program, or choose another port: PORT="
    )
    assert said.count("\n") == 1


def test_unwritable_folder():
    assert start(PORTAL_DATA="/proc/portal") == (
        1,
        "The folder /proc/portal is not writable. Give this account the right to write there, "
        "or set PORTAL_DATA to another folder.\n",
    )


def test_port_that_is_none(tmp_path):
    assert start(PORT="http", PORTAL_DATA=str(tmp_path)) == (
        1,
        "PORT must be a whole number between 1 and 65535, not 'http'.\n",
    )


def test_arguments_are_not_ignored(tmp_path):
    assert start("--port", "8001", PORTAL_DATA=str(tmp_path)) == (
        1,
        "start takes no arguments; it is set by environment variables (README.md has the table), for example: "
        "PORT=8001 python3 manage.py start\n",
    )


def test_production_without_servers(tmp_path):
    assert start(PORTAL_MODE="production", PORTAL_DATA=str(tmp_path)) == (
        1,
        "PORTAL_MODE is production, where these must be set as well: SECRET_KEY, CREDENTIALS_KEYS, INSTALLATION_ID, "
        "PORTAL_URL, DATABASE_URL, BROKER_URL, S3_ENDPOINT, EMAIL_URL, DEFAULT_FROM_EMAIL. "
        "README.md shows how to run the portal there.\n",
    )


def test_started_twice(tmp_path):
    first = StateFolder(tmp_path)
    first.take(url="http://localhost:8123/")

    assert start(PORT="8124", PORTAL_DATA=str(tmp_path)) == (
        1,
        f"The portal is already running (process {os.getpid()}): http://localhost:8123/  Stop it there with Ctrl-C.\n",
    )
