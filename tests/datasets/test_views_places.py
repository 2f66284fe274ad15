from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from portal.accounts.models import Project, User
from portal.datasets import copying, metering, quota, residency, storage
from portal.datasets.models import Copy, Dataset, Keeping, StorageSite, StoredBytes
from portal.datasets.sites import primary_site
from portal.datasets.views import residency as report
from tests.datasets.test_copying import ready
from tests.factories import DatasetFactory, DatasetVersionFactory

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("storage_ready")]
Sign = Callable[..., Client]


@pytest.fixture
def dataset(project: Project, second_site: StorageSite) -> Dataset:
    made = DatasetFactory(project=project)
    made.keepings.create(site=second_site, added_by=made.created_by, planned=True)
    for data in (b"1", b"22", b"333"):
        ready(made, data)
    return made


def told(client: Client, dataset: Dataset) -> list[tuple[str, bool, int, int, int, int, int, int]]:
    rows = client.get(f"/datasets/{dataset.code}/places/").context["places"]
    return [
        (r.site.slug, r.kept, r.files, r.size_bytes, r.done_files, r.done_bytes, r.damaged, r.removing) for r in rows
    ]


def test_the_page_says_how_far_each_site_is(
    client_of: Sign, dataset: Dataset, member: User, second_site: StorageSite
) -> None:
    client, at_second = client_of(member, "en"), Copy.objects.filter(site=second_site)
    primary = ("primary", True, 3, 6, 3, 6, 0, 0)
    assert told(client, dataset) == [primary, ("second", True, 3, 6, 0, 0, 0, 0)]
    first = at_second.order_by("pk")[:1]
    at_second.filter(pk__in=list(first.values_list("pk", flat=True))).update(sent_bytes=1, state="copying")
    assert told(client, dataset)[1] == ("second", True, 3, 6, 0, 1, 0, 0)
    page = client.get(f"/datasets/{dataset.code}/").content.decode()
    assert ("0 of 3" in page, "Being copied" in page, "every 3s" in page) == (True, True, True)

    copying.work(second_site, for_s=30)
    assert told(client, dataset) == [primary, ("second", True, 3, 6, 3, 6, 0, 0)]
    page = client.get(f"/datasets/{dataset.code}/").content.decode()
    assert (page.count("All verified"), "every 3s" in page) == (2, False)

    at_second.filter(pk__in=list(first.values_list("pk", flat=True))).update(state="broken", broken_at=timezone.now())
    assert told(client, dataset)[1] == ("second", True, 3, 6, 2, 5, 1, 0)
    at_second.update(state="removing")
    Keeping.objects.all().delete()
    assert told(client, dataset)[1] == ("second", False, 0, 0, 0, 0, 0, 3)


def test_a_form_chooses_the_sites(client_of: Sign, dataset: Dataset, member: User, viewer: User) -> None:
    client, url = client_of(member), f"/datasets/{dataset.code}/places/"
    assert (client.post(url, {})["Location"], Keeping.objects.get().ending) == (f"/datasets/{dataset.code}/", True)
    client.post(url, {"site": ["second"]})
    assert Keeping.objects.get().ending is False
    client.post(url, {"site": ["elsewhere"]})
    assert Keeping.objects.get().ending is False
    page = client.get(f"/datasets/{dataset.code}/").content.decode()
    assert "ストレージサイト「elsewhere」はありません。" in page
    assert (client_of(viewer).post(url, {}).status_code, Keeping.objects.get().ending) == (403, False)
    assert 'name="site"' not in client_of(viewer).get(url).content.decode()


def test_whoever_chooses_a_copy_reads_that_it_is_not_metered_and_it_is_not(
    client_of: Sign, dataset: Dataset, member: User, viewer: User, second_site: StorageSite
) -> None:
    copying.work(second_site, for_s=30)
    pages = [client_of(who, "en").get(f"/datasets/{dataset.code}/").content.decode() for who in (member, viewer)]
    assert ["Copies at further sites are not metered" in page for page in pages] == [True, False]
    assert Copy.objects.filter(site=second_site, state="verified").count() == 3
    quota.recount(dataset.project_id)
    assert list(StoredBytes.objects.values_list("site", "closing_bytes")) == [(metering.primary_site(), 6)]


def test_page_csv_and_json_tell_the_same_as_the_command(
    client_of: Sign, dataset: Dataset, viewer: User, second_site: StorageSite
) -> None:
    copying.work(second_site, for_s=30)
    client, url, said = client_of(viewer), f"/datasets/{dataset.code}/residency", io.StringIO()
    call_command("residency_report", dataset.code, "--json", stdout=said)
    as_json = b"".join(client.get(f"{url}.json").streaming_content).decode()  # type: ignore[attr-defined]
    as_csv = b"".join(client.get(f"{url}.csv").streaming_content).decode("utf-8-sig")  # type: ignore[attr-defined]
    stays = json.loads(as_json)["stays"]
    shown = [residency.as_texts(stay) for stay in client.get(f"{url}/").context["stays"]]
    rows = list(csv.DictReader(io.StringIO(as_csv)))
    assert (as_json, shown, len(stays)) == (said.getvalue(), stays, 6)
    assert rows == [{name: "" if v is None else str(v) for name, v in stay.items()} for stay in stays]


def test_the_report_has_pages_and_each_costs_the_same(
    client_of: Sign, dataset: Dataset, viewer: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, url = client_of(viewer, "en"), f"/datasets/{dataset.code}/residency/"
    client.get(url)

    def costs() -> int:
        with CaptureQueriesContext(
            connection,
        ) as seen:
            client.get(url)
        return len(seen)

    whole = costs()
    files = [stay.file for stay in client.get(url).context["stays"]]
    monkeypatch.setattr(report, "OBJECTS", 1)
    assert costs() == whole
    seen, words, at = [], [], url
    while at:
        answer = client.get(at)
        seen += [stay.file for stay in answer.context["stays"]]
        pager = answer.content.decode().partition('class="pager"')[2].partition("</nav>")[0]
        words.append([word for word in ("First page", "Next page", "Newer", "Older") if word in pager])
        at = answer.context["next_url"]
    assert (seen, files) == (sorted(files), sorted(files))
    assert words == [["Next page"], *[["First page", "Next page"]] * (len(files) - 2), ["First page"]]


def test_manifests_that_the_log_was_not_told_of_are_said_to_be_missing(
    client_of: Sign, dataset: Dataset, viewer: User
) -> None:
    client, url = client_of(viewer, "en"), f"/datasets/{dataset.code}/residency/"
    for number in (1, 2):
        DatasetVersionFactory(dataset=dataset, number=number)
    said = "The manifests of versions up to 2 were written before the place log had manifests"
    assert said in client.get(url).content.decode()
    for version in dataset.versions.all():
        residency.manifest_arrived(version, primary_site(), storage.primary(), size_bytes=9, at=timezone.now())
    page = client.get(url).content.decode()
    assert ("before the place log" in page, page.count("Manifest of version 2")) == (False, 1)


def test_a_datasets_page_costs_the_same_for_one_copy_and_for_many(
    client_of: Sign, project: Project, member: User, second_site: StorageSite
) -> None:
    client, dataset = client_of(member), DatasetFactory(project=project)
    dataset.keepings.create(site=second_site, added_by=dataset.created_by, planned=True)

    def costs() -> int:
        with CaptureQueriesContext(connection) as seen:
            client.get(f"/datasets/{dataset.code}/places/")
        return len(seen)

    ready(dataset)
    client.get(f"/datasets/{dataset.code}/places/")
    one = costs()
    for _ in range(3):
        ready(dataset)
    assert costs() == one
