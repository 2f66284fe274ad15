from __future__ import annotations

from typing import Any

import httpx
import pytest
from django.utils import timezone, translation
from pytest_django import DjangoAssertNumQueries

from portal.datasets import copies, copying, sites
from portal.datasets.copies import Held
from portal.datasets.models import Copy, DataFile, Keeping, PlaceEvent, StorageSite
from tests.datasets.test_copying import ready
from tests.factories import DataFileFactory, DatasetFactory

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("storage_ready")]


def states(file: DataFile) -> dict[str, str]:
    return dict(Copy.objects.filter(file=file).values_list("site__slug", "state"))


def test_a_ready_file_is_at_the_primary_site_and_wanted_where_its_dataset_is_kept(second_site: StorageSite) -> None:
    dataset = DatasetFactory()
    dataset.keepings.create(site=second_site, added_by=dataset.created_by, planned=True)
    file = ready(dataset)
    file.refresh_from_db()
    assert (file.placed, states(file)) == (True, {"primary": "verified", "second": "wanted"})
    events = PlaceEvent.objects.order_by("pk").values_list("act", "site", "endpoint", "storage_key", "sha256", "at")
    store = sites.store_of(sites.primary_site())
    same = ("primary", store.endpoint, file.storage_key, file.sha256)
    assert list(events) == [("arrived", *same, file.ready_at), ("verified", *same, file.ready_at)]


def test_files_that_became_ready_without_a_word_are_found(second_site: StorageSite) -> None:
    first, second = DataFileFactory(), DataFileFactory()
    DataFileFactory(state="verifying", ready_at=None)
    assert [copies.place_unplaced() for _ in range(3)] == [1, 1, 0]
    assert [states(file) for file in (first, second)] == [{"primary": "verified"}] * 2


def test_a_wish_is_planned_for_all_ready_files_in_steps_and_once(
    second_site: StorageSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copies, "AT_ONCE", 2)
    dataset = DatasetFactory()
    files = [DataFileFactory(dataset=dataset) for _ in range(5)]
    DataFileFactory(dataset=dataset, state="failed", ready_at=None)
    keeping = dataset.keepings.create(site=second_site, added_by=dataset.created_by)
    assert [copies.plan(keeping.pk) for _ in range(4)] == [True, True, False, False]
    assert Copy.objects.filter(site=second_site, state="wanted").count() == len(files)
    keeping.refresh_from_db()
    assert (keeping.planned, keeping.planned_to) == (True, files[-1].pk)


def test_a_wish_that_ends_gives_its_copies_up_but_never_the_last_good_one(second_site: StorageSite) -> None:
    dataset = DatasetFactory()
    keeping = dataset.keepings.create(site=second_site, added_by=dataset.created_by, planned=True)
    whole, broken = ready(dataset), ready(dataset)
    copying.work(second_site, for_s=30)
    Copy.objects.filter(file=broken, site__is_primary=True).update(state="broken")
    Keeping.objects.update(ending=True, planned=False)

    assert (copies.plan(keeping.pk), states(whole)["second"], states(broken)["second"]) == (
        False,
        "removing",
        "verified",
    )
    Copy.objects.filter(file=broken, site__is_primary=True).update(state="verified")
    copies.plan(keeping.pk)
    assert (states(broken)["second"], Keeping.objects.exists()) == ("removing", False)


def test_a_copy_that_was_removed_is_asked_for_again(second_site: StorageSite) -> None:
    dataset = DatasetFactory()
    dataset.keepings.create(site=second_site, added_by=dataset.created_by, planned=True)
    file = ready(dataset)
    copying.work(second_site, for_s=30)
    Copy.objects.filter(site=second_site).update(state="removing")
    copying.work(second_site, for_s=30)
    Keeping.objects.update(planned=False, planned_to=0)
    copies.plan(Keeping.objects.get().pk)
    copying.work(second_site, for_s=30)
    assert states(file) == {"primary": "verified", "second": "verified"}
    acts = PlaceEvent.objects.filter(site="second").order_by("pk").values_list("act", flat=True)
    assert list(acts) == ["arrived", "verified", "left", "arrived", "verified"]


def test_a_job_reads_at_the_nearest_verified_site_that_answers(second_site: StorageSite) -> None:
    StorageSite.objects.filter(pk=second_site.pk).update(provider="sakura")
    dataset = DatasetFactory()
    dataset.keepings.create(site=second_site, added_by=dataset.created_by, planned=True)
    copied, alone = ready(dataset, b"copied"), ready(dataset, b"alone")
    copying.work(second_site, for_s=30)
    Copy.objects.filter(file=alone, site=second_site).update(state="broken")

    def places(provider: str) -> list[str]:
        found = copies.addresses_for([copied, alone], provider, expires_s=60)
        return [found[copied.pk].site, found[alone.pk].site]

    near = copies.addresses_for([copied], "sakura", expires_s=60)[copied.pk]
    assert (f"/{second_site.bucket}/" in near.url, httpx.get(near.url).content) == (True, b"copied")
    assert [places("sakura"), places("kddi")] == [["second", "primary"], ["primary", "primary"]]
    StorageSite.objects.filter(is_primary=True).update(failing_since=timezone.now())
    assert places("kddi") == ["second", "primary"]
    StorageSite.objects.filter(is_primary=True).update(failing_since=None)
    StorageSite.objects.filter(pk=second_site.pk).update(failing_since=timezone.now())
    assert places("sakura") == ["primary", "primary"]
    StorageSite.objects.filter(pk=second_site.pk).update(failing_since=None, enabled=False)
    assert places("sakura") == ["primary", "primary"]


def test_addresses_cost_the_same_for_one_file_and_for_many(
    second_site: StorageSite, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    dataset = DatasetFactory()
    files = [ready(dataset) for _ in range(3)]
    for some in (files[:1], files):
        with django_assert_num_queries(2):
            copies.addresses_for(some, "sakura", expires_s=60)


def test_placement_knows_how_much_is_where(second_site: StorageSite, settings: Any) -> None:
    dataset = DatasetFactory()
    dataset.keepings.create(site=second_site, added_by=dataset.created_by, planned=True)
    for data in (b"1", b"22", b"333"):
        ready(dataset, data)
    last = DataFile.objects.latest("pk")
    copying.work(second_site, for_s=30)
    Copy.objects.filter(file=last, site=second_site).update(state="broken")
    with translation.override("en"):
        assert copies.held_at(dataset.files.all()) == [
            Held("primary", "Demo store A (this computer)", "", False, 3, 6),
            Held("second", "Second store", "", False, 2, 3),
        ]
