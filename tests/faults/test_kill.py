"""kill -9 of a worker, of the broker and of the supervisor while jobs run: everything ends as it should, once."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Iterator
from typing import Any

import httpx
import psycopg
import pytest

from portal.launcher.definitions import short_folder
from portal.launcher.processes import started_at
from tests import prepared
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
    prepared.copy_to(running.folder / "postgres")
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
    _wait_until(portal, "SELECT NOT EXISTS (SELECT 1 FROM jobs_attempt WHERE collected_at IS NULL) AND NOT EXISTS"
                " (SELECT 1 FROM billing_billingaccount WHERE held <> 0)")  # fmt: skip
    out = portal.manage("shell", "-c", "from tests.faults.inspection import report; report()")
    told: dict[str, Any] = json.loads(out.splitlines()[-1])
    assert {code: told["jobs"][code] for code in jobs} == {
        code: ["failed", "interrupted", 1, [], True] if code in interrupted else ["succeeded", "", 1, [path], True]
        for code, path in jobs.items()
    }
    assert set(told["remote"].values()) == {1}
    assert (told["settled"], told["held"], told["problems"]) == (True, 0, [])


def assert_all_come_to(portal: Portal, state: str, jobs: Iterable[str]) -> None:
    codes = sorted(jobs)
    left = "SELECT code, state FROM jobs_job WHERE code = ANY(%s) AND state <> %s"
    _wait_until(portal, f"SELECT NOT EXISTS ({left})", codes, state)
    assert _sql(portal, left, codes, state) == []


def _wait_until(portal: Portal, statement: str, *values: object) -> None:
    """Until it answers true, or for long enough: what then is, the caller tells."""
    deadline = time.monotonic() + 150
    while not _sql(portal, statement, *values)[0][0] and time.monotonic() < deadline:
        time.sleep(0.5)


def _sql(portal: Portal, statement: str, *values: object) -> list[Any]:
    with psycopg.connect(host=str(short_folder(portal.folder / "postgres")), user="portal", dbname="portal") as base:
        return base.execute(statement, values).fetchall()  # type: ignore[arg-type]


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
    assert_all_come_to(portal, "running", interrupted)
    assert_all_come_to(portal, "succeeded", ended)
    children = portal.children()
    portal.kill()
    portal.start()
    assert [row["name"] for row in children if started_at(row["pid"]) == row["started"]] == []
    assert_all_ended_once(portal, interrupted | ended, frozenset(interrupted))
