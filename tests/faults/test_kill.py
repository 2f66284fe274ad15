"""kill -9 of a worker, of the broker and of the supervisor while jobs run: everything ends as it should, once."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from portal.launcher.processes import started_at
from tests.browser.conftest import Portal, free_port

pytestmark = [pytest.mark.faults, pytest.mark.timeout(400)]

OFFERINGS = {"dok-h100": 1, "demo-gb200": 4, "soroban-cluster": 1}  # and the fewest GPUs each gives
SHORT = 'echo short > "$PORTAL_OUTPUT_DIR/short.txt"'
LONG = 'for i in 1 2 3 4 5 6; do echo "step $i"; sleep 1; done; echo long > "$PORTAL_OUTPUT_DIR/long.txt"'
HANGING = "echo begun; sleep 90"
FIELD = re.compile(r'name="(csrfmiddlewaretoken|key|project)" value="([^"]+)"')


@pytest.fixture(scope="module")
def portal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    running = Portal(tmp_path_factory.mktemp("killed-portal"), free_port())
    running.start()
    yield running
    running.stop()


@pytest.fixture
def client(portal: Portal) -> Iterator[httpx.Client]:
    login = portal.logins()["owner"]
    with httpx.Client(base_url=portal.url, timeout=30, trust_env=False) as client:
        token = dict(FIELD.findall(client.get("/account/login/").text))
        answer = client.post("/account/login/", data={**token, "login": login["email"], "password": login["password"]})
        assert answer.status_code == 302, answer.text
        yield client


def submit(client: httpx.Client, offering: str, script: str) -> str:
    fields = dict(FIELD.findall(client.get("/jobs/new/?template=empty").text))
    answer = client.post(
        "/jobs/new/",
        data={
            **fields, "name": script[:12], "script": script, "script_name": "main.sh",
            "offering": offering, "gpus": str(OFFERINGS[offering]), "time_amount": "2", "time_unit": "minutes",
            "cost_cap": "400", "image": "python:3.11-slim" if offering == "dok-h100" else "",
        },
    )  # fmt: skip
    problems = re.findall(r'<li>(?:<a href="#[^"]*">)?([^<]+)</', answer.text.partition('id="error-summary"')[2][:3000])
    assert (answer.status_code, problems) == (302, [])
    return answer.headers["Location"].rstrip("/").rsplit("/", 1)[-1]


def submit_everywhere(client: httpx.Client) -> dict[str, str]:
    """What each new job is to leave behind, by its code."""
    jobs = {}
    for offering in OFFERINGS:
        jobs[submit(client, offering, LONG)] = "long.txt"
        jobs[submit(client, offering, SHORT)] = "short.txt"
    return jobs


def assert_all_ended_once(portal: Portal, jobs: dict[str, str], interrupted: frozenset[str] = frozenset()) -> None:
    """One attempt, one job at the provider, results of those that ran to their end, and the money settled."""
    told = _told_when(portal, lambda told: told["settled"] and told["held"] == 0)
    assert {code: told["jobs"][code] for code in jobs} == {
        code: ["failed", "interrupted", 1, [], True] if code in interrupted else ["succeeded", "", 1, [path], True]
        for code, path in jobs.items()
    }
    assert set(told["remote"].values()) == {1}
    assert (told["settled"], told["held"]) == (True, 0)
    assert json.loads(portal.manage("verify_ledger"))["problems"] == []


def test_workers_killed(portal: Portal, client: httpx.Client) -> None:
    jobs = submit_everywhere(client)
    portal.kill_child("worker1")
    portal.kill_child("worker2")
    time.sleep(6)  # both are back and in the middle of it
    portal.kill_child("worker1")
    assert_all_ended_once(portal, jobs)


def test_broker_killed(portal: Portal, client: httpx.Client) -> None:
    jobs = submit_everywhere(client)
    portal.kill_child("valkey")
    jobs[submit_while_broker_is_away(client)] = "short.txt"
    assert_all_ended_once(portal, jobs)


def submit_while_broker_is_away(client: httpx.Client) -> str:
    """Accepting a job needs no broker; sessions and rates do without the cache or answer so that one tries again."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return submit(client, "demo-gb200", SHORT)
        except AssertionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def test_supervisor_killed(portal: Portal, client: httpx.Client) -> None:
    """The pretend providers die with it, and the machines that run their jobs with them."""
    interrupted = {submit(client, offering, HANGING): "" for offering in OFFERINGS}
    ended = {submit(client, offering, SHORT): "short.txt" for offering in ("demo-gb200", "soroban-cluster")}
    _told_when(portal, lambda told: all(told["jobs"][code][0] == "running" for code in interrupted), seconds=30)
    assert_all_final(portal, ended)
    children = portal.children()
    portal.kill()
    portal.start()
    assert [row["name"] for row in children if started_at(row["pid"]) == row["started"]] == []
    assert_all_ended_once(portal, interrupted | ended, frozenset(interrupted))


def assert_all_final(portal: Portal, jobs: dict[str, str]) -> None:
    told = _told_when(portal, lambda told: all(told["jobs"][code][0] == "succeeded" for code in jobs), seconds=60)
    assert {told["jobs"][code][0] for code in jobs} == {"succeeded"}


def _told_when(portal: Portal, is_over: Callable[[dict[str, Any]], bool], *, seconds: float = 150) -> dict[str, Any]:
    """The last report, whether it came to that or not."""
    deadline = time.monotonic() + seconds
    while True:
        out = portal.manage("shell", "-c", "from tests.faults.inspection import report; report()")
        told: dict[str, Any] = json.loads(out.splitlines()[-1])
        if is_over(told) or time.monotonic() > deadline:
            return told
        time.sleep(2)
