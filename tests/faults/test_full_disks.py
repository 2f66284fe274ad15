"""Full disks: the database's, the store's, and that of all logs, under a portal of its own. Refused in plain words,
nothing half-written, and all goes on when there is room again."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from portal.accounts.models import Project, User
from portal.datasets import checks, storage
from portal.datasets.models import DataFile
from portal.launcher.definitions import Definition, short_folder
from portal.launcher.postgres import postgres
from portal.launcher.processes import Child
from portal.launcher.s3 import renew_taken_ports, s3
from tests.bench.form import Answer
from tests.datasets.sending import MIB, begin, complete, send
from tests.faults.small_disk import can_be_made, full, on_small_disk
from tests.faults.stack import Stack
from tests.faults.test_database import is_our_page

pytestmark = [
    pytest.mark.faults,
    pytest.mark.timeout(0),
    pytest.mark.skipif(not can_be_made(), reason="this machine gives no namespaces to make a small disk in"),
]

DISK_BYTES = 256 * 1024 * 1024
LITTLE_LOG = ["-c", "min_wal_size=32MB", "-c", "max_wal_size=48MB"]
SMALL_VOLUMES = {"-master.volumeSizeLimitMB=1024": "-master.volumeSizeLimitMB=4"}
LOGS = ("web", "worker1", "worker2", "beat")


@dataclass
class Server:
    disk: Path
    child: Child
    definition: Definition


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("database")
    made = postgres(folder, log=folder / "postgres.log")
    yield from _running(made, [*made.program.argv, *LITTLE_LOG], folder / "data")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("store") / "s3"
    renew_taken_ports(folder)
    made = s3(folder, log=folder.with_name("s3.log"))
    yield from _running(made, [SMALL_VOLUMES.get(word, word) for word in made.program.argv], folder)


def _running(made: Definition, argv: list[str], disk: Path) -> Iterator[Server]:
    child = on_small_disk(replace(made.program, argv=argv), disk, size_bytes=DISK_BYTES)
    child.start()
    try:
        child.wait_until_ready(timeout_s=120)
        yield Server(disk, child, made)
    finally:
        child.stop()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, database: Server, store: Server) -> Iterator[Stack]:
    """There is no room for a byte of what its processes write to their logs."""
    running = Stack(tmp_path_factory.mktemp("stack-full"))
    running.environment |= {**database.definition.environment, **store.definition.environment}
    running.database = short_folder(database.disk.parent)
    logs = running.portal.folder / "logs"
    logs.mkdir(parents=True)
    for name in LOGS:
        (logs / f"{name}.log").symlink_to("/dev/full")
    try:
        running.start()
        # The store's first files: where there is no room it looks for some for long before it says so.
        running.assert_all_handed_over_once(running.submit(3).codes, "room on all disks but that of the logs")
        yield running
    finally:
        running.stop()


def test_full_disk_of_the_database_refuses_forms_until_there_is_room(stack: Stack, database: Server) -> None:
    client, forms, before = stack.client("sakura_dok"), dict[str, Answer](), jobs_in(stack)
    with full(database.child, database.disk):
        while [answer.status for answer in forms.values()].count(503) < 3:
            assert len(forms) < 200, "the disk was not full"
            key = secrets.token_hex(12)
            forms[key] = client.send(key)
            assert forms[key].status in (302, 503), forms[key]
        page = client.get("/jobs/")
    taken = [answer.code for answer in forms.values() if answer.status == 302]
    refused = {key: answer for key, answer in forms.items() if answer.status == 503}
    stack.say(f"full disk of the database: {len(taken)} forms still found room, {len(refused)} were answered 503")
    assert [is_our_page(answer.text) for answer in refused.values()] == [True] * 3
    assert page.status == 200
    assert jobs_in(stack) - before == len(taken)
    # The person sends the same form again.
    again = [client.send(key) for key in refused]
    assert [answer.status for answer in again] == [302] * 3
    stack.let_time_pass()
    stack.assert_all_handed_over_once([*taken, *(answer.code for answer in again)], "room for the database again")


def jobs_in(stack: Stack) -> int:
    return int(stack.sql("SELECT count(*) FROM jobs_job")[0][0])


@pytest.mark.django_db
def test_full_store_takes_no_half_file(
    client_of: Any, member: User, project: Project, store: Server, settings: Any
) -> None:
    for name in ("S3_ENDPOINT", "S3_PUBLIC_ENDPOINT", "S3_ACCESS_KEY", "S3_SECRET_KEY"):
        setattr(settings, name, store.definition.environment[name])
    storage.ensure_bucket()
    storage.put_bytes("t/test/first", b"its first file, as above")
    data = os.urandom(9 * MIB)  # a few bytes may still find room between others
    client: Client = client_of(member, "en")
    made = begin(client, data, project=project.code).json()
    with full(store.child, store.disk):
        refused, early = send(client, made, data), complete(client, made, data)
    assert (refused, early.status_code, early.json()["missing"]) == ([500, 500], 409, [1, 2])
    file = DataFile.objects.get(code=made["file"])
    assert (file.state, storage.size_of(file.storage_key)) == ("uploading", None)
    # The store is a while in finding that there is room again; the page tries each part again, too.
    until = time.monotonic() + 60
    while send(client, made, data) != [200, 200]:
        assert time.monotonic() < until
        time.sleep(0.5)
    assert complete(client, made, data).status_code == 200
    assert (checks.verify(file.pk), storage.read(file.storage_key)) == ("ready", data)
