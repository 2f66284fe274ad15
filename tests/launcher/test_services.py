"""Fast parts only: the whole test session stands on these services anyway."""

import signal
import time

import psycopg
import pytest
import redis

from portal.launcher.errors import CannotContinue
from portal.launcher.private_files import make_private_folder
from portal.launcher.services import start_postgres, start_valkey


def test_postgres_comes_back_after_its_postmaster_was_killed(tmp_path):
    first = start_postgres(tmp_path / "pg")
    with psycopg.connect(first.url, autocommit=True) as connection:
        connection.execute("CREATE TABLE kept (n int)")
        connection.execute("INSERT INTO kept VALUES (7)")
    first.process.kill()

    second = start_postgres(tmp_path / "pg")
    try:
        with psycopg.connect(second.url) as connection:
            assert connection.execute("SELECT n FROM kept").fetchall() == [(7,)]
    finally:
        second.stop()


def test_lock_file_naming_a_pid_of_somebody_else_does_not_keep_postgres_from_starting(tmp_path):
    start_postgres(tmp_path / "pg", durable=False).stop()
    (tmp_path / "pg" / "data" / "postmaster.pid").write_text("1\n/somewhere\n0\n5432\n\n\n")

    start_postgres(tmp_path / "pg", durable=False).stop()


def test_valkey_keeps_what_it_accepted(tmp_path):
    first = start_valkey(tmp_path / "valkey")
    path = first.url.removeprefix("redis+socket://")
    redis.Redis(unix_socket_path=path).set("kept", "7")
    time.sleep(1.1)  # its log is flushed every second
    first.process.kill()
    second = start_valkey(tmp_path / "valkey")
    try:
        assert redis.Redis(unix_socket_path=path).get("kept") == b"7"
    finally:
        second.stop()
    assert second.process.exit_status in (0, -signal.SIGTERM)


def test_folder_planted_by_somebody_else_in_the_shared_temporary_folder_is_refused(tmp_path):
    planted = tmp_path / "portal-0-123"
    planted.symlink_to(tmp_path)

    with pytest.raises(CannotContinue):
        make_private_folder(planted)
