"""An upload that breaks off anywhere goes on where it broke, and nobody sees half a file."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.test import Client
from django.utils import timezone

from portal.accounts.models import Project, User
from portal.datasets import checks, storage, tasks
from portal.datasets.models import DataFile
from portal.jobs.attaching import choices_for
from tests.datasets.sending import MIB, begin, complete, piece, send, sha256

pytestmark = [pytest.mark.faults, pytest.mark.usefixtures("storage_ready"), pytest.mark.django_db]

DATA = os.urandom(20 * MIB)  # three parts
CUT_AT = {"1 %": 1, "50 %": 50, "99 %": 99, "the last part, before completion": 100}


@pytest.fixture
def client(client_of: Callable[..., Client], member: User) -> Client:
    return client_of(member, "en")


def cut_off(client: Client, project: Project, percent: int) -> tuple[dict[str, Any], list[int]]:
    """What the portal answered, and the numbers of the parts that arrived whole."""
    made = begin(client, DATA, project=project.code).json()
    size_bytes = len(DATA) * percent // 100
    whole = size_bytes // made["part_size"] if percent < 100 else made["parts"]
    arrived = list(range(1, whole + 1))
    if arrived:
        assert send(client, made, DATA, arrived) == [200] * whole
    if percent < 100:
        send_and_reset(client, made, whole + 1, size_bytes - whole * made["part_size"])
    return made, arrived


def send_and_reset(client: Client, made: dict[str, Any], number: int, size_bytes: int) -> None:
    """So many bytes of the part; then the connection is reset."""
    data = piece(DATA, made, number)
    asked = client.post(made["urls"]["parts"], {"parts": f'{{"{number}": "{sha256(data)}"}}'}).json()
    at = asked["parts"][str(number)]
    where = urlsplit(at["url"])
    headers = {"Host": where.netloc, "Content-Length": str(len(data)), **at["headers"]}
    head = f"PUT {where.path}?{where.query} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers.items())
    with socket.create_connection((where.hostname or "", where.port or 80)) as connection:
        connection.sendall(f"{head}\r\n".encode() + data[:size_bytes])
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def stored_of(made: dict[str, Any]) -> tuple[str, int | None, list[DataFile]]:
    """State, size in the store, and what jobs can choose of it."""
    file = DataFile.objects.get(code=made["file"])
    return file.state, storage.size_of(file.storage_key), list(choices_for(file.dataset.project, []).files)


@pytest.mark.parametrize("percent", CUT_AT.values(), ids=CUT_AT)
def test_upload_cut_off_goes_on_with_what_is_missing(client: Client, project: Project, percent: int) -> None:
    made, arrived = cut_off(client, project, percent)
    assert stored_of(made) == ("uploading", None, [])
    # The person chooses the same file again.
    again = begin(client, DATA, project=project.code).json()
    held = client.get(again["urls"]["parts"]).json()["held"]
    assert (again["file"], held) == (made["file"], arrived)
    if missing := [number for number in range(1, made["parts"] + 1) if number not in held]:
        early = complete(client, again, DATA)
        assert (early.status_code, early.json()["missing"]) == (409, missing)
        assert send(client, again, DATA, missing) == [200] * len(missing)
    assert complete(client, again, DATA).status_code == 200
    file = DataFile.objects.get(code=made["file"])
    assert checks.verify(file.pk) == "ready"
    assert stored_of(made) == ("ready", len(DATA), [file])
    assert storage.read(file.storage_key) == DATA
    assert uploads_of(file) == []


@pytest.mark.parametrize("percent", CUT_AT.values(), ids=CUT_AT)
def test_upload_cut_off_for_good_leaves_no_parts(client: Client, project: Project, percent: int) -> None:
    made, _arrived = cut_off(client, project, percent)
    file = DataFile.objects.get(code=made["file"])
    assert uploads_of(file) == [file.upload_id]
    DataFile.objects.update(active_at=timezone.now() - timedelta(hours=24, seconds=1))
    tasks.abort_abandoned_uploads()
    assert stored_of(made) == ("abandoned", None, [])
    assert uploads_of(file) == []


def uploads_of(file: DataFile) -> list[str]:
    return [upload.upload_id for upload in storage.open_uploads() if upload.key == file.storage_key]
