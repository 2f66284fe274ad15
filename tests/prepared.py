"""A PostgreSQL folder in which every table is made already: 91 migrations take longer than most of what is tested.

Made once for a run by tests/services.py; the run's own server is a copy of it, each worker's database is a copy of the
one inside, and so is that of each whole portal that a fault test starts. A first start from nothing is tested where a
user would see it: by the portal of tests/browser.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import psycopg

ROOT = Path(__file__).resolve().parent.parent
FOLDER = "PORTAL_TEST_PREPARED"  # the variable that tells the other processes of a run where it is
TEMPLATE = "prepared"


def make(folder: Path, *, environment: Mapping[str, str]) -> None:
    from portal.launcher.services import start_postgres

    postgres = start_postgres(folder, durable=False)
    try:
        told = {**os.environ, **environment, **postgres.environment}
        command = [sys.executable, "-m", "django", "migrate", "--verbosity=0", "--no-input"]
        subprocess.run(command, cwd=ROOT, env=told, check=True)
    finally:
        postgres.stop()


def copy_to(directory: Path) -> None:
    """With owners: where a machine has no user namespaces its files are nobody's."""
    subprocess.run(["cp", "-a", os.environ[FOLDER], str(directory)], check=True)


def set_aside(url: str) -> None:
    """The prepared database becomes TEMPLATE, and `url` leads to one without tables, as on a new host."""
    address, _, name = url.rpartition("/")
    with psycopg.connect(f"{address}/postgres", autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} RENAME TO {TEMPLATE}")
        connection.execute(f"CREATE DATABASE {name}")
