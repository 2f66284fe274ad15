from __future__ import annotations

import io
import json

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction

from portal.datasets import copies, copying, residency, sites
from portal.datasets.models import Copy, DataFile, Dataset, PlaceEvent, StorageSite
from tests.datasets.test_copying import ready
from tests.factories import DatasetFactory

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("storage_ready")]


@pytest.fixture
def dataset(second_site: StorageSite) -> Dataset:
    """Three files at two sites, of which one was given up again."""
    made = DatasetFactory()
    made.keepings.create(site=second_site, added_by=made.created_by, planned=True)
    files = [ready(made, data) for data in (b"one", b"two", b"three")]
    copying.work(second_site, for_s=30)
    copies.give_up(files[1].storage_key)
    files[1].delete()
    for site in (second_site, sites.primary_site()):
        copying.work(site, for_s=30)
    return made


def command(dataset: Dataset) -> str:
    said = io.StringIO()
    call_command("residency_report", dataset.code, "--json", stdout=said)
    return said.getvalue()


def test_the_report_tells_for_each_object_where_it_is_and_was(dataset: Dataset) -> None:
    events = list(PlaceEvent.objects.all())
    stays = list(residency.report(dataset.code))

    def at(stay: residency.Stay, act: str) -> object:
        return next((e.at for e in events if (e.file_code, e.site, e.act) == (stay.file, stay.site, act)), None)

    left = {stay.file for stay in stays if stay.left_at}
    assert [(stay.file, stay.site) for stay in stays] == sorted((stay.file, stay.site) for stay in stays)
    assert (len(stays), len(left), {stay.country for stay in stays}) == (6, 1, {""})
    for stay in stays:
        assert (stay.arrived_at, stay.verified_at, stay.left_at, stay.damaged_at) == (
            at(stay, "arrived"), at(stay, "verified"), at(stay, "left"), None,
        )  # fmt: skip
    known = {file.code: (file.name, file.storage_key, file.sha256, file.size_bytes) for file in DataFile.objects.all()}
    assert {s.file: (s.name, s.key, s.sha256, s.size_bytes) for s in stays if s.file not in left} == known


def test_the_report_is_made_of_the_log_alone(dataset: Dataset) -> None:
    before = command(dataset)
    told = json.loads(before)
    Copy.objects.all().delete()
    DataFile.objects.all().delete()
    dataset.keepings.all().delete()
    Dataset.objects.all().delete()
    StorageSite.objects.all().delete()
    assert (command(dataset), told["dataset"], len(told["stays"])) == (before, dataset.code, 6)


def test_a_dataset_of_which_nothing_is_known_is_said_so() -> None:
    with pytest.raises(CommandError, match="The place log knows no dataset and no job d-nothing"):
        call_command("residency_report", "d-nothing", "--json")


def test_the_log_is_neither_changed_nor_shortened(dataset: Dataset) -> None:
    for change in (
        lambda: PlaceEvent.objects.update(site="elsewhere"),
        lambda: PlaceEvent.objects.all().delete(),
        lambda: connection.cursor().execute("DELETE FROM datasets_placeevent"),
    ):
        with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
            change()


def test_no_object_can_be_written_down_outside_of_japan(dataset: Dataset) -> None:
    event = PlaceEvent.objects.first()
    assert event
    for country, endpoint in (("US", event.endpoint), ("", "https://s3.us-east-1.amazonaws.com")):
        event.pk, event.country, event.endpoint = None, country, endpoint
        with pytest.raises(IntegrityError, match="place_in_japan"), transaction.atomic():
            event.save(force_insert=True)


def test_an_object_that_was_damaged_and_made_again_never_left(second_site: StorageSite) -> None:
    dataset = DatasetFactory()
    dataset.keepings.create(site=second_site, added_by=dataset.created_by, planned=True)
    file = ready(dataset)
    copying.work(second_site, for_s=30)
    copy = Copy.objects.get(site=second_site)
    first = next(stay for stay in residency.report(dataset.code) if stay.site == "second")
    residency.note(residency.PlaceAct.DAMAGED, [(copy, first.arrived_at)])
    damaged = next(stay for stay in residency.report(dataset.code) if stay.site == "second")
    Copy.objects.filter(pk=copy.pk).update(state="broken")
    copying.work(second_site, for_s=30)
    again = [stay for stay in residency.report(dataset.code) if stay.site == "second"]
    assert damaged.damaged_at == first.arrived_at
    assert [(s.file, s.arrived_at, s.damaged_at, s.left_at) for s in again] == [
        (file.code, first.arrived_at, None, None)
    ]
