"""Credentials of accounts, secrets of jobs and values of variables, planted and looked for wherever something is kept,
sent or said: logs, every message of the broker, cache, every row of the database, every page, every error.

The jobs are sent by the real form and carried on by the real tasks, which are run by the very messages they left.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import logging
import re
import secrets
import socket
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import quote, quote_plus

import asyncssh
import pytest
from django.apps import apps
from django.conf import settings
from django.contrib.sessions.models import Session
from django.core.cache import cache
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from portal import celery
from portal.accounts.models import Project, User
from portal.catalog.models import Offering, ProviderAccount
from portal.catalog.provider_accounts import account_of
from portal.core.sealing import seal
from portal.jobs import tasks
from portal.jobs.models import Attempt, Job, JobEvent
from portal.jobs.request import JobRequest
from portal.jobs.views import listing
from portal.providers import http_client
from portal.providers.base import Account, Adapter, JobSpec
from portal.providers.errors import ProviderError
from portal.providers.registry import close_all, make_adapter
from tests.factories import OfferingFactory, PriceFactory, ProviderAccountFactory, ProviderFactory
from tests.jobs.test_end_to_end import KINDS
from tests.providers.answering import Asked, Reply, answering
from tests.providers.test_hostile import commands

pytestmark = pytest.mark.django_db(transaction=True)

JOB_SECRET = 'canary-of-the-job "quoted" é'
VARIABLE = "canary-of-a-variable"
TOKEN, SECRET = "canary-token-5d2f", "canary-secret-91ab"
FORM = {
    "name": "canaries",
    "script": "sleep 1\n",
    "script_name": "main.sh",
    "time_amount": "10",
    "time_unit": "minutes",
}


# --- the ways a hand-off may go --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_leaks_where_the_provider_runs_the_job(
    kind: str, emulator: Callable[[str], Account], house: House
) -> None:
    account = house.at(emulator(kind))
    job = house.submit()
    house.carry_on(until=lambda: Job.objects.get(pk=job.pk).is_final)
    assert Job.objects.get(pk=job.pk).state == "succeeded"
    assert house.leaks(job, planted_in(account)) == []


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_leaks_where_the_provider_refuses_the_credentials(
    kind: str, emulator: Callable[[str], Account], house: House
) -> None:
    reached = emulator(kind)
    account = house.at(replace(reached, credentials={**reached.credentials, **planted(kind)}))
    job = house.submit()
    house.carry_on(until=lambda: house.has_error(job))
    assert house.leaks(job, planted_in(account)) == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("status", [200, 400, 401, 422, 500])
def test_nothing_leaks_where_the_provider_says_it_all_back(kind: str, status: int, house: House) -> None:
    with saying_it_back(kind, status) as reached:
        account = house.at(reached)
        job = house.submit()
        house.carry_on(until=lambda: house.has_error(job))
        assert house.leaks(job, planted_in(account)) == []


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_leaks_where_the_provider_is_silent(kind: str, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_client, "READ_TIMEOUT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        place = f"127.0.0.1:{silent.getsockname()[1]}"
        account = house.at(Account(kind, place if kind == "slurm_ssh" else f"http://{place}", planted(kind), OPTIONS))
        job = house.submit()
        house.carry_on(until=lambda: house.has_error(job))
    assert house.leaks(job, planted_in(account)) == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wrong", ["鍵", "\r\nX-Evil: 1", "\x00"])
def test_nothing_leaks_where_the_credentials_cannot_even_be_sent(kind: str, wrong: str, house: House) -> None:
    credentials = {name: value + wrong for name, value in planted(kind).items()}
    account = house.at(
        Account(kind, "127.0.0.1:9" if kind == "slurm_ssh" else "http://127.0.0.1:9", credentials, OPTIONS)
    )
    job = house.submit()
    house.carry_on(until=lambda: house.has_error(job))
    assert house.leaks(job, planted_in(account)) == []


# --- what is said of it ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_no_value_shows_its_secrets(kind: str, db: None) -> None:
    account = Account(kind, "127.0.0.1:9" if kind == "slurm_ssh" else "http://127.0.0.1:9", planted(kind), OPTIONS)
    adapter = make_adapter(account)
    spec = JobSpec("jga-t-1", "echo", "gpu", 1, 60, environment={"A": VARIABLE})
    request = JobRequest("n", Offering(slug="o"), 1, 60, 500, environment={"A": VARIABLE}, secrets={"B": JOB_SECRET})
    row = ProviderAccount(kind=kind, sealed_credentials=seal(planted(kind)))
    inside = [value for value in vars(adapter).values() if not isinstance(value, tuple)]
    said = " ".join(
        f"{value!r} {value!s}" for value in (account, adapter, spec, request, row, account_of(row), *inside)
    )
    assert found_in(said, {*secret_values(account.credentials), VARIABLE, JOB_SECRET}) == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("status", [200, 400, 401, 422, 500])
def test_no_error_shows_what_the_provider_said_back(kind: str, status: int) -> None:
    spec = JobSpec("jga-t-1", "echo", "gpu", 1, 60, image="a:b", environment={"A": VARIABLE, "B": JOB_SECRET})
    acts: tuple[Callable[[Adapter], object], ...] = (
        lambda adapter: adapter.submit(spec),
        lambda adapter: adapter.check(),
        lambda adapter: adapter.get("17"),
        lambda adapter: adapter.find("jga-t-1"),
        lambda adapter: adapter.cancel("17"),
    )
    with saying_it_back(kind, status) as account:
        adapter = make_adapter(account)
        said = [said_by(adapter, act) for act in acts]
    assert found_in("\n".join(said), {*secret_values(account.credentials), VARIABLE, JOB_SECRET}) == []
    assert said[0]  # what must not show was really in there: it was refused, or its answer was not understood


@pytest.mark.parametrize("kind", ["sakura_dok", "slurm_rest"])
def test_the_command_that_stores_credentials_repeats_none(kind: str, db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    ProviderFactory(slug="sakura")
    said = io.StringIO()
    with saying_it_back(kind, 401) as account:
        monkeypatch.setenv("CREDENTIALS", json.dumps(dict(account.credentials)))
        arguments = [kind, "sakura", account.endpoint, "--check", "--credentials-in", "CREDENTIALS"]
        with pytest.raises(CommandError) as refused:
            call_command("add_provider_account", *arguments, "--option", "work_dir=/w", stdout=said, stderr=said)
    whole = said.getvalue() + "".join(traceback.format_exception(refused.value))
    assert found_in(whole, secret_values(account.credentials)) == []


def test_an_error_of_ours_is_told_without_the_values_around_it(
    house: House, client_of: Callable[..., Client], member: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page that breaks with secrets in its variables: neither the page nor the log shows variables."""

    def breaks(*args: object) -> None:
        token = TOKEN
        raise RuntimeError(f"broken {len(token)}")

    monkeypatch.setattr(listing, "_newest", breaks)
    client = client_of(member)
    client.raise_request_exception = False
    answer = client.get("/jobs/")
    assert (answer.status_code, "RuntimeError: broken 17" in house.log.getvalue()) == (500, True)
    assert found_in(house.log.getvalue() + answer.content.decode(), {TOKEN}) == []
    assert (settings.DEBUG, logging.getLogger("django").handlers) == (False, [])


def test_the_canaries_would_be_seen() -> None:
    """The finder itself: every form in which a value may hide."""
    for form in (
        TOKEN,
        json.dumps({"a": JOB_SECRET}),
        quote(JOB_SECRET),
        base64.b64encode(f"x{TOKEN}".encode()).decode(),
        base64.b64encode(f"token:{SECRET}:y".encode()).decode(),
        TOKEN.encode().hex(),
    ):
        assert found_in(f"… {form} …", {TOKEN, SECRET, JOB_SECRET}) != [], form


# --- planting --------------------------------------------------------------------------------------------------------

OPTIONS = {"work_dir": "/work/jobs", "api_version": "v0.0.40"}


def planted(kind: str) -> dict[str, str]:
    if kind == "sakura_dok":
        return {"token": TOKEN, "secret": SECRET}
    if kind == "slurm_rest":
        return {"user": "portal", "token": TOKEN}
    key = asyncssh.generate_private_key("ssh-ed25519")
    host = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    return {"user": "portal", "private_key": key.export_private_key().decode(), "known_hosts": f"* {host}"}


def secret_values(credentials: Any) -> set[str]:
    """What must never show: not the user's name, nor the server's public keys. Of a key each line of its body."""
    values = {value for name, value in credentials.items() if name not in ("user", "known_hosts")}
    return {
        line for value in values for line in re.split(r"\r?\n", value) if len(line) > 15 and "PRIVATE KEY" not in line
    }


def planted_in(account: ProviderAccount) -> set[str]:
    return {*secret_values(account.credentials()), JOB_SECRET}


@contextlib.contextmanager
def saying_it_back(kind: str, status: int) -> Iterator[Account]:
    """A provider that repeats all it is told, headers and body, plain and decoded, in whatever it answers."""
    if kind == "slurm_ssh":
        with commands(lambda command: (b"", f"sbatch: error: {command} {VARIABLE}".encode(), status % 256)) as account:
            yield account
        return

    def reply(asked: Asked) -> Reply:
        basic = asked.headers.get("Authorization", "").removeprefix("Basic ")
        known = f"{json.dumps(asked.headers)} {base64.b64decode(basic).decode()} {asked.body.decode()}"
        odd = {"error_number": {400: 9001, 401: 2001, 422: 2014}.get(status, -1), "description": known, "error": known}
        if kind == "slurm_rest" and status != 401:
            return Reply(status, {"errors": [odd], "jobs": []})
        return Reply(status, known.encode())

    with answering(to=reply) as server:
        yield Account(kind, server.url, planted(kind), OPTIONS)


# --- finding ---------------------------------------------------------------------------------------------------------


def found_in(text: str, canaries: set[str]) -> list[str]:
    return sorted({canary for canary in canaries for form in forms_of(canary) if form in text})


def forms_of(canary: str) -> set[str]:
    """As it is, in JSON, in an address, in hexadecimal, and in base64 wherever in a longer text it begins."""
    raw = canary.encode()
    packed = set()
    for shift in range(3):
        whole = base64.b64encode(b"\0" * shift + raw).decode()
        packed.add(whole[-(-shift * 8 // 6) : (shift + len(raw)) * 8 // 6])
    plain = {canary, json.dumps(canary)[1:-1], json.dumps(canary, ensure_ascii=False)[1:-1]}
    return plain | packed | {quote(canary), quote_plus(canary), quote(canary, safe=""), raw.hex()}


def said_by(adapter: Adapter, act: Callable[[Adapter], object]) -> str:
    """All that an error says of itself and of what led to it; empty: there was none."""
    try:
        act(adapter)
    except ProviderError as error:
        chain = [error, error.__cause__]
        told = " ".join(f"{link!r} {link} {getattr(link, 'args', '')} {getattr(link, 'code', '')}" for link in chain)
        return told + "".join(traceback.format_exception(error))
    return ""


class House:
    """The portal with everything that it keeps, sends or says in reach."""

    def __init__(self, log: io.StringIO, client: Client, project: Project) -> None:
        self.log, self.client, self.project = log, client, project
        self.messages: list[str] = []
        self.account = self.offering = None

    def at(self, reached: Account) -> ProviderAccount:
        """The account of this provider is there, and an offering that it runs."""
        facts: dict[str, Any] = dict(KINDS[reached.kind])
        provider = ProviderFactory(slug=facts.pop("slug"))
        self.offering = OfferingFactory(provider=provider, site=None, adapter=reached.kind, gpus_per_node=4, **facts)
        PriceFactory(offering=self.offering)
        self.account = ProviderAccountFactory(
            provider=provider,
            kind=reached.kind,
            endpoint=reached.endpoint,
            sealed_credentials=seal(dict(reached.credentials)),
            options=dict(reached.options),
        )
        return self.account

    def submit(self) -> Job:
        """By the form, as a person does."""
        answer = self.client.post(
            "/jobs/new/",
            {
                **FORM,
                "key": secrets.token_urlsafe(24),
                "project": self.project.code,
                "offering": self.offering.slug,
                "gpus": str(self.offering.gpus_min),
                "cost_cap": "500",
                "image": "python:3.11-slim" if self.offering.containers else "",
                "environment": f"GREETING={VARIABLE}",
                "secrets": f"API_KEY={JOB_SECRET}",
            },
        )
        assert answer.status_code == 302, answer.content.decode()
        return Job.objects.get()

    def carry_on(self, *, until: Callable[[], bool], within_s: float = 40) -> None:
        """What a worker does: takes messages, runs their tasks. What no message tells, the sweep finds."""
        deadline = time.monotonic() + within_s
        with celery.app.connection_for_read() as connection:
            while not until():
                assert time.monotonic() < deadline, JobEvent.objects.values_list("reason", "detail")
                tasks.sweep()
                while (message := connection.default_channel.basic_get("celery", no_ack=True)) is not None:
                    self.messages.append(f"{message.body!r} {message.headers} {message.properties}")
                    task = celery.app.tasks[message.headers["task"]]
                    task.apply(message.decode()[0])
                time.sleep(0.1)

    def has_error(self, job: Job) -> bool:
        return Attempt.objects.get(job=job).last_error != "" or Job.objects.get(pk=job.pk).is_final

    def leaks(self, job: Job, canaries: set[str]) -> list[tuple[str, list[str]]]:
        """Where what was found."""
        assert len(self.messages) > 0
        everywhere = {
            "log": self.log.getvalue(),
            "messages": "\n".join(self.messages),
            "broker and cache": kept(),
            "rows": rows(),
            **self.pages(job),
        }
        # People see their own variables where they set them; nothing else does.
        shown_to_them = ("jobs:config", "jobs:new")
        found = {
            place: found_in(text, canaries if place in shown_to_them else {*canaries, VARIABLE})
            for place, text in everywhere.items()
        }
        return [(place, what) for place, what in found.items() if what]

    def pages(self, job: Job) -> dict[str, str]:
        code = {"code": job.code}
        urls = {name: reverse(name, kwargs=code) for name in ("jobs:detail", "jobs:events", "jobs:config", "jobs:log")}
        urls |= {name: reverse(name) for name in ("jobs:list", "home:dashboard", "home:status", "usage:overview")}
        urls["jobs:new"] = f"{reverse('jobs:new')}?from={job.code}"
        answers = {name: self.client.get(url, follow=True) for name, url in urls.items()}
        assert {answer.status_code for answer in answers.values()} <= {200, 404}
        return {name: f"{answer.headers} {b''.join(answer).decode()}" for name, answer in answers.items()}


def rows() -> str:
    """Every column of every row, what a session holds included; a job's variables apart, which people may read."""
    told = []
    for model in apps.get_models():
        for row in model._base_manager.values():
            row.pop("environment", None)
            told.append(f"{model.__name__} {row}")
    return "\n".join([*told, *(str(session.get_decoded()) for session in Session.objects.all())])


def kept() -> str:
    """Every key of the broker and of the cache."""
    with celery.app.connection_for_read() as connection:
        return "\n".join([*values_in(connection.default_channel.client), *values_in(cache._cache.get_client())])  # type: ignore[attr-defined]


def values_in(store: Any) -> Iterator[str]:
    for key in store.scan_iter():
        read: dict[bytes, Callable[[], object]] = {
            b"string": lambda key=key: store.get(key),
            b"set": lambda key=key: store.smembers(key),
            b"hash": lambda key=key: store.hgetall(key),
            b"list": lambda key=key: store.lrange(key, 0, -1),
            b"zset": lambda key=key: store.zrange(key, 0, -1),
        }
        kind = store.type(key)
        yield f"{key!r} {read[kind]() if kind in read else b''!r}"


@pytest.fixture
def house(
    db: None, funded: Project, member: User, client_of: Callable[..., Client], storage_ready: None
) -> Iterator[House]:
    said = io.StringIO()
    handler = logging.StreamHandler(said)
    handler.setFormatter(logging.getLogger().handlers[0].formatter)
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.DEBUG)
    root.addHandler(handler)
    with celery.app.connection_for_read() as connection:
        celery.app.control.purge(connection)
    try:
        yield House(said, client_of(member), funded)
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        close_all()
