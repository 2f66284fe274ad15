"""What follows what: a wish becomes copies by the tasks alone, and the owner hears of damage."""

from __future__ import annotations

from typing import Any

import pytest
from django.core import mail

from portal.celery import app
from portal.datasets import copying, sites, storage, tasks
from portal.datasets.models import Copy, Dataset, StorageSite
from tests.datasets.test_copying import ready
from tests.factories import DataFileFactory, DatasetFactory

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("storage_ready")]


@pytest.fixture
def dataset(second_site: StorageSite) -> Dataset:
    made = DatasetFactory(name="売上")
    made.keepings.create(site=second_site, added_by=made.created_by)
    return made


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Messages are done where they are sent, as a worker would do them."""
    done: list[str] = []

    def publish(task: Any, *args: int) -> bool:
        done.append(task.name)
        task(*args)
        return True

    monkeypatch.setattr(tasks, "publish", publish)
    return done


def test_a_sweep_brings_a_wish_to_its_end(dataset: Dataset, at_once: list[str]) -> None:
    files = [ready(dataset), DataFileFactory(dataset=dataset)]
    storage.put_bytes(files[1].storage_key, b"words")

    tasks.sweep_copies()

    assert set(Copy.objects.values_list("file", "site__slug", "state")) == {
        (file.pk, slug, "verified") for file in files for slug in ("primary", "second")
    }
    assert at_once == ["datasets.plan_copies", "datasets.work_on_copies"]
    at_once.clear()
    tasks.sweep_copies()
    assert at_once == []


def test_a_store_that_is_away_is_asked_again_by_the_next_sweep(
    dataset: Dataset, second_site: StorageSite, at_once: list[str], settings: Any
) -> None:
    file, rows = ready(dataset), settings.STORAGE_SITES
    settings.STORAGE_SITES = [{**rows[0], "endpoint": "http://127.0.0.1:9"}]
    tasks.sweep_copies()
    second_site.refresh_from_db()
    assert (second_site.failing_since is None, Copy.objects.get(file=file, site=second_site).state) == (
        False,
        "copying",
    )
    settings.STORAGE_SITES = rows
    tasks.sweep_copies()
    assert Copy.objects.get(file=file, site=second_site).state == "verified"


def test_the_owner_hears_once_what_was_damaged_and_what_is_lost(
    dataset: Dataset, second_site: StorageSite, at_once: list[str]
) -> None:
    saved, lost = ready(dataset, b"saved", name="saved.csv"), ready(dataset, b"lost", name="lost.csv")
    tasks.sweep_copies()
    storage.put_bytes(saved.storage_key, b"broken", at=sites.store_of(second_site))
    for store in (storage.primary(), sites.store_of(second_site)):
        storage.delete(lost.storage_key, at=store)
    Copy.objects.update(verify_after=copying.timezone.now())
    dataset.created_by.language = "en"
    dataset.created_by.save()

    for _ in range(3):
        tasks.sweep_copies()

    assert [(m.to, m.subject) for m in mail.outbox] == [
        ([dataset.created_by.email], "Copies of “売上” were found damaged")
    ]
    text = mail.outbox[0].body
    assert ("- saved.csv (Second store)" in text, text.count("- lost.csv")) == (True, 3)
    assert "No good copy is left of these files." in text


def test_data_goes_through_a_queue_of_its_own() -> None:
    queues = {
        name: app.amqp.router.route({}, name)["queue"].name
        for name in app.tasks
        if name.startswith(("datasets.", "jobs."))
    }
    data = {name for name, queue in queues.items() if queue == "data"}
    assert data == {f"datasets.{name}" for name in ("plan_copies", "work_on_copies", "tell_of_damage", "look_at_sites")}
