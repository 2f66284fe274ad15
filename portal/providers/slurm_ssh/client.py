"""Commands and files over one kept-open SSH connection per account. asyncssh: many channels share one log-in.

All connections of a process live in one event loop on one thread of its own; callers of any thread wait for it. The
server's host key is pinned (`known_hosts` in the credentials, as ssh-keyscan prints it): an unknown key is refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

import asyncssh

from portal.providers.base import Account
from portal.providers.endpoints import refuse_no_host
from portal.providers.errors import Misconfigured, NotFound, OutcomeUnknown, ProviderError, Unavailable

CONNECT_TIMEOUT_S = 3.0
COMMAND_TIMEOUT_S = 20.0
FILE_TIMEOUT_S = 20.0
OUTPUT_LIMIT_BYTES = 32 << 20
ERRORS_LIMIT = 20_000  # characters; what is shown of them is a line
PIECE_BYTES = 1 << 20
_CHANNELS = 6  # OpenSSH allows ten on one connection (MaxSessions); one that was closed still counts for a moment
_FILES_AT_ONCE = 32

T = TypeVar("T")


@dataclass(frozen=True)
class Finished:
    """A command that ended by itself."""

    exit_code: int
    output: str
    errors: str  # one line


class SshClient:
    def __init__(self, account: Account) -> None:
        host, _, port = account.endpoint.rpartition(":")
        if not host or not (port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65_536):
            raise Misconfigured("the endpoint must be host:port")
        self._host, self._port = host.strip("[]"), int(port)
        refuse_no_host(self._host)
        credentials = account.credentials
        try:
            self.user = credentials["user"]
            self._key = asyncssh.import_private_key(credentials["private_key"])
            self._known_hosts = asyncssh.import_known_hosts(credentials["known_hosts"])
        except KeyError as error:
            raise Misconfigured(f"the account's credentials lack {error}") from None
        except (asyncssh.KeyImportError, ValueError):
            raise Misconfigured("the private key or the known_hosts lines cannot be read") from None
        self._connection: asyncssh.SSHClientConnection | None = None
        self._sftp: asyncssh.SFTPClient | None = None
        self._lock: asyncio.Lock | None = None
        self._channels: asyncio.Semaphore | None = None

    def run(self, command: Sequence[str], *, creates: bool = False) -> Finished:
        """Run it quoted, with times in UTC seconds. `creates`: a lost answer raises OutcomeUnknown."""
        words = ["env", "TZ=UTC", "SLURM_TIME_FORMAT=%s", "LC_ALL=C", *command]
        return _wait(self._run(shlex.join(words), OutcomeUnknown if creates else Unavailable))

    def home(self) -> str:
        """The absolute path where the log-in lands."""
        return _wait(self._with_files(lambda sftp: sftp.realpath(".")))

    def make_directory(self, path: str) -> bool:
        """Private, with its parents; False where it was there before. Atomic: one of two callers gets True."""

        async def make(sftp: asyncssh.SFTPClient) -> bool:
            private = asyncssh.SFTPAttrs(permissions=0o700)
            try:
                try:
                    await sftp.mkdir(path, private)
                except asyncssh.SFTPNoSuchFile:
                    await sftp.makedirs(path.rpartition("/")[0], private, exist_ok=True)
                    await sftp.mkdir(path, private)
            except (asyncssh.SFTPFileAlreadyExists, asyncssh.SFTPFailure):
                if await sftp.isdir(path):  # OpenSSH's server says no more than "failure"
                    return False
                raise
            return True

        return _wait(self._with_files(make))

    def exists(self, path: str) -> bool:
        return _wait(self._with_files(lambda sftp: sftp.exists(path)))

    def write(self, files: Mapping[str, bytes], *, mode: int) -> None:
        """Each path's bytes, some at a time beside each other."""

        async def write(sftp: asyncssh.SFTPClient) -> None:
            at_once = asyncio.Semaphore(_FILES_AT_ONCE)

            async def write_one(path: str, data: bytes) -> None:
                async with at_once, sftp.open(path, "wb", asyncssh.SFTPAttrs(permissions=mode)) as file:
                    await file.write(data)

            await asyncio.gather(*(write_one(path, data) for path, data in files.items()))

        _wait(self._with_files(write))

    def write_at(self, path: str, data: bytes, *, offset: int) -> None:
        """Into a private file that is made where it is missing. What is written already stays, but at offset 0."""

        async def write(sftp: asyncssh.SFTPClient) -> None:
            flags = asyncssh.FXF_WRITE | asyncssh.FXF_CREAT | (0 if offset else asyncssh.FXF_TRUNC)
            async with sftp.open(path, flags, asyncssh.SFTPAttrs(permissions=0o600), encoding=None) as file:
                await file.write(data, offset)

        _wait(self._with_files(write))

    def size_of(self, path: str) -> int | None:
        """None: there is no such file."""
        with contextlib.suppress(NotFound):
            return _wait(self._with_files(lambda sftp: sftp.getsize(path)))
        return None

    def rename(self, path: str, to: str) -> None:
        _wait(self._with_files(lambda sftp: sftp.posix_rename(path, to)))

    def remove_directory(self, path: str) -> None:
        """With the files in it. Nothing there: return quietly. A link is not followed: a job may lay one anywhere."""

        async def remove(sftp: asyncssh.SFTPClient) -> None:
            if await sftp.islink(path):
                await sftp.remove(path)
            elif await sftp.isdir(path):
                for name in await sftp.listdir(path):
                    if name not in (".", ".."):
                        await sftp.remove(f"{path}/{name}")
                await sftp.rmdir(path)

        with contextlib.suppress(NotFound):
            _wait(self._with_files(remove))

    def read(self, path: str, *, offset: int, max_bytes: int) -> bytes:
        """Less than `max_bytes` at the end, empty beyond it. Raises NotFound, Unavailable."""

        async def read(sftp: asyncssh.SFTPClient) -> bytes:
            if await sftp.islink(path):  # a job may lay one to another tenant's file
                raise asyncssh.SFTPNoSuchFile("not a file")
            async with sftp.open(path, "rb") as file:
                data = await file.read(max_bytes, offset)
                return data if isinstance(data, bytes) else data.encode()

        return _wait(self._with_files(read))

    def pieces(self, path: str) -> Iterator[bytes]:
        """The whole file in pieces of at most 1 MiB. Raises NotFound at the first, Unavailable."""
        offset = 0
        while piece := self.read(path, offset=offset, max_bytes=PIECE_BYTES):
            yield piece
            offset += len(piece)

    def close(self) -> None:
        async def close() -> None:
            if self._connection is not None:
                self._connection.close()
                self._connection = self._sftp = None

        with contextlib.suppress(ProviderError):
            _wait(close())

    async def _run(self, command: str, lost: type[ProviderError]) -> Finished:
        async with self._channel() as connection:
            try:
                process = await asyncio.wait_for(
                    connection.create_process(command, encoding=None, stdin=asyncssh.DEVNULL), CONNECT_TIMEOUT_S
                )
            except asyncssh.ChannelOpenError as error:
                raise Unavailable("the log-in node opens no session", code=str(error.code)) from None
            except (asyncssh.Error, OSError, TimeoutError) as error:
                raise lost("the connection broke off", code=type(error).__name__) from None
            try:
                async with asyncio.timeout(COMMAND_TIMEOUT_S):
                    output, errors = await asyncio.gather(
                        _bounded(process.stdout, lost), _bounded(process.stderr, lost)
                    )
                    await process.wait_closed()
            except TimeoutError:
                raise lost("the command gave no answer in time", code="timeout") from None
            except (asyncssh.Error, OSError) as error:
                raise lost("the connection broke off", code=type(error).__name__) from None
            finally:
                process.close()
            if process.returncode is None:
                raise lost("the command ended without a code")
            text = " ".join(errors.decode(errors="replace").split())[:ERRORS_LIMIT]
            return Finished(process.returncode, output.decode(errors="replace"), text)

    async def _with_files(self, act: Callable[[asyncssh.SFTPClient], Awaitable[T]]) -> T:
        async with self._channel() as connection:
            try:
                async with asyncio.timeout(FILE_TIMEOUT_S):
                    if self._sftp is None:
                        self._sftp = await connection.start_sftp_client()
                    return await act(self._sftp)
            except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath):
                raise NotFound("there is no such file on the cluster") from None
            except asyncssh.SFTPPermissionDenied:
                raise Misconfigured("the cluster's file system refuses this account") from None
            except (asyncssh.SFTPNoSpaceOnFilesystem, asyncssh.SFTPQuotaExceeded):
                raise Unavailable("the cluster's disk is full", code="disk") from None
            except (asyncssh.SFTPNoConnection, asyncssh.SFTPConnectionLost, TimeoutError) as error:
                self._sftp = None
                raise Unavailable("the file transfer broke off", code=type(error).__name__) from None
            except (asyncssh.Error, OSError) as error:
                raise Unavailable("the file cannot be reached", code=type(error).__name__) from None

    @contextlib.asynccontextmanager
    async def _channel(self) -> AsyncIterator[asyncssh.SSHClientConnection]:
        if self._lock is None or self._channels is None:
            self._lock, self._channels = asyncio.Lock(), asyncio.Semaphore(_CHANNELS)
        async with self._channels:
            async with self._lock:
                if self._connection is None or self._connection.is_closed():
                    self._sftp = None
                    self._connection = await self._connect()
                connection = self._connection
            yield connection

    async def _connect(self) -> asyncssh.SSHClientConnection:
        try:
            return await asyncssh.connect(
                self._host,
                self._port,
                username=self.user,
                client_keys=[self._key],
                known_hosts=self._known_hosts,
                config=None,
                agent_path=None,
                connect_timeout=CONNECT_TIMEOUT_S,
                login_timeout=10,
                keepalive_interval=15,
                keepalive_count_max=3,
            )
        except asyncssh.HostKeyNotVerifiable:
            raise Misconfigured("the server's host key is not the pinned one", code="host_key") from None
        except asyncssh.PermissionDenied:
            raise Misconfigured("the server refuses the user or the key", code="permission") from None
        except (asyncssh.Error, OSError, TimeoutError) as error:
            raise Unavailable("no connection", code=type(error).__name__) from None


async def _bounded(stream: asyncssh.SSHReader[bytes], lost: type[ProviderError]) -> bytes:
    data = bytearray()
    while piece := await stream.read(65536):
        data += piece
        if len(data) > OUTPUT_LIMIT_BYTES:
            raise lost("the answer is larger than it may be", code="too_large")
    return bytes(data)


class _Loop:
    """The process's event loop. A child made by fork has none of its parent's threads, so it starts its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pid = 0
        self._loop: asyncio.AbstractEventLoop | None = None

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        with self._lock:
            if self._loop is None or self._pid != os.getpid():
                self._pid, self._loop = os.getpid(), asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, daemon=True, name="ssh").start()
            return asyncio.run_coroutine_threadsafe(work, self._loop)


_loop = _Loop()


def _wait(work: Coroutine[Any, Any, T]) -> T:
    return _loop.submit(work).result()
