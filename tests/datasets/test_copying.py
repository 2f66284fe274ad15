from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from portal.core import failpoints
from portal.datasets import copies, copying, drafts, sites, storage
from portal.datasets.models import Copy, DataFile, Dataset, PlaceEvent, StorageSite
from portal.datasets.storage import MIB
from tests.factories import DataFileFactory, DatasetFactory

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("storage_ready")]


def ready(dataset: Dataset, data: bytes = b"words", **changes: Any) -> DataFile:
    """A verified file with its bytes in the primary store, written down in the place log."""
    key = f"t/test/{uuid4()}"
    storage.put_bytes(key, data)
    sha256 = hashlib.sha256(data).hexdigest()
    file = DataFileFactory(dataset=dataset, storage_key=key, size_bytes=len(data), sha256=sha256, **changes)
    with transaction.atomic():
        drafts.lock(dataset.pk)
        copies.place([file])
    return file


@pytest.fixture
def dataset(second_site: StorageSite) -> Dataset:
    made = DatasetFactory()
    made.keepings.create(site=second_site, added_by=made.created_by, planned=True)
    return made


@pytest.fixture
def at_second(second_site: StorageSite) -> Callable[[DataFile], Copy]:
    return lambda file: Copy.objects.get(file=file, site=second_site)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, int]]]:
    """Every object and part that left for any store: key and part number, 0 for whole objects."""
    seen: list[tuple[str, int]] = []
    put_bytes, send_part = storage.put_bytes, storage.send_part

    def put(key: str, *args: Any, **more: Any) -> None:
        put_bytes(key, *args, **more)
        seen.append((key, 0))

    def part(key: str, upload_id: str, number: int, *args: Any, **more: Any) -> Any:
        answer = send_part(key, upload_id, number, *args, **more)
        seen.append((key, number))
        return answer

    monkeypatch.setattr(storage, "put_bytes", put)
    monkeypatch.setattr(storage, "send_part", part)
    yield seen


def work(site: StorageSite, for_s: float = 30) -> bool:
    return copying.work(site, for_s=for_s)


def acts(file: DataFile) -> list[tuple[str, str]]:
    events = PlaceEvent.objects.filter(file_code=file.code).order_by("pk")
    return list(events.values_list("site", "act"))


PRIMARY = [("primary", "arrived"), ("primary", "verified")]
SECOND = [("second", "arrived"), ("second", "verified")]


def test_small_files_come_to_the_site_and_are_read_back(
    dataset: Dataset, second_site: StorageSite, at_second: Callable[[DataFile], Copy], sent: list[tuple[str, int]]
) -> None:
    files = [ready(dataset, os.urandom(size)) for size in (0, 1, 70_000)]
    sent.clear()

    assert work(second_site) is False

    store = sites.store_of(second_site)
    bytes_there = [storage.read(file.storage_key, at=store) for file in files]
    assert [hashlib.sha256(data).hexdigest() for data in bytes_there] == [file.sha256 for file in files]
    assert [(at_second(file).state, at_second(file).lease_until) for file in files] == [("verified", None)] * 3
    assert [acts(file) for file in files] == [[*PRIMARY, *SECOND]] * 3
    assert sorted(sent) == sorted((file.storage_key, 0) for file in files)


def test_a_large_file_comes_in_parts_of_which_none_is_sent_twice(
    dataset: Dataset,
    second_site: StorageSite,
    at_second: Callable[[DataFile], Copy],
    sent: list[tuple[str, int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(copying, "SMALL_BYTES", 5 * MIB)
    monkeypatch.setattr(copying, "PART_BYTES", 5 * MIB)
    file = ready(dataset, os.urandom(43 * MIB + 7))
    sent.clear()

    turns = 0
    while work(second_site, for_s=0.02):  # the time is over after a few parts
        turns += 1

    assert (turns > 1, at_second(file).state, at_second(file).upload_id) == (True, "verified", "")
    assert sorted(number for _key, number in sent) == list(range(1, 10))
    whole = hashlib.sha256(b"".join(storage.pieces(file.storage_key, at=sites.store_of(second_site)))).hexdigest()
    assert whole == file.sha256
    assert acts(file) == [*PRIMARY, *SECOND]


class Killed(BaseException):
    pass


@pytest.mark.parametrize(
    ("point", "size"),
    [
        ("copies.after_put", 5),
        ("copies.after_create", 23 * MIB),
        ("copies.after_part", 23 * MIB),
        ("copies.before_complete", 23 * MIB),
        ("copies.after_complete", 23 * MIB),
        ("copies.before_settle", 5),
        ("copies.before_settle", 23 * MIB),
    ],
)
def test_who_comes_after_a_killed_worker_sends_what_is_missing(
    point: str,
    size: int,
    dataset: Dataset,
    second_site: StorageSite,
    at_second: Callable[[DataFile], Copy],
    sent: list[tuple[str, int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(copying, "PART_BYTES", 5 * MIB)
    file = ready(dataset, os.urandom(size))
    sent.clear()

    def die() -> None:
        raise Killed

    monkeypatch.setitem(failpoints.armed, point, die)
    with pytest.raises(Killed):
        work(second_site)
    monkeypatch.delitem(failpoints.armed, point)
    assert (work(second_site), at_second(file).state) == (False, "copying")  # the dead one's lease

    Copy.objects.filter(site=second_site).update(lease_until=timezone.now() - timedelta(seconds=1))
    work(second_site)

    parts = [0] if size < 1000 else list(range(1, 6))
    assert (at_second(file).state, sorted(number for _key, number in sent)) == ("verified", parts)
    store = sites.store_of(second_site)
    assert (acts(file), storage.size_of(file.storage_key, at=store)) == ([*PRIMARY, *SECOND], size)
    assert [upload for upload in storage.open_uploads(at=store) if upload.key == file.storage_key] == []


def test_a_copy_is_read_again_after_a_month_and_made_again_when_it_is_damaged(
    dataset: Dataset, second_site: StorageSite, at_second: Callable[[DataFile], Copy]
) -> None:
    whole, damaged, lost = (ready(dataset, name) for name in (b"whole", b"damaged", b"lost"))
    work(second_site)
    store = sites.store_of(second_site)
    storage.put_bytes(damaged.storage_key, b"damagee", at=store)
    storage.delete(lost.storage_key, at=store)
    assert (work(second_site), storage.read(damaged.storage_key, at=store)) == (False, b"damagee")  # not due yet

    Copy.objects.filter(site=second_site).update(verify_after=F("verify_after") - copies.VERIFY_EVERY)
    work(second_site)

    assert [storage.read(file.storage_key, at=store) for file in (whole, damaged, lost)] == [
        b"whole", b"damaged", b"lost",
    ]  # fmt: skip
    assert [at_second(file).state for file in (whole, damaged, lost)] == ["verified"] * 3
    assert [acts(file)[4:] for file in (whole, damaged, lost)] == [
        [("second", "verified")],
        [("second", "damaged"), *SECOND],
        [("second", "left"), *SECOND],
    ]
    assert [at_second(file).broken_at is None for file in (whole, damaged, lost)] == [True, False, False]


def test_damage_at_the_primary_site_is_found_while_copying_and_made_good_from_another(
    dataset: Dataset, second_site: StorageSite, at_second: Callable[[DataFile], Copy]
) -> None:
    file = ready(dataset)
    work(second_site)
    third = StorageSite.objects.create(
        slug="third", name_ja="三", name_en="3", region="r", country="", bucket=f"{second_site.bucket}-3",
        endpoint=second_site.endpoint, public_endpoint=second_site.endpoint,
    )  # fmt: skip
    third.set_credentials({"access_key": storage.primary().access_key, "secret_key": storage.primary().secret_key})
    third.save()
    storage.ensure_bucket(at=sites.store_of(third))
    storage.put_bytes(file.storage_key, b"wrong")
    keeping = dataset.keepings.create(site=third, added_by=dataset.created_by)
    copies.plan(keeping.pk)

    work(third)  # finds the primary's bytes wrong, and takes those of the second site
    work(sites.primary_site())

    assert dict(Copy.objects.filter(file=file).values_list("site__slug", "state")) == {
        "primary": "verified", "second": "verified", "third": "verified",
    }  # fmt: skip
    assert (storage.read(file.storage_key), storage.read(file.storage_key, at=sites.store_of(third))) == (
        b"words",
        b"words",
    )
    assert acts(file)[4:] == [
        ("primary", "damaged"), ("third", "arrived"), ("third", "verified"),
        ("primary", "arrived"), ("primary", "verified"),
    ]  # fmt: skip


def test_without_a_good_copy_nothing_is_made(
    dataset: Dataset, second_site: StorageSite, at_second: Callable[[DataFile], Copy]
) -> None:
    file = ready(dataset)
    storage.put_bytes(file.storage_key, b"wrong")

    assert (work(second_site), work(sites.primary_site())) == (False, False)

    states = dict(Copy.objects.filter(file=file).values_list("site__slug", "state"))
    assert (states, storage.size_of(file.storage_key, at=sites.store_of(second_site))) == (
        {"primary": "broken", "second": "copying"},
        None,
    )


def test_a_store_that_is_away_keeps_what_is_done_and_what_is_due(
    dataset: Dataset, second_site: StorageSite, at_second: Callable[[DataFile], Copy], settings: Any
) -> None:
    file = ready(dataset)
    settings.STORAGE_SITES = [{**settings.STORAGE_SITES[0], "endpoint": "http://127.0.0.1:9"}]

    with pytest.raises(storage.StorageUnavailable):
        work(second_site)

    assert (at_second(file).lease_until, at_second(file).state, acts(file)) == (None, "copying", PRIMARY)


def test_what_is_given_up_is_removed_and_its_leaving_told(
    dataset: Dataset, second_site: StorageSite, at_second: Callable[[DataFile], Copy]
) -> None:
    file = ready(dataset)
    work(second_site)

    copies.give_up(file.storage_key)
    file.delete()
    work(second_site)
    work(sites.primary_site())

    store = sites.store_of(second_site)
    assert [storage.size_of(file.storage_key, at=at) for at in (None, store)] == [None, None]
    assert set(Copy.objects.values_list("state", flat=True)) == {"gone"}
    assert acts(file) == [*PRIMARY, *SECOND, ("second", "left"), ("primary", "left")]


def test_bytes_that_nobody_lived_to_write_down_are_told_when_they_are_removed(
    dataset: Dataset, second_site: StorageSite, at_second: Callable[[DataFile], Copy]
) -> None:
    file = ready(dataset)
    storage.put_bytes(file.storage_key, b"words", at=sites.store_of(second_site))
    copies.give_up(file.storage_key)

    work(sites.primary_site())
    work(second_site)

    assert acts(file) == [*PRIMARY, ("primary", "left"), ("second", "arrived"), ("second", "left")]


def test_what_was_taken_by_another_meanwhile_is_not_settled(
    dataset: Dataset, second_site: StorageSite, at_second: Callable[[DataFile], Copy], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = ready(dataset)

    def taken() -> None:
        Copy.objects.filter(site=second_site).update(turn=F("turn") + 1, lease_until=timezone.now() + copying.LEASE)

    monkeypatch.setitem(failpoints.armed, "copies.before_settle", taken)
    work(second_site)

    assert (at_second(file).state, at_second(file).lease_until is None, acts(file)) == ("copying", False, PRIMARY)
