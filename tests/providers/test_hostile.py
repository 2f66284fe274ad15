"""Whatever comes over the wire: a bounded read, one of our errors, and no job lost or doubled.

Hypothesis feeds the translations in their own tests; here whole adapters meet real servers.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import asyncssh
import pytest
from websockets.sync.server import ServerConnection, serve

from portal.providers import base
from portal.providers.base import Account, Adapter, JobSpec, RemoteJob, RemoteState
from portal.providers.errors import OutcomeUnknown, ProviderError, Unavailable
from portal.providers.sakura_dok import SakuraDok
from portal.providers.sakura_dok import client as dok_client
from portal.providers.slurm_rest import SlurmRest
from portal.providers.slurm_ssh import SlurmSsh
from tests.providers.answering import Reply, answering
from tests.providers.hostile import BODIES, LONG_ID, PAGE, told_oddly

KEY = "jga-t-1"
SPEC = JobSpec(KEY, "echo", "gpu", 1, 600, image="python:3.11", environment={"A": "users-secret"})
SINCE = datetime(2026, 11, 1, tzinfo=UTC)
JOB = RemoteJob("17", KEY, RemoteState.RUNNING)
MANY = 40  # requests of one call at most

DOK_TASK: dict[str, Any] = {
    "id": "17", "name": KEY, "tags": [KEY, "jga"], "status": "running", "created_at": "2026-11-23T09:00:00.000+09:00",
    "execution_time_limit_sec": 600, "containers": [],
}  # fmt: skip
SLURM_JOB: dict[str, Any] = {"job_id": 17, "name": KEY, "job_state": "RUNNING", "submit_time": 1_795_590_444}
TOLD = {"sakura_dok": DOK_TASK, "slurm_rest": SLURM_JOB}


def over_http(kind: str, url: str) -> Adapter:
    if kind == "sakura_dok":
        return SakuraDok(Account(kind, url, {"token": "canary-token", "secret": "canary-secret"}))
    options = {"work_dir": "/w", "api_version": "v0.0.40"}
    return SlurmRest(Account(kind, url, {"user": "portal", "token": "canary-token"}, options))


READS: dict[str, Callable[[Any], object]] = {
    "check": lambda adapter: adapter.check(),
    "find": lambda adapter: adapter.find(KEY),
    "get": lambda adapter: adapter.get("17"),
    "list": lambda adapter: list(adapter.list_jobs("jga-", since=SINCE)),
    "cancel": lambda adapter: adapter.cancel("17"),
    "set_time_limit": lambda adapter: adapter.set_time_limit("17", time_limit_s=60),
    "usage": lambda adapter: list(adapter.usage(since=SINCE, until=datetime.now(UTC))),
    "availability": lambda adapter: adapter.availability(),
    "offerings": lambda adapter: adapter.offerings(),
    "read_log": lambda adapter: adapter.read_log(JOB, offset=0, max_bytes=1000),
    "fetch_log": lambda adapter: b"".join(adapter.fetch_log(JOB)),
    "fetch_artifacts": lambda adapter: adapter.fetch_artifacts(JOB),
}
ABILITY = {
    "set_time_limit": base.MoreTime,
    "availability": base.Availability, "offerings": base.PriceList, "read_log": base.LiveLog,
    "fetch_log": base.FinalLog, "fetch_artifacts": base.Artifacts,
}  # fmt: skip


@pytest.mark.parametrize("kind", TOLD)
@pytest.mark.parametrize("body", BODIES)
def test_whatever_the_answer_every_read_ends_as_ours(kind: str, body: str) -> None:
    for name, read in READS.items():
        with answering(to=lambda asked: BODIES[body]) as server:
            adapter = over_http(kind, server.url)
            if name in ABILITY and not isinstance(adapter, ABILITY[name]):
                continue
            began = time.monotonic()
            try:
                read(adapter)
            except ProviderError as error:
                assert_harmless(error)
            assert (time.monotonic() - began < 8, len(server.asked) < MANY) == (True, True), name
            adapter.close()


@pytest.mark.parametrize("kind", TOLD)
@pytest.mark.parametrize("body", BODIES)
def test_after_a_submission_no_such_answer_is_a_certain_no(kind: str, body: str) -> None:
    with answering(BODIES[body]) as server, pytest.raises(OutcomeUnknown) as told:
        over_http(kind, server.url).submit(SPEC)
    assert_harmless(told.value)
    assert len(server.asked) == 1


@pytest.mark.parametrize("kind", TOLD)
@pytest.mark.parametrize(
    "body", ["nothing", "null", "a list", "an empty object", "no UTF-8", "cut", "a page of a gateway"]
)
def test_a_list_that_is_none_is_not_read_as_an_empty_one(kind: str, body: str) -> None:
    """Who takes it for empty sends the job again."""
    with answering(to=lambda asked: BODIES[body]) as server, pytest.raises(Unavailable):
        over_http(kind, server.url).find(KEY)


@pytest.mark.parametrize("kind", TOLD)
@pytest.mark.parametrize("oddness", told_oddly({}))
def test_a_job_among_oddities_is_found(kind: str, oddness: str) -> None:
    reply = told_oddly(TOLD[kind])[oddness]
    with answering(to=lambda asked: reply if "slurmdb" not in asked.path else Reply(404)) as server:
        adapter = over_http(kind, server.url)
        found = [replace(job, created_at=None, started_at=None) for job in adapter.find(KEY)]
        listed = [replace(job, created_at=None, started_at=None) for job in adapter.list_jobs("jga-", since=SINCE)]
    assert (found, listed) == ([JOB], [JOB])


@pytest.mark.parametrize("kind", TOLD)
@pytest.mark.parametrize("wrong", [None, [], "", LONG_ID, "\x00", "9" * 101, -1, True, 1.5])
def test_a_job_whose_id_cannot_be_kept_is_there_all_the_same(kind: str, wrong: object) -> None:
    told = {**TOLD[kind], "id": wrong, "job_id": wrong}
    reply = Reply(200, {"jobs": [told], "results": [told], "meta": {"total_pages": 1}, "errors": []})
    with answering(to=lambda asked: reply if "slurmdb" not in asked.path else Reply(404)) as server:
        adapter = over_http(kind, server.url)
        with pytest.raises(Unavailable):
            adapter.find(KEY)
        assert list(adapter.list_jobs("jga-", since=SINCE)) == []
        with pytest.raises((Unavailable, OutcomeUnknown, ProviderError)):
            adapter.get("17")


@pytest.mark.parametrize("kind", TOLD)
def test_a_job_that_was_made_without_an_id_that_can_be_kept_is_unknown(kind: str) -> None:
    reply = Reply(201, {**TOLD[kind], "id": "\x00", "job_id": LONG_ID})
    with answering(reply) as server, pytest.raises(OutcomeUnknown):
        over_http(kind, server.url).submit(SPEC)


# --- the log stream of DOK -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "token"),
    [
        ("ws://[", "t"),
        ("ws://127.0.0.1:99999/", "t"),
        ("ws://127.0.0.1:9/", "t"),
        ("ws://127.0.0.1:9/", "t\r\nX: y"),
        ("ws://127.0.0.1:9/", "鍵"),
        ("wss://127.0.0.1:9/", "t"),
        ("http://127.0.0.1:9/", "t"),
        ("ws://", "t"),
        ("ws://\x00/", "t"),
    ],
)
def test_a_stream_that_is_nowhere_is_unavailable(address: str, token: str) -> None:
    with answering(Reply(200, {"url": address, "token": token})) as server, pytest.raises(Unavailable):
        over_http("sakura_dok", server.url).read_log(JOB, offset=0, max_bytes=10)  # type: ignore[attr-defined]


def test_a_stream_of_wrong_letters_and_sudden_ends_gives_what_it_gave() -> None:
    def speak(stream: ServerConnection) -> None:
        stream.send("一行目\n")
        stream.send(b"\xff\xfe\x00")
        stream.send(b"\xe4\xb8", text=True)  # by the protocol a text is UTF-8
        stream.send("end")
        stream.socket.close()

    assert read_stream(speak, offset=0, max_bytes=1000) == "一行目\n".encode() + b"\xff\xfe\x00\xe4\xb8end"


def test_a_stream_without_end_is_read_as_far_as_it_was_asked_for() -> None:
    def speak(stream: ServerConnection) -> None:
        while True:
            stream.send(b"x" * 100_000)

    assert read_stream(speak, offset=50_000, max_bytes=1 << 20) == b"x" * (1 << 20)


def test_a_stream_that_drips_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dok_client, "STREAM_TIMEOUT_S", 0.5)

    def speak(stream: ServerConnection) -> None:
        while True:
            stream.send(b"x")
            time.sleep(0.05)

    began = time.monotonic()
    assert set(read_stream(speak, offset=2, max_bytes=1 << 20)) == {ord("x")}
    assert time.monotonic() - began < 3


def read_stream(speak: Callable[[ServerConnection], None], *, offset: int, max_bytes: int) -> bytes:
    def handle(stream: ServerConnection) -> None:
        try:
            speak(stream)
        except Exception:  # the reader has gone
            return

    with serve(handle, "127.0.0.1", 0, compression=None) as stream:
        threading.Thread(target=stream.serve_forever, daemon=True).start()
        address = f"ws://127.0.0.1:{stream.socket.getsockname()[1]}/"
        with answering(Reply(200, {"url": address, "token": "t"})) as server:
            adapter = over_http("sakura_dok", server.url)
            piece = adapter.read_log(JOB, offset=offset, max_bytes=max_bytes)  # type: ignore[attr-defined]
    assert piece.next_offset == offset + len(piece.data)
    data: bytes = piece.data
    return data


# --- what commands print over SSH ------------------------------------------------------------------------------------

OUTPUTS = {
    "nothing": b"",
    "a page": PAGE,
    "no UTF-8": b"\xff\xfe \xc3(\n" * 10,
    "20 MB of one line": b"x" * 20_000_000,
    "20 MB of separators": b"|" * 20_000_000,
    "more than is read": b"1|RUNNING|" * 4_000_000,
    "ids of thirty digits and of no digits": f"{LONG_ID}|RUNNING|||||{KEY}\n\u00b2|RUNNING|||||{KEY}\n".encode(),
    "zero bytes": b"17\x00|\x00" * 7 + b"\n",
}


@pytest.mark.parametrize(
    ("output", "code"), [*((name, 0) for name in OUTPUTS), ("a page", 1), ("a page", 255), ("no UTF-8", 1)]
)
def test_whatever_the_commands_print_every_call_ends_as_ours(output: str, code: int) -> None:
    with commands(lambda command: (OUTPUTS[output], b"error: users-secret " + OUTPUTS[output][:5000], code)) as account:
        adapter = SlurmSsh(account)
        for name in (
            "check",
            "find",
            "get",
            "list",
            "cancel",
            "set_time_limit",
            "usage",
            "read_log",
            "fetch_artifacts",
        ):
            try:
                told = READS[name](adapter)
            except ProviderError as error:
                assert_harmless(error)
            else:
                assert name != "get", told
        with pytest.raises(ProviderError) as lost:
            adapter.submit(SPEC)
        assert_harmless(lost.value)
        assert code == 1 or isinstance(lost.value, OutcomeUnknown)
        adapter.close()


@pytest.mark.parametrize("output", ["a page", "no UTF-8", "20 MB of one line"])
def test_words_that_are_no_list_are_not_read_as_an_empty_one(output: str) -> None:
    with commands(lambda command: (OUTPUTS[output], b"", 0)) as account, pytest.raises(Unavailable):
        SlurmSsh(account).find(KEY)


def test_a_job_among_lines_that_make_no_sense_is_found() -> None:
    lines = f"warning: \u00b2|\n|||||||\n17|RUNNING|None|||N/A|{KEY}\n{LONG_ID}|RUNNING|||||{KEY}\n18|RUN".encode()

    def answer(command: str) -> tuple[bytes, bytes, int]:
        return (lines, b"", 0) if "squeue" in command else (b"", b"Slurm accounting storage is disabled", 1)

    with commands(answer) as account:
        assert SlurmSsh(account).find(KEY) == [JOB]


@pytest.mark.parametrize("line", ["|RUNNING|None|||N/A|", f"{LONG_ID}|RUNNING|None|||N/A|", "1x|RUNNING|None|||N/A|"])
def test_a_job_whose_number_cannot_be_read_is_there_all_the_same(line: str) -> None:
    def answer(command: str) -> tuple[bytes, bytes, int]:
        told = f"{line}{KEY}\n".encode()
        return (told, b"", 0) if "squeue" in command else (b"", b"Slurm accounting storage is disabled", 1)

    with commands(answer) as account:
        adapter = SlurmSsh(account)
        for look in (lambda: adapter.find(KEY), lambda: adapter.get("17")):
            with pytest.raises(Unavailable, match="has no number"):
                look()
        assert (list(adapter.list_jobs("jga-", since=SINCE)), adapter.find(f"{KEY}0")) == ([], [])


def test_a_command_that_hangs_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    from portal.providers.slurm_ssh import client

    monkeypatch.setattr(client, "COMMAND_TIMEOUT_S", 0.5)
    with commands(lambda command: None) as account, pytest.raises(Unavailable, match="in time"):
        SlurmSsh(account).get("17")


@contextmanager
def commands(answer: Callable[[str], tuple[bytes, bytes, int] | None]) -> Iterator[Account]:
    """An SSH server whose commands print these bytes; None: nothing, ever. Files are real, in nobody's folder."""
    host, user = asyncssh.generate_private_key("ssh-ed25519"), asyncssh.generate_private_key("ssh-ed25519")
    loop = asyncio.new_event_loop()

    async def run(process: asyncssh.SSHServerProcess[bytes]) -> None:
        given = answer(process.command or "")
        if given is None:
            await asyncio.sleep(60)
            return
        output, errors, code = given
        try:
            process.stdout.write(output)
            process.stderr.write(errors)
            await process.stdout.drain()
            process.exit(code)
        except (OSError, asyncssh.Error):  # the reader has heard enough
            process.close()

    async def listen() -> asyncssh.SSHAcceptor:
        keys = asyncssh.import_authorized_keys(user.export_public_key().decode())
        return await asyncssh.listen(
            "127.0.0.1", 0, server_host_keys=[host], authorized_client_keys=keys, process_factory=run, encoding=None,
            sftp_factory=EmptyFiles,
        )  # fmt: skip

    async def end(server: asyncssh.SSHAcceptor) -> None:
        server.close()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    threading.Thread(target=loop.run_forever, daemon=True).start()
    server = asyncio.run_coroutine_threadsafe(listen(), loop).result(10)
    credentials = {
        "user": "portal",
        "private_key": user.export_private_key().decode(),
        "known_hosts": f"* {host.export_public_key().decode()}",
    }
    try:
        yield Account("slurm_ssh", f"127.0.0.1:{server.get_port()}", credentials)
    finally:
        asyncio.run_coroutine_threadsafe(end(server), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)


class EmptyFiles(asyncssh.SFTPServer):
    """Takes what is written, and has nothing."""

    def mkdir(self, path: bytes, attrs: asyncssh.SFTPAttrs) -> None: ...

    def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> object:
        if not pflags & asyncssh.FXF_WRITE:
            raise asyncssh.SFTPNoSuchFile("nothing here")
        return object()

    def write(self, file_obj: object, offset: int, data: bytes) -> int:
        return len(data)

    def close(self, file_obj: object) -> None: ...

    def lstat(self, path: bytes) -> asyncssh.SFTPAttrs:
        raise asyncssh.SFTPNoSuchFile("nothing here")

    stat = lstat


def assert_harmless(error: ProviderError) -> None:
    """One line for operators, and nothing that is a secret."""
    said = f"{error!r} {error.summary} {error.code}"
    assert (len(error.summary) <= 400, "\n" in error.summary) == (True, False)
    assert [secret for secret in ("canary", "users-secret", "<html", "Traceback") if secret in said] == []
    assert type(error).__module__.startswith("portal.providers")
