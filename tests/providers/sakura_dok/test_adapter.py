"""What the conformance kit cannot see: logins that come and go, terms that nobody agreed to, answers that go wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from portal.providers.base import Account, JobSpec, RegistryLogin, RemoteJob, RemoteState
from portal.providers.errors import Misconfigured, NotFound, OutcomeUnknown, ProviderError, Rejected, Unavailable
from portal.providers.sakura_dok import SakuraDok
from tests.providers.answering import Answering, Reply, answering
from tests.providers.emulated import Emulator, bench_of, emulator
from tests.providers.file_server import FileServer

LOGIN = RegistryLogin("registry.example.jp", "$oauthtoken", "canary-password")
SPEC = JobSpec("jga-t-1", "true", "h100-80gb", 1, 600, image="registry.example.jp/team/train:1", registry=LOGIN)
MADE = {"id": "t1", "name": "jga-t-1", "status": "waiting", "tags": ["jga-t-1", "jga"]}


@pytest.fixture(scope="module")
def running() -> Iterator[Emulator]:
    private = f"{LOGIN.hostname},{LOGIN.username},{LOGIN.password}"
    with emulator("sakura_dok", "--running", "4", "--private-registry", private) as one:
        yield one


def adapter_at(server: Answering, **options: str) -> SakuraDok:
    return SakuraDok(Account("sakura_dok", server.url, {"token": "canary-token", "secret": "canary-secret"}, options))


def asked(server: Answering) -> list[tuple[str, str]]:
    return [(one.method, one.path) for one in server.asked]


# --- private images --------------------------------------------------------------------------------------------------


def test_a_private_image_runs_with_its_login_which_goes_with_the_job(running: Emulator, store: FileServer) -> None:
    bench, adapter = bench_of(running, store), SakuraDok(running.account)
    job = bench.submit("echo inside", image=SPEC.image, registry=LOGIN)
    (kept,) = running.kept_logins()
    ended = bench.wait(job)
    adapter.forget_login(job.remote_id)
    assert ended.state is RemoteState.SUCCEEDED
    assert {name: kept[name] for name in ("hostname", "username")} == {
        "hostname": LOGIN.hostname,
        "username": "$oauthtoken",
    }
    assert ("password" in kept, running.kept_logins()) == (False, [])
    bench.close()


@pytest.mark.parametrize("login", [None, replace(LOGIN, password="wrong")], ids=["no login", "a wrong one"])
def test_a_private_image_without_a_valid_login_never_starts(
    running: Emulator, store: FileServer, login: RegistryLogin | None
) -> None:
    bench = bench_of(running, store)
    ended = bench.wait(bench.submit("true", image=SPEC.image, registry=login))
    SakuraDok(running.account).forget_login(ended.remote_id)
    assert (ended.state, ended.reason, ended.started_at, ended.gpu_seconds) == (
        RemoteState.FAILED, "invalid registry permission", None, None,
    )  # fmt: skip
    bench.close()


def test_two_jobs_never_share_an_entry_whosoever_the_same_user_name_is(running: Emulator, store: FileServer) -> None:
    """nvcr.io knows every customer as $oauthtoken: with one entry for all, the last password would be everybody's."""
    bench, adapter = bench_of(running, store), SakuraDok(running.account)
    ours = bench.submit("true", image=SPEC.image, registry=LOGIN)
    theirs = bench.submit("true", image=SPEC.image, registry=replace(LOGIN, password="guessed"))
    assert [bench.wait(job).state for job in (ours, theirs)] == [RemoteState.SUCCEEDED, RemoteState.FAILED]
    for job in (ours, theirs):
        adapter.forget_login(job.remote_id)
    assert running.kept_logins() == []
    bench.close()


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Reply(422, b"plan: unknown"), Rejected),
        (Reply(401), Misconfigured),
        (Reply(429), Unavailable),
    ],
)
def test_a_task_that_was_not_made_leaves_no_login(reply: Reply, expected: type[ProviderError]) -> None:
    with answering(Reply(201, {"id": "r1"}), reply, Reply(204)) as server, pytest.raises(expected):
        adapter_at(server).submit(SPEC)
    assert asked(server) == [("POST", "/registries/"), ("POST", "/tasks/"), ("DELETE", "/registries/r1/")]


def test_a_task_that_may_exist_keeps_its_login() -> None:
    with answering(Reply(201, {"id": "r1"}), Reply(500)) as server, pytest.raises(OutcomeUnknown):
        adapter_at(server).submit(SPEC)
    assert asked(server) == [("POST", "/registries/"), ("POST", "/tasks/")]


def test_the_task_names_its_login_and_holds_no_password() -> None:
    with answering(Reply(201, {"id": "r1"}), Reply(201, {**MADE, "execution_time_limit_sec": 600})) as server:
        job = adapter_at(server).submit(SPEC)
    login, task = (json.loads(one.body) for one in server.asked)
    assert (job.remote_id, task["containers"][0]["registry"], "canary" in str(task)) == ("t1", "r1", False)
    assert login == {"hostname": LOGIN.hostname, "username": LOGIN.username, "password": LOGIN.password}


@pytest.mark.parametrize(
    ("reply", "expected", "summary"),
    [
        (
            Reply(422, b"no canary-password"),
            Rejected,
            "DOK does not take the login for registry.example.jp: DOK refuses: no […]",
        ),
        (Reply(404), Misconfigured, "DOK keeps no logins for registries"),
        (Reply(500), Unavailable, "DOK answered 500"),
        (Reply(201, {"id": 7}), Unavailable, "the answer holds no login"),
        (Reply(201, b"x", cut=True), Unavailable, "the connection broke off"),
    ],
)
def test_without_its_login_no_task_is_made(reply: Reply, expected: type[ProviderError], summary: str) -> None:
    with answering(reply) as server, pytest.raises(expected) as told:
        adapter_at(server).submit(SPEC)
    assert (str(told.value), getattr(told.value, "failure", "image")) == (summary, "image")
    assert asked(server) == [("POST", "/registries/")]


def test_what_dok_would_refuse_makes_no_login() -> None:
    with answering() as server, pytest.raises(Rejected):
        adapter_at(server).submit(replace(SPEC, environment={"SAKURA_TASK_ID": "1"}))
    assert server.asked == []


@pytest.mark.parametrize("task", [{**MADE, "containers": [{"registry": None}]}, MADE])
def test_a_task_without_a_login_has_none_to_forget(task: dict[str, Any]) -> None:
    with answering(Reply(200, task)) as server:
        adapter_at(server).forget_login("t1")
    assert asked(server) == [("GET", "/tasks/t1/")]


def test_a_login_that_cannot_be_deleted_now_is_asked_for_again() -> None:
    task = Reply(200, {**MADE, "containers": [{"registry": "r/1"}]})
    with answering(task, Reply(422, b"in use")) as server, pytest.raises(Unavailable):
        adapter_at(server).forget_login("t1")
    assert asked(server)[-1] == ("DELETE", "/registries/r%2F1/")


# --- deleting, bills, the door to the web ----------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["waiting", "running", "a new word"])
def test_what_has_not_ended_is_not_even_asked_to_be_deleted(status: str) -> None:
    with answering(Reply(200, {**MADE, "status": status})) as server, pytest.raises(Rejected):
        adapter_at(server).delete("t1")
    assert asked(server) == [("GET", "/tasks/t1/")]


def test_a_key_that_may_not_delete_needs_an_operator() -> None:
    with answering(Reply(200, {**MADE, "status": "done"}), Reply(403)) as server, pytest.raises(Misconfigured):
        adapter_at(server).delete("t1")


def test_the_kit_leaves_nothing_in_the_account(running: Emulator, store: FileServer) -> None:
    bench = bench_of(running, store)
    bench.wait(bench.submit("true"))
    bench.submit("sleep 60")
    bench.close()
    left = SakuraDok(running.account).list_jobs(bench.prefix, since=datetime.now(UTC) - timedelta(hours=1))
    assert list(left) == []


def test_the_bill_is_asked_for_by_day_or_month() -> None:
    with answering(Reply(200, []), Reply(200, [])) as server:
        adapter = adapter_at(server)
        assert [adapter.charges(year=2026, month=11, day=25), adapter.charges(year=2026, month=11)] == [[], []]
    assert [path for _method, path in asked(server)] == [
        "/billing_infos/?year=2026&month=11&day=25",
        "/billing_infos/?year=2026&month=11",
    ]


@pytest.mark.parametrize("reply", [Reply(400), Reply(404), Reply(200, {}), Reply(200, [{"details": [{}]}])])
def test_a_bill_that_cannot_be_read_is_not_an_empty_one(reply: Reply) -> None:
    with answering(reply) as server, pytest.raises(Unavailable):
        adapter_at(server).charges(year=2026, month=11)


def test_an_address_of_a_task_that_nobody_knows_is_not_found() -> None:
    with answering(Reply(404)) as server, pytest.raises(NotFound):
        adapter_at(server).web_address(RemoteJob("t1", "jga-t-1", RemoteState.RUNNING))


# --- terms -----------------------------------------------------------------------------------------------------------

NOT_AGREED = {"account": {"account_name": "研究所", "account_code": "lab", "tos_agreed_at": None}}


def test_terms_are_agreed_to_once_the_operator_names_their_version() -> None:
    with answering(Reply(200, NOT_AGREED), Reply(204)) as server:
        assert adapter_at(server, terms_version="1.0").check() == "研究所 (lab)"
    assert asked(server) == [("GET", "/auth/"), ("POST", "/auth/agree/?version=1.0")]


def test_nobody_agrees_by_accident() -> None:
    with answering(Reply(200, NOT_AGREED)) as server, pytest.raises(Misconfigured, match="option terms_version"):
        adapter_at(server).check()
    assert asked(server) == [("GET", "/auth/")]


def test_a_version_that_dok_does_not_have_is_named_as_the_fault() -> None:
    with (
        answering(Reply(200, NOT_AGREED), Reply(422, b"version: unknown")) as server,
        pytest.raises(Misconfigured, match=r"option terms_version: .*version: unknown"),
    ):
        adapter_at(server, terms_version="0").check()
