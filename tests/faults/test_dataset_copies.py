"""A dataset is copied to another store while the worker is killed again and again: complete, verified, nothing twice.

`FAULTS_SEED=N` repeats the choices of a run. `-m faults_full -s` copies 10,000 files and one of 5 GiB; prints figures.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from django.db.models import Sum
from django.utils import timezone

from portal.datasets import copies, sites, storage
from portal.datasets.models import Copy, DataFile, Dataset, PlaceEvent, StorageSite
from portal.datasets.storage import MIB, Store
from portal.launcher.services import start_s3_copies
from tests.factories import DatasetFactory
from tests.faults.rig import ROOT, database_url

pytestmark = [
    pytest.mark.faults,
    pytest.mark.django_db(transaction=True),
    pytest.mark.timeout(0),
    pytest.mark.usefixtures("storage_ready"),
]


@pytest.fixture
def other(tmp_path: Path, settings: Any) -> Iterator[StorageSite]:
    """A store that is another process with another folder, as in the demo."""
    running = start_s3_copies(tmp_path / "store")
    settings.STORAGE_SITES = json.loads(running.environment["STORAGE_SITES"])
    settings.STORAGE_SITES[0]["public_endpoint"] = running.url
    try:
        sites.follow_settings()
        site = StorageSite.objects.get(slug="demo-b")
        storage.ensure_bucket(at=sites.store_of(site))
        yield site
    finally:
        running.stop()


def test_a_dataset_survives_three_kills_on_its_way(other: StorageSite, tmp_path: Path, settings: Any) -> None:
    copied_under_kills(other, tmp_path, settings, files=240, large_bytes=70 * MIB + 3, kills=3)


@pytest.mark.faults_full
def test_ten_thousand_files_and_5_gib_survive_20_kills(other: StorageSite, tmp_path: Path, settings: Any) -> None:
    scale = float(os.environ.get("COPIES_SCALE") or 1)  # 0.1: a tenth of the data
    copied_under_kills(
        other, tmp_path, settings, files=int(10_000 * scale), large_bytes=int(5 * 1024 * MIB * scale), kills=20
    )


def copied_under_kills(
    site: StorageSite, folder: Path, settings: Any, *, files: int, large_bytes: int, kills: int
) -> None:
    seed = int(os.environ.get("FAULTS_SEED") or random.randrange(10**6))
    chance, log = random.Random(seed), folder / "sent"
    dataset = stored(files, large_bytes, chance)
    keeping = dataset.keepings.create(site=site, added_by=dataset.created_by)
    while copies.place_unplaced():
        pass
    while copies.plan(keeping.pk):
        pass
    total = files + 1
    at_these = sorted(chance.uniform(0, 0.9) for _ in range(kills))  # of what is to be sent
    environment = {
        **os.environ, "PORTAL_MODE": "test", "DATABASE_URL": database_url(),
        "STORAGE_SITES": json.dumps(settings.STORAGE_SITES), "S3_BUCKET": settings.S3_BUCKET,
    }  # fmt: skip
    command = [sys.executable, "-m", "tests.faults.data_worker", str(site.pk), str(log)]
    began, killed = time.monotonic(), list[float]()
    worker = subprocess.Popen(command, env=environment, cwd=ROOT)
    try:
        while Copy.objects.filter(site=site, state="verified").count() < total:
            assert worker.poll() is None
            assert time.monotonic() - began < 5400, f"seed {seed}: not complete after 90 minutes"
            if at_these and sent_share(log, files, large_bytes) >= at_these[0]:
                time.sleep(chance.uniform(0, 0.1))
                os.kill(worker.pid, signal.SIGKILL)
                worker.wait()
                killed.append(at_these.pop(0))
                # As if the dead one's leases were over: nobody waits for them here.
                Copy.objects.filter(lease_until__isnull=False).update(lease_until=timezone.now())
                worker = subprocess.Popen(command, env=environment, cwd=ROOT)
            time.sleep(0.05)
    finally:
        worker.kill()
        worker.wait()
    took_s = time.monotonic() - began

    sent = Counter(tuple(line.split()[:2]) for line in log.read_text().splitlines())
    twice = {what: count for what, count in sent.items() if count > 1}
    store = sites.store_of(site)
    wrong = damaged(dataset, store)
    there = objects(store)
    told = Counter(PlaceEvent.objects.filter(site=site.slug).values_list("act", flat=True))
    verified = Copy.objects.filter(site=site, state="verified")
    parts = sum(1 for _key, number in sent if number != "0")
    print(
        f"\n{files} files and one of {large_bytes / 1024**3:.2f} GiB, worker killed {len(killed)} times (seed {seed}): "
        f"{verified.count()} of {total} verified, {len(wrong)} wrong, {len(there)} objects, {parts} parts, "
        f"{len(twice)} sent twice, {took_s:.0f} s"
    )
    assert len(killed) == kills
    assert (verified.count(), verified.aggregate(size=Sum("size_bytes"))["size"]) == (
        total,
        dataset.files.aggregate(size=Sum("size_bytes"))["size"],
    )
    assert (wrong, twice, told) == ([], {}, Counter(arrived=total, verified=total)), f"seed {seed}"
    assert there == set(dataset.files.values_list("storage_key", flat=True))
    assert list(storage.open_uploads(at=store)) == []


def stored(files: int, large_bytes: int, chance: random.Random) -> Dataset:
    """Ready files with their bytes in the primary store: many of 0 to 20,000 bytes, and one large in their midst."""
    dataset = DatasetFactory()
    contents = [chance.randbytes(chance.randrange(20_000)) for _ in range(files)]
    made = [file(dataset, number, data) for number, data in enumerate(contents)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda pair: storage.put_bytes(pair[0].storage_key, pair[1]), zip(made, contents, strict=True)))
    key = f"t/{dataset.code}/large"
    block = chance.randbytes(8 * MIB)

    def pieces() -> Iterator[bytes]:
        for number in range(-(-large_bytes // len(block))):
            yield (number.to_bytes(8) + block[8:])[: large_bytes - number * len(block)]

    whole = storage.put_stream(key, pieces())
    large = file(dataset, files, b"")
    large.storage_key, large.size_bytes, large.sha256 = key, whole.size_bytes, whole.sha256
    made.insert(files // 2, large)
    DataFile.objects.bulk_create(made)
    return dataset


def file(dataset: Dataset, number: int, data: bytes) -> DataFile:
    return DataFile(
        dataset=dataset,
        name=f"file-{number}",
        size_bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        storage_key=f"t/{dataset.code}/{number}",
        state="ready",
        ready_at=timezone.now(),
        created_by=dataset.created_by,
    )


def sent_share(log: Path, files: int, large_bytes: int) -> float:
    """Half for the number of small files, half for the bytes of the large one, as the stores have acknowledged them."""
    lines = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
    whole = sum(1 for _key, number, _size in lines if number == "0")
    return whole / files / 2 + sum(int(size) for _key, number, size in lines if number != "0") / large_bytes / 2


def damaged(dataset: Dataset, store: Store) -> list[str]:
    """Keys whose bytes at the store are not the file's, each read by the test itself."""

    def check(pair: tuple[str, str]) -> str:
        whole = hashlib.sha256()
        for piece in storage.pieces(pair[0], at=store):
            whole.update(piece)
        return "" if whole.hexdigest() == pair[1] else pair[0]

    with ThreadPoolExecutor(4) as pool:
        return [key for key in pool.map(check, dataset.files.values_list("storage_key", "sha256")) if key]


def objects(store: Store) -> set[str]:
    client = storage._client(store, store.endpoint)
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=store.bucket)
    return {found["Key"] for page in pages for found in page.get("Contents", [])}
