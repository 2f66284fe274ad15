"""What goes wrong between a sender and the store: each ends by itself or with a sentence that says what to do, and
nothing that is not verified can be given to a job."""

from __future__ import annotations

import importlib.util
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.conf import settings as configured
from django.test import Client

from portal.accounts.models import Project, User
from portal.datasets import checks, storage
from portal.datasets.models import DataFile, FileState
from tests.datasets.sending import MIB, begin, complete, send, sha256
from tests.datasets.wire import StoreWire

pytestmark = [pytest.mark.usefixtures("storage_ready"), pytest.mark.django_db]
GAP = "Some parts have not arrived. They are sent again."


@pytest.fixture
def client(client_of: Callable[..., Client], member: User) -> Client:
    return client_of(member, "en")


@pytest.fixture
def wire(settings: Any) -> Iterator[StoreWire]:
    with StoreWire(settings.S3_PUBLIC_ENDPOINT) as made:
        settings.S3_PUBLIC_ENDPOINT = made.url
        yield made


def seen(client: Client, made: dict[str, Any]) -> tuple[list[str], int]:
    """What the page lists and counts, and what a job could be given."""
    page = client.get(f"/datasets/{made['dataset']}/")
    ready = DataFile.objects.filter(dataset__code=made["dataset"], state=FileState.READY)
    return [file.name for file in page.context["files"]], ready.count()


@pytest.mark.parametrize("sent", [b"", b"word", b"words!", b"words" * MIB])
def test_a_part_of_another_length_than_was_said_is_not_taken(client: Client, project: Project, sent: bytes) -> None:
    made = begin(client, project=project.code).json()
    at = made["addresses"]["1"]

    taken = httpx.put(at["url"], headers=at["headers"], content=sent).status_code
    answer = complete(client, made, b"words")

    assert (taken // 100, answer.status_code, answer.json()) == (4, 409, {"error": GAP, "missing": [1]})
    assert seen(client, made) == ([], 0)
    assert storage.size_of(DataFile.objects.get().storage_key) is None


def test_a_part_that_the_store_holds_in_another_size_is_sent_again(client: Client, project: Project) -> None:
    """Written past us, with keys of the store: ListParts shows it, and it does not count."""
    data = os.urandom(9 * MIB)
    made = begin(client, data, project=project.code).json()
    send(client, made, data, [1])
    file = DataFile.objects.get()
    storage.send_part(file.storage_key, file.upload_id, 2, b"another")

    answer, held = complete(client, made, data), client.get(made["urls"]["parts"]).json()
    send(client, made, data, [2])

    assert (answer.status_code, answer.json(), held) == (409, {"error": GAP, "missing": [2]}, {"held": [1]})
    assert (complete(client, made, data).status_code, checks.verify(file.pk)) == (200, "ready")


def test_a_size_that_is_a_lie_is_never_complete(client: Client, project: Project) -> None:
    more = begin(client, b"words", project=project.code, name="more", size=20 * MIB).json()
    send(client, {**more, "parts": 1, "part_size": 5}, b"words")
    less = begin(client, os.urandom(9 * MIB), project=project.code, name="less", size=5, dataset=more["dataset"]).json()

    answers = [complete(client, made, b"words") for made in (more, less)]

    assert [(answer.status_code, answer.json()["missing"]) for answer in answers] == [(409, [1, 2, 3]), (409, [1])]
    assert seen(client, more) == ([], 0)


def test_completed_early_and_twice(client: Client, project: Project) -> None:
    data = os.urandom(17 * MIB)
    made = begin(client, data, project=project.code).json()
    send(client, made, data, [1, 3])

    early = complete(client, made, data)
    listed = seen(client, made)
    send(client, made, data, [2])
    twice = [complete(client, made, data).json() for _ in range(2)]

    assert (early.status_code, early.json(), listed) == (409, {"error": GAP, "missing": [2]}, ([], 0))
    assert twice == [{"state": "verifying"}] * 2
    assert seen(client, made) == (["words.txt"], 0)
    assert (checks.verify(DataFile.objects.get().pk), seen(client, made)) == ("ready", (["words.txt"], 1))


def test_the_senders_clock_does_not_matter(client: Client, project: Project) -> None:
    made = begin(client, project=project.code, last_modified=2**53).json()
    at = made["addresses"]["1"]

    taken = httpx.put(
        at["url"], headers={**at["headers"], "Date": "Mon, 01 Jan 2001 00:00:00 GMT"}, content=b"words"
    ).status_code

    assert (taken, complete(client, made, b"words").status_code) == (200, 200)


def test_the_store_is_away_when_all_has_been_sent(client: Client, project: Project, settings: Any) -> None:
    made = begin(client, project=project.code).json()
    send(client, made, b"words")
    endpoint, settings.S3_ENDPOINT = settings.S3_ENDPOINT, "http://127.0.0.1:9"
    away = complete(client, made, b"words")
    settings.S3_ENDPOINT = endpoint

    assert (away.status_code, away.json(), seen(client, made)) == (
        503,
        {"error": "The storage cannot be reached. Nothing is lost; try again in a minute."},
        ([], 0),
    )
    assert complete(client, made, b"words").status_code == 200


# --- the terminal's script on a bad wire ---


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    spec = importlib.util.spec_from_file_location("portal_upload", configured.BASE_DIR / "static/portal-upload.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.TRIES = 3
    return module


@pytest.fixture
def upload(transactional_db: None, live_server: Any, client: Client, project: Project, script: Any) -> Any:
    """Sends files from a thread of this process; the portal is asked as a terminal does. The number that failed."""
    page = client.post("/datasets/token/", {"project": project.code}).context["command"]
    token = page.partition("PORTAL_TOKEN=")[2].split()[0]

    def verify(stop: threading.Event) -> None:
        from django.db import connection

        while not stop.wait(0.05):
            for pk in DataFile.objects.to_verify().values_list("pk", flat=True):
                checks.verify(pk)
        connection.close()

    def send_them(*paths: Path) -> int:
        stop = threading.Event()
        worker = threading.Thread(target=verify, args=(stop,))
        worker.start()
        try:
            return int(script.run(script.Portal(live_server.url, token), [str(path) for path in paths]))
        finally:
            stop.set()
            worker.join()

    return send_them


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.bin"
    path.write_bytes(os.urandom(9 * MIB))
    return path


def test_a_store_that_says_503_for_a_moment_is_waited_for(
    upload: Any, wire: StoreWire, data: Path, capsys: Any
) -> None:
    wire.answer_puts(503, "SlowDown")
    threading.Timer(0.3, wire.mend).start()

    assert (upload(data), dict(wire.parts)) == (0, {1: 1, 2: 1})
    assert capsys.readouterr().out.splitlines()[0] == f"verified  {sha256(data.read_bytes())}  data.bin"


def test_bytes_that_change_on_the_way_are_refused_and_sent_again(upload: Any, wire: StoreWire, data: Path) -> None:
    wire.flip_a_bit()

    assert (upload(data), dict(wire.parts)) == (0, {1: 1, 2: 1})
    assert DataFile.objects.get().sha256 == sha256(data.read_bytes())


@pytest.mark.parametrize(
    ("status", "code", "sentence"),
    [
        (507, "XMinioStorageFull", "the storage is full. Tell the support desk; what has arrived is kept."),
        (403, "QuotaExceeded", "the storage is full. Tell the support desk; what has arrived is kept."),
        (
            503,
            "SlowDown",
            "no connection (503). Check the network and run this again: what has arrived is not sent twice.",
        ),
    ],
)
def test_a_store_that_stays_bad_is_said_and_the_next_run_goes_on(
    upload: Any, wire: StoreWire, data: Path, capsys: Any, status: int, code: str, sentence: str
) -> None:
    wire.answer_puts(status, code)
    failed = upload(data)
    said = capsys.readouterr().out.splitlines()
    states = list(DataFile.objects.values_list("state", flat=True))
    wire.mend()

    assert (failed, said, states) == (1, [f"failed  data.bin: {sentence}", "0 verified, 1 not there."], ["uploading"])
    assert (upload(data), list(DataFile.objects.values_list("state", flat=True))) == (0, ["ready"])


def test_a_full_store_is_asked_once_a_part(upload: Any, wire: StoreWire, data: Path, capsys: Any) -> None:
    wire.answer_puts(507, "XMinioStorageFull")

    assert upload(data) == 1
    assert wire.received <= data.stat().st_size


def test_a_file_that_changes_while_it_is_sent_is_not_completed(upload: Any, wire: StoreWire, data: Path) -> None:
    wire.answer_puts(503, "SlowDown")

    def change() -> None:
        while not DataFile.objects.exists():
            time.sleep(0.02)
        data.write_bytes(os.urandom(9 * MIB))
        wire.mend()

    changer = threading.Thread(target=change)
    changer.start()
    failed = upload(data)
    changer.join()

    assert (failed, list(DataFile.objects.exclude(state="uploading"))) == (1, [])
