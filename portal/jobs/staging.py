"""Inputs to the machine; log and results back into in-country storage.

Everything of an attempt lies under t/<organization>/jobs/<job>/<attempt>/. The manifest there holds the job's
environment and secrets, which no provider gets to see in its own records; it is deleted when the attempt has ended.
"""

from __future__ import annotations

import hashlib
import shlex
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import IO, TypeGuard, cast

import structlog
from django.utils import timezone

from portal.accounts import registries
from portal.core.failpoints import failpoint
from portal.core.sealing import CannotOpen, unseal
from portal.datasets import copies, residency, sites, storage
from portal.datasets.models import PlaceAct
from portal.datasets.residency import JobObject
from portal.jobs import claims, logs
from portal.jobs.keys import key_of
from portal.jobs.models import Artifact, Attempt, Job, JobEvent
from portal.providers.base import (
    Adapter,
    Artifacts,
    DataPush,
    FinalLog,
    JobSpec,
    LiveLog,
    PrivateImages,
    RegistryLogin,
    RemoteJob,
    RemoteState,
)
from portal.providers.bootstrap import Manifest, ManifestFile, bootstrap_script, render_manifest
from portal.providers.errors import Misconfigured, NotFound, ProviderError

log = structlog.get_logger(__name__)

# The longest that S3 allows for a presigned address (signature version 4). A job that waits longer than this at its
# provider cannot fetch its inputs any more and fails as "input missing".
ADDRESS_S = 7 * 86_400
FILES_MAX = 10_000
FILES_BYTES_MAX = 20 * 1000**3
PATH_MAX = 400
BLOCK_BYTES = 512 * 512
PULL_MAX_BYTES = 1024 * 1024
PUSHED_SCRIPT = "script"
PULLS_MAX = 4  # pieces of one live log in one turn, so that a chatty job leaves time for the others
WITH_LOGIN = "with_login"  # reason of the event that says so
DAMAGED = (PlaceAct.DAMAGED, PlaceAct.LEFT)


class CannotPrepare(Exception):
    """The job cannot be written down for a machine: a fault on our side, or values the format cannot carry."""


class DamagedResults(Exception):
    """What came back is not a whole tar.gz archive."""


@dataclass
class Collected:
    """`log_key` and `files` are in the store: read back from there, and equal to what was sent."""

    log_key: str = ""
    files: list[Artifact] = field(default_factory=list)
    log_is_damaged: bool = False  # read back, not equal, and removed again
    damaged: list[str] = field(default_factory=list)  # the same of files: their paths
    objects: list[JobObject] = field(default_factory=list)  # for the place log: all but `files`
    is_whole: bool = False  # nothing broke off on the way
    was_cut: bool = False  # more than one job may leave
    skipped: int = 0  # links, odd names


# --- to the machine --------------------------------------------------------------------------------------------------


def prepare(attempt: Attempt, adapter: Adapter, *, key: str) -> JobSpec:
    """Write the attempt's script and manifest to storage and say what the provider is to be given.

    Safe to repeat. Raises StorageUnavailable, CannotPrepare; Misconfigured where the offering is sold with containers
    and its account runs none: nobody's job runs without the image that was asked for.
    """
    job, offering, pushed = attempt.job, attempt.offering, is_pushed(adapter)
    if offering.containers and not adapter.runs_images:
        raise Misconfigured("the offering runs containers, and its account none: set the option container_runtime")
    try:
        manifest = render_manifest(
            Manifest(
                job=job.code,
                command=command_of(job),
                inputs=_inputs(attempt, pushed),
                scripts=_scripts(attempt, pushed),
                environment={**job.environment, **unseal(job.sealed_secrets)},
                claim_url="" if adapter.shares_disk else claims.address_of(attempt),
                put_output_url="" if isinstance(adapter, Artifacts) else _put_url(output_key(attempt)),
                put_log_url="" if isinstance(adapter, FinalLog) else _put_url(raw_log_key(attempt)),
            )
        )
        registry = _login(job, adapter)
    except (ValueError, CannotOpen) as wrong:
        raise CannotPrepare(str(wrong)) from wrong
    storage.put_bytes(manifest_key(attempt), manifest.encode(), "text/plain; charset=utf-8")
    _say_prepared(attempt, manifest.encode())
    return JobSpec(
        key=key,
        script=bootstrap_script(),
        plan=offering.plan,
        gpus=job.gpus,
        time_limit_s=job.time_limit_s,
        image=job.image if offering.containers else "",  # at an alternative without containers it is not used
        environment={
            **({} if pushed else {"PORTAL_MANIFEST_URL": _get_url(manifest_key(attempt))}),
            "PORTAL_JOB": job.code,
        },
        nodes=offering.nodes_for(job.gpus),
        gpu_type=offering.gpu_model.lower(),
        registry=registry,
        architecture=offering.architecture if offering.architecture_confirmed else "",
    )


def _say_prepared(attempt: Attempt, manifest: bytes) -> None:
    """To the place log: what now lies in the store for this run."""
    job, now = attempt.job, timezone.now()
    made = {"manifest": (manifest_key(attempt), manifest)}
    if job.script:
        made["script"] = (script_key(attempt), _script_of(job))
    residency.job_objects_arrived(
        job.code,
        job.organization.code,
        [
            JobObject(f"{kind}-{attempt.number}", kind, key, len(content), hashlib.sha256(content).hexdigest(), now)
            for kind, (key, content) in made.items()
        ],
    )


def is_pushed(adapter: Adapter) -> TypeGuard[DataPush]:
    """Whether manifest and inputs are brought to the machine, instead of being fetched by it."""
    return isinstance(adapter, DataPush) and adapter.pushes


def push(attempt: Attempt, adapter: DataPush, *, key: str, keep: Callable[[], None]) -> None:
    """Bring what `prepare` has written, and the inputs, to the job's place at the provider. Safe to repeat.

    `keep` is called between pieces, and what it raises ends the push. Raises StorageError, Unavailable, Misconfigured.
    """
    inputs = list(attempt.job.inputs.select_related("data_file").order_by("pk"))
    sources = copies.nearest([item.data_file for item in inputs], provider=attempt.offering.provider.slug)
    for number, item in enumerate(inputs):
        source = sources[item.data_file.pk]
        try:
            _push_one(adapter, key, _pushed_input(number), item.data_file.storage_key, keep, source.store)
        except storage.StorageUnavailable:
            sites.did_not_answer(source.site)  # another copy is read at the next try
            raise
    if attempt.job.script:
        _push_one(adapter, key, PUSHED_SCRIPT, script_key(attempt), keep, storage.primary())
    _push_one(adapter, key, "manifest", manifest_key(attempt), keep, storage.primary())


def _push_one(
    adapter: DataPush, key: str, name: str, stored: str, keep: Callable[[], None], store: storage.Store
) -> None:
    keep()
    size_bytes = storage.size_of(stored, at=store)
    if size_bytes is None:
        raise storage.NotInStorage(name)
    adapter.push(key, name, _reader(stored, keep, store), size_bytes=size_bytes)


def _reader(stored: str, keep: Callable[[], None], store: storage.Store) -> Callable[[int], Iterator[bytes]]:
    def read(start: int) -> Iterator[bytes]:
        for piece in storage.pieces(stored, start=start, at=store):
            keep()
            yield piece

    return read


def command_of(job: Job) -> str:
    """The person's own command, or the obvious way to run their script."""
    if job.command.strip() or not job.script:
        return job.command
    name = script_name_of(job)
    interpreter = {"py": "python3", "sh": "sh"}.get(name.rpartition(".")[2])
    return f"{interpreter} {shlex.quote(name)}" if interpreter else f"./{shlex.quote(name)}"


def script_name_of(job: Job) -> str:
    return job.script_name or "main.sh"


def forget(attempt: Attempt, adapter: Adapter) -> None:
    """Delete what holds secrets: `prepared_keys`. Raises StorageUnavailable, Unavailable."""
    if is_pushed(adapter):
        adapter.take_back(key_of(attempt))
    for key in prepared_keys(attempt):
        storage.delete(key)


def prepared_keys(attempt: Attempt) -> list[str]:
    """Of what `prepare` has written, or would have."""
    return [manifest_key(attempt), script_key(attempt)]


def on_its_way(attempt: Attempt, adapter: Adapter) -> list[str]:
    """Keys of what the job itself sent to the store. They may go when what was made of them is kept for good: whoever
    dies before that collects them again."""
    keys = [] if isinstance(adapter, Artifacts) else [output_key(attempt)]
    return keys if isinstance(adapter, FinalLog) else [*keys, raw_log_key(attempt)]


def forget_login(attempt: Attempt, adapter: Adapter) -> None:
    """Delete the login that the provider was given with this attempt. Best effort: results are not kept waiting."""
    if not isinstance(adapter, PrivateImages):
        return
    if not JobEvent.objects.filter(job=attempt.job, reason=WITH_LOGIN).exists():
        return
    try:
        adapter.forget_login(attempt.remote_id)
    except ProviderError as trouble:
        log.error("registry login still at the provider", job=attempt.job.code, reason=trouble.summary)


def folder(attempt: Attempt) -> str:
    return f"t/{attempt.job.organization.code}/jobs/{attempt.job.code}/{attempt.code}"


def manifest_key(attempt: Attempt) -> str:
    return f"{folder(attempt)}/manifest"


def script_key(attempt: Attempt) -> str:
    return f"{folder(attempt)}/script"


def output_key(attempt: Attempt) -> str:
    return f"{folder(attempt)}/output.tar.gz"


def raw_log_key(attempt: Attempt) -> str:
    return f"{folder(attempt)}/log.part"


def log_key(attempt: Attempt) -> str:
    return f"{folder(attempt)}/log"


def _inputs(attempt: Attempt, pushed: bool) -> tuple[ManifestFile, ...]:
    """From the nearest site that has a verified copy and answers."""
    items = list(attempt.job.inputs.select_related("data_file").order_by("pk"))
    if not items:
        return ()
    files = [] if pushed else [item.data_file for item in items]
    addresses = copies.addresses_for(files, attempt.offering.provider.slug, expires_s=ADDRESS_S)
    return tuple(
        ManifestFile(
            url=f"file:{_pushed_input(number)}" if pushed else addresses[item.data_file.pk].url,
            sha256=item.sha256,
            size_bytes=item.size_bytes,
            path=item.path,
        )
        for number, item in enumerate(items)
    )


def _pushed_input(number: int) -> str:
    return f"input-{number}"


def _scripts(attempt: Attempt, pushed: bool) -> tuple[ManifestFile, ...]:
    job = attempt.job
    if not job.script:
        return ()
    content = _script_of(job)
    storage.put_bytes(script_key(attempt), content, "text/plain; charset=utf-8")
    url = f"file:{PUSHED_SCRIPT}" if pushed else _get_url(script_key(attempt))
    return (ManifestFile(url, hashlib.sha256(content).hexdigest(), len(content), script_name_of(job)),)


def _script_of(job: Job) -> bytes:
    """A browser sends CRLF from a text field; a shell would stumble over it."""
    return job.script.replace("\r\n", "\n").encode()


def _login(job: Job, adapter: Adapter) -> RegistryLogin | None:
    if not job.image or not isinstance(adapter, PrivateImages):
        return None
    return registries.login_for(job.organization, job.image)


def _get_url(key: str) -> str:
    return storage.presigned_get(key, expires_s=ADDRESS_S)


def _put_url(key: str) -> str:
    return storage.presigned_put(key, expires_s=ADDRESS_S)


# --- while it runs ---------------------------------------------------------------------------------------------------


def pull_log(attempt: Attempt, adapter: Adapter) -> None:
    """Append what the job has written since the last time, if anything. Raises Unavailable, StorageUnavailable."""
    for _turn in range(PULLS_MAX):
        before = attempt.log_offset
        try:
            data = _next_piece(attempt, adapter)
        except (NotFound, storage.NotInStorage):
            return
        logs.keep(attempt.job, attempt, data)
        if len(data) < PULL_MAX_BYTES or attempt.log_offset == before:
            return


def _next_piece(attempt: Attempt, adapter: Adapter) -> bytes:
    offset = attempt.log_offset
    if isinstance(adapter, LiveLog):
        return adapter.read_log(remote_of(attempt), offset=offset, max_bytes=PULL_MAX_BYTES).data
    if isinstance(adapter, FinalLog):
        return b""  # the provider shows the log only at the end
    return storage.read(raw_log_key(attempt), start=offset, length=PULL_MAX_BYTES)


def remote_of(attempt: Attempt) -> RemoteJob:
    """The remote job as we know it, for calls about its log and files."""
    return RemoteJob(
        remote_id=attempt.remote_id,
        key=key_of(attempt),
        state=RemoteState(attempt.remote_state or "queued"),
        started_at=attempt.started_at,
        ended_at=attempt.ended_at,
    )


# --- back, after its end ---------------------------------------------------------------------------------------------


def collect(attempt: Attempt, adapter: Adapter, found: Collected) -> None:
    """Bring the whole log and every result into storage, and read them back: `found` has what came, also where an error
    ends it. Safe to repeat: what is there already is not sent again, and what was damaged is.

    Raises Unavailable, StorageUnavailable (ask again later), DamagedResults.
    """
    _collect_log(attempt, adapter, found)
    _collect_files(attempt, adapter, found)
    found.is_whole = True


def artifact_object(file: Artifact) -> JobObject:
    """As the place log has it: one path has one code, whichever run wrote it."""
    code = f"a-{hashlib.sha256(file.path.encode()).hexdigest()[:18]}"
    at = file.verified_at or file.created_at
    then = (PlaceAct.VERIFIED,) if file.verified_at else ()
    return JobObject(code, file.path, file.storage_key, file.size_bytes, file.sha256, at, then)


def _collect_log(attempt: Attempt, adapter: Adapter, found: Collected) -> None:
    begun = timezone.now()
    try:
        if isinstance(adapter, FinalLog):
            pieces = adapter.fetch_log(remote_of(attempt))
        else:
            pieces = storage.pieces(raw_log_key(attempt))
        stored = storage.put_stream(log_key(attempt), _kept_too(attempt, pieces))
    except (NotFound, storage.NotInStorage):
        return  # it never wrote one
    if not isinstance(adapter, FinalLog):  # byte by byte the same
        found.objects.append(_object(attempt, "sent-log", raw_log_key(attempt), stored, at=begun))
    is_good = _is_as_sent(log_key(attempt), stored)
    then = (PlaceAct.VERIFIED,) if is_good else DAMAGED
    found.objects.append(_object(attempt, "log", log_key(attempt), stored, at=timezone.now(), then=then))
    logs.keep(attempt.job, attempt, b"", last=True)
    found.log_is_damaged = not is_good
    found.log_key = log_key(attempt) if is_good and stored.size_bytes else ""


def _kept_too(attempt: Attempt, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The pieces, whose part that the page does not show yet is appended there on the way."""
    position = 0
    for piece in pieces:
        fresh = piece[max(0, attempt.log_offset - position) :]
        position += len(piece)
        if fresh and attempt.log_offset == position - len(fresh):
            logs.keep(attempt.job, attempt, fresh)
        yield piece


def _object(
    attempt: Attempt, kind: str, key: str, stored: storage.Stored, *, at: datetime, then: tuple[PlaceAct, ...] = ()
) -> JobObject:
    return JobObject(f"{kind}-{attempt.number}", kind, key, stored.size_bytes, stored.sha256, at, then)


def _collect_files(attempt: Attempt, adapter: Adapter, found: Collected) -> None:
    if isinstance(adapter, Artifacts):
        archive = adapter.fetch_artifacts(remote_of(attempt))
        if archive is not None:
            _unpack(attempt, archive, found)
    elif (size_bytes := storage.size_of(output_key(attempt))) is not None:
        begun, sent = timezone.now(), _Measured(storage.pieces(output_key(attempt)))
        stored = storage.Stored(size_bytes, "")  # where it cannot be read to its end
        try:
            _unpack(attempt, sent, found)
            stored = sent.to_the_end()
        finally:
            found.objects.append(_object(attempt, "sent-files", output_key(attempt), stored, at=begun))


def _unpack(attempt: Attempt, pieces: Iterator[bytes], found: Collected) -> None:
    """One object per plain file, as the archive streams by. Nothing touches a disk, so no path can lead astray."""
    paths, total = set[str](), 0
    try:
        with tarfile.open(fileobj=cast(IO[bytes], _Stream(pieces)), mode="r|gz", bufsize=BLOCK_BYTES) as archive:
            for member in archive:
                path = _safe_path(member)
                if path is None or path in paths:
                    found.skipped += not member.isdir()
                    continue
                total += member.size
                if len(paths) == FILES_MAX or total > FILES_BYTES_MAX:
                    found.was_cut = True
                    return
                paths.add(path)
                content = cast(IO[bytes], archive.extractfile(member))  # a plain file has content
                _keep_file(attempt, path, member.size, _pieces_of(content), found)
    except (tarfile.TarError, EOFError, OSError, ValueError) as damaged:
        raise DamagedResults(type(damaged).__name__) from damaged


def _keep_file(attempt: Attempt, path: str, size_bytes: int, content: Iterator[bytes], found: Collected) -> None:
    """What a try before this one has sent is only read: a worker that was killed leaves no work to be done twice."""
    key = f"{folder(attempt)}/files/{hashlib.sha256(path.encode()).hexdigest()[:24]}"
    is_there = storage.size_of(key) == size_bytes
    sent = storage.measure(content) if is_there else storage.put_stream(key, content)
    is_good, now = _is_as_sent(key, sent), timezone.now()
    file = Artifact(job=attempt.job, path=path, size_bytes=sent.size_bytes, sha256=sent.sha256, storage_key=key)
    file.created_at, file.verified_at = now, now if is_good else None
    if is_good:
        found.files.append(file)
    else:
        found.damaged.append(path)
        found.objects.append(replace(artifact_object(file), then=DAMAGED))


def _is_as_sent(key: str, sent: storage.Stored) -> bool:
    """Read back from the store, from the first byte to the last. What is not equal is removed at once."""
    failpoint("collect.after_put")
    try:
        if storage.measure(storage.pieces(key)) == sent:
            return True
    except storage.NotInStorage:
        return False
    storage.delete(key)
    return False


def _pieces_of(content: IO[bytes]) -> Iterator[bytes]:
    while piece := content.read(storage.PIECE_BYTES):
        yield piece


def _safe_path(member: tarfile.TarInfo) -> str | None:
    """Relative, plain, printable; None for anything that is not simply a file."""
    path = member.name.removeprefix("./")
    if not member.isreg() or not path or len(path) > PATH_MAX or not path.isprintable():
        return None
    if path.startswith("/") or any(part in ("", ".", "..") for part in path.split("/")):
        return None
    return path


class _Measured:
    """Pieces that are measured as they go by."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._whole, self._size = hashlib.sha256(), 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        piece = next(self._pieces)
        self._whole.update(piece)
        self._size += len(piece)
        return piece

    def to_the_end(self) -> storage.Stored:
        """Of all pieces, also of those that nobody wanted."""
        for _piece in self:
            pass
        return storage.Stored(self._size, self._whole.hexdigest())


class _Stream:
    """Pieces as something to read from, for tarfile."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._waiting = bytearray()

    def read(self, size: int) -> bytes:
        while len(self._waiting) < size and (piece := next(self._pieces, None)) is not None:
            self._waiting += piece
        taken = bytes(self._waiting[:size])
        del self._waiting[:size]
        return taken
