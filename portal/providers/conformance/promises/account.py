"""Who one is there, and what happens when that is not true."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from portal.providers.base import Account, Adapter
from portal.providers.conformance.bench import Bench
from portal.providers.conformance.kit import Broken, equal, hold, patient_promise, promise, raises
from portal.providers.errors import Misconfigured, NotFound, ProviderError, Unavailable

KNOWN_BY_ALL = ("user", "known_hosts")  # names and public keys: no secrets


@promise
def good_credentials_are_confirmed_in_one_line(bench: Bench) -> str:
    said = bench.adapter.check()
    equal(len(said.splitlines()), 1, "lines")
    return said


@promise
def the_confirmation_holds_no_credential(bench: Bench) -> str:
    said = bench.adapter.check()
    hold(not _secrets_in(said, bench.account), "a credential is in it")
    return "none of the credentials is in it"


@promise
def wrong_credentials_need_an_operator_when_checked(bench: Bench) -> str:
    return _refused(bench, lambda adapter: adapter.check())


@promise
def wrong_credentials_need_an_operator_when_a_job_is_handed_over(bench: Bench) -> str:
    spec = bench.spec("true")
    said = _refused(bench, lambda adapter: adapter.submit(spec))
    equal(bench.adapter.find(spec.key), [], "jobs made")
    return said


@promise
def wrong_credentials_need_an_operator_when_a_job_is_looked_for(bench: Bench) -> str:
    return _refused(bench, lambda adapter: adapter.find(bench.key()))


@promise
def wrong_credentials_need_an_operator_when_a_job_is_looked_at(bench: Bench) -> str:
    job = bench.sample_job("good")
    return _refused(bench, lambda adapter: adapter.get(job.remote_id))


@promise
def wrong_credentials_need_an_operator_when_jobs_are_listed(bench: Bench) -> str:
    return _refused(bench, lambda adapter: list(adapter.list_jobs(bench.prefix, since=bench.since)))


@promise
def wrong_credentials_need_an_operator_when_a_job_is_ended(bench: Bench) -> str:
    job = bench.sample_job("good")
    said = _refused(bench, lambda adapter: adapter.cancel(job.remote_id))
    return f"{said}; the job went on: {bench.sample('good').job.state.value}"


@promise
def credentials_that_are_missing_are_named(bench: Bench) -> str:
    named = []
    for name in bench.account.credentials:
        rest = {key: value for key, value in bench.account.credentials.items() if key != name}
        error = raises(Misconfigured, lambda rest=rest: bench.make(replace(bench.account, credentials=rest)))  # type: ignore[misc]
        hold(name in error.summary, f"{error.summary!r} does not name {name}")
        named.append(name)
    return ", ".join(named)


@promise
def no_credential_is_in_the_repr_of_account_or_job(bench: Bench) -> str:
    spec = replace(bench.spec("true"), environment={"TOKEN": "canary-in-environment"})
    shown = f"{bench.account!r} {spec!r} {bench.adapter!r} {bench.sample('good')!r}"
    hold(not _secrets_in(shown, bench.account) and "canary" not in shown, "a secret is in it")
    return "account, spec, adapter and job show none"


@promise
def a_port_where_nobody_listens_is_unavailable_at_once(bench: Bench) -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    began = time.monotonic()
    with bench.other_adapter(endpoint=_at_port(bench.account, port)) as adapter:
        for act in _acts(bench, adapter):
            raises(Unavailable, act)
    seconds = time.monotonic() - began
    hold(seconds < 5, f"after {seconds:.1f} s")
    return f"five calls in {seconds:.2f} s"


@patient_promise
def a_server_that_says_nothing_is_unavailable_within_its_time(bench: Bench) -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        began = time.monotonic()
        with bench.other_adapter(endpoint=_at_port(bench.account, listener.getsockname()[1])) as adapter:
            raises(Unavailable, adapter.check)
        seconds = time.monotonic() - began
    hold(seconds < 35, f"after {seconds:.1f} s")
    return f"after {seconds:.1f} s"


@promise
def a_server_that_speaks_something_else_is_an_error_of_ours(bench: Bench) -> str:
    with _babbling() as port, bench.other_adapter(endpoint=_at_port(bench.account, port)) as adapter:
        error = raises((Unavailable, Misconfigured), adapter.check)
    return f"{type(error).__name__}: {error.summary}"


@promise
def an_adapter_may_be_closed_twice(bench: Bench) -> str:
    adapter = bench.make(bench.account)
    adapter.check()
    adapter.close()
    adapter.close()
    return "nothing was raised"


@promise
def several_threads_may_share_one_adapter(bench: Bench) -> str:
    """Eight at once, each with a look of its own."""
    jobs = [bench.sample_job(name) for name in ("good", "silent", "exits_3", "killed")] * 4
    seen: list[str] = []
    trouble: list[str] = []

    def look(number: int) -> None:
        try:
            seen.append(bench.adapter.get(jobs[number].remote_id).key)
        except ProviderError as error:
            trouble.append(f"{type(error).__name__}: {error.summary} {error.code}")

    threads = [threading.Thread(target=look, args=(number,)) for number in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    equal(trouble, [], "errors")
    equal(sorted(seen), sorted(job.key for job in jobs), "keys seen")
    return f"{len(jobs)} looks, each saw its own job"


def _refused(bench: Bench, act: Callable[[Adapter], object]) -> str:
    with bench.other_adapter(credentials=wrong(bench.account)) as adapter:
        error = raises(Misconfigured, lambda: act(adapter))
    shown = f"{error} {error!r} {error.code}"
    hold(not _secrets_in(shown, bench.account), "the error holds a credential")
    return error.summary


def wrong(account: Account) -> dict[str, str]:
    """The same names with other secrets: tokens that have expired, keys that nobody knows."""
    return {name: value if name in KNOWN_BY_ALL else _wrong(value) for name, value in account.credentials.items()}


def _wrong(value: str) -> str:
    if "PRIVATE KEY" in value:
        key = Ed25519PrivateKey.generate()
        return key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
    if value.count(".") == 2 and value.startswith("ey"):  # a JSON Web Token
        head, claims, signature = value.split(".")
        told = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
        told["exp"] = int(time.time()) - 60
        again = base64.urlsafe_b64encode(json.dumps(told).encode()).decode().rstrip("=")
        return f"{head}.{again}.{signature}"
    return value[::-1] + "x"


def _secrets_in(text: str, account: Account) -> list[str]:
    return [name for name, value in account.credentials.items() if name not in KNOWN_BY_ALL and value in text]


def _acts(bench: Bench, adapter: Adapter) -> list[Callable[[], object]]:
    spec = bench.spec("true")
    return [
        adapter.check,
        lambda: adapter.submit(spec),
        lambda: adapter.find(spec.key),
        lambda: list(adapter.list_jobs(bench.prefix, since=bench.since)),
        lambda: _get(adapter),
    ]


def _get(adapter: Adapter) -> object:
    try:
        return adapter.get("1")
    except NotFound as error:
        raise Broken(f"NotFound ({error.summary}) although nobody was asked") from None


def _at_port(account: Account, port: int) -> str:
    return f"127.0.0.1:{port}" if "://" not in account.endpoint else f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def _babbling() -> Iterator[int]:
    """A server that greets everybody with a line of its own."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            while True:
                try:
                    client, _address = listener.accept()
                except OSError:
                    return
                with contextlib.suppress(OSError), client:
                    client.sendall(b"220 mail.example ready\r\n" * 3)
                    time.sleep(0.2)

        threading.Thread(target=answer, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
