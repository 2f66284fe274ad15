"""Uploads that break off at protocol level, against the real store through a wire that is cut: they go on with what is
missing, or are cleaned up, and none is ready that should not be.

    .venv/bin/python -m pytest tests/datasets/test_interruptions.py -m faults_full -s     # 5 sizes x 4 cuts x 10 rounds
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from django.test import Client
from django.utils import timezone

from portal.accounts.models import Project, User
from portal.datasets import checks, cleaning, storage
from portal.datasets.models import DataFile, FileState, Leftover
from tests.datasets.sending import MIB, begin, complete, send, sha256
from tests.datasets.wire import StoreWire

pytestmark = [pytest.mark.usefixtures("storage_ready"), pytest.mark.django_db]

SIZES = (1, MIB, 8 * MIB, 8 * MIB + 1, 17 * MIB)
CUTS = (1, 50, 99, 100)  # percent of the bytes; 100: every part has arrived, and nobody said so


@pytest.fixture
def wire(settings: Any) -> Iterator[StoreWire]:
    with StoreWire(settings.S3_PUBLIC_ENDPOINT) as made:
        settings.S3_PUBLIC_ENDPOINT = made.url
        yield made


@pytest.fixture
def client(client_of: Callable[..., Client], member: User) -> Client:
    return client_of(member, "en")


@pytest.mark.parametrize("rounds", [1, pytest.param(10, marks=[pytest.mark.faults_full, pytest.mark.timeout(3000)])])
def test_every_cut_is_taken_up_or_cleaned_up(client: Client, project: Project, wire: StoreWire, rounds: int) -> None:
    ends: Counter[str] = Counter()
    for round_number in range(rounds):
        for which, (size, percent) in enumerate((size, percent) for size in SIZES for percent in CUTS):
            data, name = os.urandom(size), f"{round_number}-{size}-{percent}"
            made = begin(client, data, project=project.code, name=name, dataset_name="cut").json()
            wire.parts.clear()
            _break_off(client, wire, made, data, percent)
            early = complete(client, made, data).status_code if percent < 100 else 409
            assert (early, DataFile.objects.get(code=made["file"]).state) == (409, FileState.UPLOADING)
            resumes = (which + which // len(CUTS) + round_number) % 2 == 0
            ends[_resume(client, wire, made, data, name) if resumes else _fall_silent(made)] += 1

    print(f"{sum(ends.values())} of {rounds * len(SIZES) * len(CUTS)}: {dict(ends)}")
    assert ends == {"ready": rounds * 10, "cleaned up": rounds * 10}


def _break_off(client: Client, wire: StoreWire, made: dict[str, Any], data: bytes, percent: int) -> None:
    if percent == 100:
        send(client, made, data)
        return
    wire.cut_at(wire.received + max(1, len(data) * percent // 100))
    with pytest.raises(httpx.TransportError):
        send(client, made, data)
    wire.mend()


def _resume(client: Client, wire: StoreWire, made: dict[str, Any], data: bytes, name: str) -> str:
    again = begin(client, data, dataset=made["dataset"], name=name)
    assert again.json()["file"] == made["file"]
    held = again.json()["held"]
    if missing := [number for number in range(1, made["parts"] + 1) if number not in held]:
        send(client, made, data, missing)
    file = DataFile.objects.get(code=made["file"])
    assert complete(client, made, data).status_code == 200
    verdict = checks.verify(file.pk)
    file.refresh_from_db()
    assert (verdict, file.sha256, file.size_bytes) == ("ready", sha256(data), len(data))
    assert wire.parts == dict.fromkeys(range(1, made["parts"] + 1), 1)  # what had arrived was not sent again
    return "ready"


def _fall_silent(made: dict[str, Any]) -> str:
    file = DataFile.objects.get(code=made["file"])
    DataFile.objects.filter(pk=file.pk).update(active_at=timezone.now() - cleaning.SILENCE - timedelta(seconds=1))
    cleaning.give_up_silent_uploads(timezone.now())
    cleaning.remove_leftovers(timezone.now())
    file.refresh_from_db()
    assert [upload for upload in storage.open_uploads() if upload.key == file.storage_key] == []
    assert (file.state, storage.size_of(file.storage_key), Leftover.objects.count()) == (FileState.ABANDONED, None, 0)
    return "cleaned up"
