"""PostgreSQL, Valkey and an S3 store (SeaweedFS) from PyPI wheels: no root, no Docker, nothing outside one folder.

`start_postgres`, `start_valkey`, `start_s3` run one in a given folder until `.stop()`; the tests use them.
The supervisor takes the same definitions unstarted (`postgres`, `valkey`, `s3`). A service's `environment` is what
points Django at it. No password and no TCP port where a Unix socket in a private folder will do.
"""

from pathlib import Path

from portal.launcher.definitions import Definition, Service
from portal.launcher.postgres import postgres
from portal.launcher.processes import Child
from portal.launcher.s3 import renew_taken_ports, s3, s3_copies
from portal.launcher.valkey import valkey

__all__ = [
    "postgres",
    "renew_taken_ports",
    "s3",
    "s3_copies",
    "start_postgres",
    "start_s3",
    "start_s3_copies",
    "start_valkey",
    "valkey",
]


def start_postgres(directory: Path, *, durable: bool = True) -> Service:
    """`durable=False` trades safety after a power cut for speed: tests."""
    return _start(postgres(directory, log=directory / "postgres.log", durable=durable))


def start_valkey(directory: Path) -> Service:
    return _start(valkey(directory, log=directory / "valkey.log"))


def start_s3(directory: Path) -> Service:
    """The bucket named in `environment` does not exist yet; `environment` also holds the access keys."""
    renew_taken_ports(directory)
    return _start(s3(directory, log=directory / "s3.log"))


def start_s3_copies(directory: Path) -> Service:
    """A second store; `environment` has its STORAGE_SITES."""
    renew_taken_ports(directory)
    return _start(s3_copies(directory, log=directory / "s3.log"))


def _start(definition: Definition) -> Service:
    child = Child(definition.program)
    child.start()
    try:
        child.wait_until_ready()
    except BaseException:
        child.stop()
        raise
    return Service(definition.url, definition.environment, child)
