"""A whole portal whose servers the tests stop, kill and spoil: 2 web processes, 2 workers, beat, PostgreSQL, Valkey, a
store, three pretend providers.

PostgreSQL, emulators and the portal's own processes are children of a `manage.py start`. Valkey (broker and cache, as
in every `manage.py start`) is started here, so that it stays away as long as a test wishes; the store is that of the
test run, reached through a wire. `FAULTS_SEED=N` repeats the choices of a run; the seed is printed with every failure.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import secrets
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import psycopg

from portal.launcher import environment
from portal.launcher.definitions import short_folder
from portal.launcher.processes import Child, words
from portal.launcher.state_folder import StateFolder
from portal.launcher.valkey import valkey
from portal.providers.base import Account
from portal.providers.conformance.wire import Wire
from tests import prepared
from tests.bench.form import Answer, Client
from tests.browser.conftest import Portal, free_port
from tests.faults import recoveries

PLACES: dict[str, dict[str, str]] = {
    "sakura_dok": {"offering": "dok-h100"},
    "slurm_rest": {"offering": "demo-gb200", "gpus": "4", "image": "", "cost_cap": "80"},
    "slurm_ssh": {"offering": "soroban-cluster", "image": "", "cost_cap": "40"},
}
RECOVERS_WITHIN_S = 60  # the promise, and what every test prints; a busy machine gets twice that before it fails
NEVER_LIMITED = {"LIMIT_SUBMITS": "1000000", "TRIAL_CREDIT_YEN": "10000000"}


@dataclass
class Submitted:
    """What forms brought: one job's code for each that was answered; how each answer came, and how long it took."""

    codes: list[str] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    unanswered: int = 0
    slowest_s: float = 0.0

    def add(self, other: Submitted) -> None:
        self.codes += other.codes
        self.answers += other.answers
        self.unanswered += other.unanswered
        self.slowest_s = max(self.slowest_s, other.slowest_s)


class Stack:
    def __init__(self, folder: Path) -> None:
        port = free_port()
        definition = valkey(folder / "broker", log=folder / "broker.log")
        argv = [*definition.program.argv, *words("--bind", "127.0.0.1", "--port", port)]
        self.broker = Child(replace(definition.program, argv=argv))
        self.folder = folder
        self.storage = Wire(Account("s3", os.environ["S3_ENDPOINT"], {}))
        self.seed = int(os.environ.get("FAULTS_SEED") or random.randrange(10**6))
        self.chance = random.Random(self.seed)
        self.environment = {
            **NEVER_LIMITED,
            "BROKER_URL": f"redis://127.0.0.1:{port}/0",
            "CACHE_URL": f"redis://127.0.0.1:{port}/1",
            "S3_ENDPOINT": self.storage.account.endpoint,
            "S3_ACCESS_KEY": os.environ["S3_ACCESS_KEY"],
            "S3_SECRET_KEY": os.environ["S3_SECRET_KEY"],
            "S3_REGION": os.environ["S3_REGION"],
            "S3_BUCKET": f"stack-{secrets.token_hex(4)}",
        }
        self.portal = Portal(folder / "portal", free_port(), self.environment)
        self.database = short_folder(self.portal.folder / "postgres")  # where its socket is
        self._clients: dict[str, Client] = {}

    def start(self) -> None:
        if not self.portal.folder.exists():
            self.portal.folder.mkdir()
            prepared.copy_to(self.portal.folder / "postgres")
        self.broker.start()
        self.broker.wait_until_ready()
        self.portal.start()
        self.sql("UPDATE catalog_provideraccount SET concurrent_limit = NULL")
        self._clients = {kind: Client(self.portal, command="true", **fields) for kind, fields in PLACES.items()}

    def stop(self) -> None:
        self.portal.stop()
        self.storage.refuse()
        self.broker.stop()

    # --- its parts ---------------------------------------------------------------------------------------------------

    def sql(self, statement: str, *values: object) -> list[Any]:
        with psycopg.connect(host=str(self.database), user="portal", dbname="portal", autocommit=True) as connection:
            cursor = connection.execute(statement, values)  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else []

    def kill_broker(self) -> None:
        """kill -9, and nothing of what was in it is there at its next start."""
        self.broker.end_group()
        shutil.rmtree(self.folder / "broker")

    def start_broker(self) -> None:
        self.broker.start()
        self.broker.wait_until_ready()

    @contextmanager
    def stopped(self, pid: int) -> Iterator[None]:
        """By SIGSTOP: its sockets take connections, and nobody answers."""
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def tell_emulator(self, kind: str, **fault: object) -> None:
        control = json.loads((self.portal.folder / "emulators" / kind / "access.json").read_text())["control"]
        headers = {"Authorization": f"Bearer {control['token']}"}
        httpx.post(control["url"], json=fault, headers=headers, trust_env=False).raise_for_status()

    def for_django(self) -> dict[str, str]:
        """What a process of the portal is started with."""
        state = StateFolder(self.portal.folder)
        own = environment.for_django(state, url=self.portal.url, given=self.environment)
        return {**os.environ, **self.environment, **own, "HANDOFF_LISTING_LAG_MIN_S": "3"}

    def let_time_pass(self) -> None:
        """As if leases, waits and pauses of a minute were over. Whoever still holds a lease has lost it to the next."""
        self.sql("UPDATE jobs_attempt SET lease_until = statement_timestamp() WHERE lease_until IS NOT NULL")
        self.sql("UPDATE jobs_attempt SET not_before = NULL WHERE not_before IS NOT NULL")
        self.sql("UPDATE catalog_provideraccount SET paused_until = NULL WHERE paused_until IS NOT NULL")

    # --- forms -------------------------------------------------------------------------------------------------------

    def client(self, kind: str) -> Client:
        """On a connection of its own: one that was idle for long is closed by the web server."""
        return self._clients[kind].another()

    def submit(
        self,
        count: int,
        *,
        kinds: Sequence[str] = tuple(PLACES),
        every_s: float = 0.0,
        within_s: float = 60,
        **changed: str,
    ) -> Submitted:
        """So many forms in turn to each of these providers, each sent again by its person until it is answered.
        `changed`: fields that say something else than usually."""
        done = Submitted()
        for number in range(count):
            # A connection for each form: those of the others would be idle while one form waits for a server to return.
            client = self.client(kinds[number % len(kinds)])
            done.add(self.send_until_answered(client, within_s=within_s, **changed))
            time.sleep(every_s)
        return done

    def send_until_answered(self, client: Client, *, within_s: float = 60, **changed: str) -> Submitted:
        key, done, deadline = secrets.token_hex(12), Submitted(), time.monotonic() + within_s
        while not done.codes:
            began = time.monotonic()
            try:
                answer = client.send(key, **changed)
            except (OSError, http.client.HTTPException):
                done.unanswered += 1
                assert time.monotonic() < deadline, f"no answer within {within_s} s"
            else:
                done.answers.append(answer)
                if answer.status == 302:
                    done.codes.append(answer.code)
                assert answer.status == 302 or time.monotonic() < deadline, answer
            done.slowest_s = max(done.slowest_s, time.monotonic() - began)
            if not done.codes:
                time.sleep(0.2)
        return done

    @contextmanager
    def submitting(self, count: int, *, every_s: float) -> Iterator[Submitted]:
        """Forms come in while the block goes on; all are answered when it has ended."""
        done, problems = Submitted(), list[BaseException]()

        def work() -> None:
            try:
                done.add(self.submit(count, every_s=every_s))
            except BaseException as problem:
                problems.append(problem)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield done
        finally:
            thread.join()
        assert problems == []

    # --- what became of them -----------------------------------------------------------------------------------------

    def handed_over(self, codes: Sequence[str]) -> int:
        counted = self.sql(
            "SELECT count(*) FROM jobs_attempt a JOIN jobs_job j ON j.id = job_id"
            " WHERE j.code = ANY(%s) AND remote_id <> ''",
            list(codes),
        )
        return int(counted[0][0])

    def assert_all_handed_over_once(self, codes: Sequence[str], what: str) -> None:
        """Each job is at its provider, once, soon after the trouble ended; and no invariant is broken."""
        took_s = self.wait_until(lambda: self.handed_over(codes) == len(codes), lambda: self.states(codes))
        recoveries.note("handed over", took_s)
        self.say(f"{what}: {len(codes)} of {len(codes)} handed over, the last {took_s:.1f} s after it")
        told = self.told(codes)
        assert (sorted(told["jobs"]), told["problems"]) == (sorted(codes), [])
        assert {which: count for which, count in told["remote"].items() if count != 1} == {}
        assert len(told["remote"]) == len(codes)

    def told(self, codes: Sequence[str]) -> dict[str, Any]:
        named = ", ".join(map(repr, codes))
        out = self.portal.manage(
            "shell", "-v", "0", "-c", f"from tests.faults.inspection import report; report({named})"
        )
        told: dict[str, Any] = json.loads(out)
        return told

    def states(self, codes: Sequence[str]) -> list[Any]:
        """Of those that have not been handed over, for whoever reads why not."""
        return self.sql(
            "SELECT j.code, a.state, a.tries, a.looks, a.last_error, j.waiting_reason FROM jobs_attempt a"
            " JOIN jobs_job j ON j.id = job_id WHERE j.code = ANY(%s) AND remote_id = ''",
            list(codes),
        )

    def wait_until(
        self, true: Callable[[], bool], or_say: Callable[[], object] = str, within_s: float = 2 * RECOVERS_WITHIN_S
    ) -> float:
        """Seconds that it took."""
        began = time.monotonic()
        while not true():
            assert time.monotonic() - began < within_s, or_say()
            time.sleep(0.1)
        return time.monotonic() - began

    def say(self, words: str) -> None:
        print(f"\n{words} (FAULTS_SEED={self.seed})", flush=True)
