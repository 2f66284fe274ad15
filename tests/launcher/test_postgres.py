"""Fast parts only: the whole test session stands on these services anyway."""

import psycopg

from portal.launcher.services import start_postgres


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
