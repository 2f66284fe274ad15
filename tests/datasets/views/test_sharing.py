from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from portal.accounts.models import Project, User
from portal.accounts.roles import Role
from portal.datasets import storage
from portal.datasets.models import DataFile, Dataset, DatasetShare
from tests.factories import (
    DataFileFactory,
    DatasetFactory,
    DatasetShareFactory,
    DatasetVersionFactory,
    MembershipFactory,
    OrganizationFactory,
    ProjectFactory,
)

pytestmark = pytest.mark.django_db
Sign = Callable[..., Client]


@pytest.fixture
def elsewhere() -> Project:
    return ProjectFactory(name="共同研究", organization=OrganizationFactory(name="別会社"))


@pytest.fixture
def receiver(elsewhere: Project) -> User:
    """May do in their own project whatever a manager may."""
    return MembershipFactory(organization=elsewhere.organization, project=elsewhere, role=Role.MANAGER).user


@pytest.fixture
def shared(project: Project, elsewhere: Project, storage_ready: None) -> DataFile:
    dataset = DatasetFactory(project=project, name="語彙")
    file = DataFileFactory(dataset=dataset, name="words.txt")
    storage.put_bytes(file.storage_key, b"words")
    DatasetShareFactory(dataset=dataset, to_project=elsewhere)
    return file


def text_of(answer: HttpResponse) -> str:
    return unescape(answer.content.decode())


def share(client: Client, dataset: Dataset, **said: str) -> HttpResponse:
    return client.post(f"/datasets/{dataset.code}/sharing/", said)


def test_a_member_shares_until_the_end_of_a_day_in_japan_and_ends_it(
    client_of: Sign, project: Project, member: User, elsewhere: Project
) -> None:
    dataset = DatasetFactory(project=project, name="語彙")
    client = client_of(member)
    day = timezone.localdate() + timedelta(days=30)

    made = share(client, dataset, receiver="code", project_code=elsewhere.code.upper(), last_day=day.isoformat())
    page = client.get(made["Location"])
    row = DatasetShare.objects.get()
    assert timezone.localtime(row.until).isoformat() == f"{day + timedelta(days=1)}T00:00:00+09:00"
    assert (list(page.context["live"]), f"別会社 ({elsewhere.code})" in text_of(page)) == ([row], True)
    assert "共同研究" not in text_of(page)  # what others call their projects is theirs

    ended = client.post(f"/datasets/{dataset.code}/sharing/{row.pk}/end/", follow=True)
    assert (ended.context["live"], ended.context["ended"]) == ([], [row])


def test_own_projects_and_the_own_organization_are_chosen_from_a_list(
    client_of: Sign, project: Project, member: User
) -> None:
    dataset, other = DatasetFactory(project=project), ProjectFactory(organization=project.organization, name="隣")
    ProjectFactory(organization=project.organization, name="終", closed_at=timezone.now())
    guest = MembershipFactory(organization=project.organization, project=project, role=Role.MEMBER).user

    for chosen in (other.code, "organization"):
        assert share(client_of(member), dataset, receiver=chosen).status_code == 302

    def offered(user: User) -> list[str]:
        form = client_of(user).get(f"/datasets/{dataset.code}/sharing/").context["form"]
        return [value for value, _label in form.fields["receiver"].choices]

    rows = DatasetShare.objects.order_by("pk").values_list("to_project", "to_organization", "until")
    assert list(rows) == [(other.pk, project.organization_id, None), (None, project.organization_id, None)]
    assert offered(member) == [other.code, "organization", "code"]
    assert offered(guest) == ["organization", "code"]  # who sees one project learns of no other


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({}, "Choose with whom to share."),
        ({"receiver": "p-foreign0"}, "Choose one of the receivers listed."),
        ({"receiver": "code"}, "Enter the code of the project."),
        ({"receiver": "code", "project_code": "p-00000000"}, "No open project has this code."),
        ({"receiver": "code", "project_code": "\0"}, "This contains a NUL character. Remove it."),
        ({"receiver": "code", "project_code": "ELSEWHERE"}, "what goes to another organization needs one"),
        ({"receiver": "code", "project_code": "OWN", "last_day": ""}, "The dataset belongs to this project already."),
        ({"receiver": "organization", "last_day": "2001-01-01"}, "Choose today or a later day."),
        ({"receiver": "organization", "last_day": "9999-12-31"}, "Choose a day within ten years."),
        ({"receiver": "organization", "last_day": "soon"}, "Enter the last day as year, month and day."),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(
    client_of: Sign, project: Project, member: User, elsewhere: Project, said: dict[str, str], sentence: str
) -> None:
    named = {"ELSEWHERE": elsewhere.code, "OWN": project.code}
    said = {name: named.get(value, value) for name, value in said.items()}

    answer = share(client_of(member, "en"), DatasetFactory(project=project), **said)

    assert (answer.status_code, sentence in text_of(answer)) == (422, True)
    assert DatasetShare.objects.count() == 0


def test_codes_cannot_be_tried_by_the_hundred(client_of: Sign, project: Project, member: User, settings: Any) -> None:
    settings.LIMITS = {**settings.LIMITS, "share": 2}
    dataset, client = DatasetFactory(project=project), client_of(member)
    answers = [share(client, dataset, receiver="code", project_code=f"p-0000000{n}").status_code for n in range(3)]
    assert answers == [422, 422, 429]


def test_a_receiver_reads_all_and_changes_nothing(client_of: Sign, shared: DataFile, receiver: User) -> None:
    client, dataset = client_of(receiver), shared.dataset
    made = DatasetShare.objects.get()
    reads = [
        f"/datasets/{dataset.code}/",
        f"/datasets/files/{shared.code}/preview/",
        f"/datasets/files/{shared.code}/preview/content/",
        f"/datasets/files/{shared.code}/download/",
    ]
    assert [client.get(url).status_code for url in reads] == [200, 200, 200, 302]

    pages = [
        f"/datasets/{dataset.code}/delete/",
        f"/datasets/{dataset.code}/sharing/",
        f"/datasets/files/{shared.code}/delete/",
        f"/datasets/form/?dataset={dataset.code}",
    ]
    own = f"/datasets/{dataset.code}/"
    inside = [f"{own}{name}" for name in ("places/", "residency/", "residency.csv", "residency.json", "last-day/")]
    assert [client.get(url).status_code for url in pages + inside] == [403] * 9
    assert (f"{own}residency/" in text_of(client.get(own)), client.post(f"{own}versions/").status_code) == (False, 403)
    posts = [
        *pages,
        f"/datasets/{dataset.code}/sharing/{made.pk}/end/",
        f"/datasets/files/{shared.code}/parts/",
        f"/datasets/files/{shared.code}/complete/",
        f"/datasets/files/{shared.code}/cancel/",
    ]
    said = {"dataset": dataset.code, "name": "mine.txt", "size": 5, "receiver": "organization"}
    assert [client.post(url, said).status_code for url in posts] == [403] * 5 + [404] * 3
    assert client.post("/datasets/begin/", said).status_code == 403
    assert (DataFile.objects.count(), Dataset.objects.count(), DatasetShare.objects.live().count()) == (1, 1, 1)


def test_a_share_that_ends_stops_reading_at_once(
    client_of: Sign, shared: DataFile, receiver: User, member: User
) -> None:
    reader, made = client_of(receiver), DatasetShare.objects.get()
    urls = [f"/datasets/{shared.dataset.code}/"] + [
        f"/datasets/files/{shared.code}/{act}/" for act in ("preview", "preview/content", "download")
    ]
    before = [reader.get(url).status_code for url in urls]
    client_of(member).post(f"/datasets/{shared.dataset.code}/sharing/{made.pk}/end/")
    assert (before, [reader.get(url).status_code for url in urls]) == ([200, 200, 200, 302], [404] * 4)


def test_people_of_the_owner_stay_unnamed_to_receivers(
    client_of: Sign, shared: DataFile, receiver: User, viewer: User
) -> None:
    User.objects.filter(pk=shared.created_by_id).update(family_name="内部", given_name="太郎")
    DataFileFactory(dataset=shared.dataset, name="broken.txt", state="failed", ready_at=None, failure="lost")
    DatasetVersionFactory(dataset=shared.dataset, number=1, created_by=shared.created_by)
    Dataset.objects.filter(pk=shared.dataset_id).update(latest_number=1)
    own = f"/datasets/{shared.dataset.code}/"
    urls = ["/datasets/", own, f"{own}versions/1/", f"/datasets/files/{shared.code}/preview/"]

    def told(user: User) -> list[tuple[bool, bool]]:
        pages = [text_of(client_of(user).get(url)) for url in urls]
        return [("内部" in page, "llm-jp-tuning" in page) for page in pages]

    assert told(receiver) == [(False, False)] * 4
    assert [named for named, _project in told(viewer)] == [True] * 4
    page = text_of(client_of(receiver).get(urls[1]))
    assert ("broken.txt" in page, "株式会社ミライ言語研究所が2098年12月31日" in page) == (False, True)


def test_lists_say_by_whom_and_until_when(
    client_of: Sign, project: Project, member: User, shared: DataFile, receiver: User, elsewhere: Project
) -> None:
    DatasetFactory(project=elsewhere, name="自分の")
    DatasetFactory(project=project, name="見えない")
    DatasetShareFactory(
        dataset=shared.dataset, to_project=elsewhere, until=datetime(2027, 1, 1, tzinfo=UTC), ended_at=timezone.now()
    )

    def rows(user: User) -> list[tuple[str, bool, str]]:
        found = client_of(user).get("/datasets/").context["rows"]
        return [(dataset.name, dataset.is_own, share.giver if share else "") for dataset, _sums, share in found]

    assert rows(receiver) == [("自分の", True, ""), ("語彙", False, "株式会社ミライ言語研究所")]
    assert rows(member) == [("見えない", True, ""), ("語彙", True, "株式会社ミライ言語研究所")]
    page = text_of(client_of(receiver).get("/datasets/"))
    assert "株式会社ミライ言語研究所が2098年12月31日（水）まで共有" in page


def test_own_and_shared_datasets_share_their_pages(
    client_of: Sign, project: Project, elsewhere: Project, receiver: User
) -> None:
    for number in range(60):
        dataset = DatasetFactory(project=elsewhere if number % 3 else project, name=f"d{number}")
        if not number % 3:
            DatasetShareFactory(dataset=dataset, to_project=elsewhere)
    client = client_of(receiver)

    seen, back, url = [], [], "/datasets/"
    while url:
        answer = client.get(url)
        seen.append([dataset.name for dataset, _sums, _share in answer.context["rows"]])
        back.append(answer.context["newer_url"])
        url = answer.context["older_url"]

    assert [name for page in seen for name in page] == [f"d{n}" for n in range(59, -1, -1)]
    assert [len(page) for page in seen] == [25, 25, 10]
    again = client.get(back[2]).context["rows"]
    assert [dataset.name for dataset, _sums, _share in again] == seen[1]


@pytest.mark.parametrize("rows", [1, 30])
def test_the_pages_need_the_same_few_statements(
    client_of: Sign,
    project: Project,
    member: User,
    shared: DataFile,
    receiver: User,
    elsewhere: Project,
    rows: int,
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    for _number in range(rows):
        more = DatasetFactory(project=project)
        DataFileFactory(dataset=more)
        DatasetShareFactory(dataset=more, to_project=elsewhere)
        DatasetShareFactory(dataset=shared.dataset)
    owner, reader = client_of(member), client_of(receiver)
    for client in (owner, reader):
        client.get("/datasets/")
    for client, url, statements in (
        (owner, f"/datasets/{shared.dataset.code}/sharing/", 8),
        (reader, f"/datasets/{shared.dataset.code}/", 10),
        (reader, "/datasets/", 10),
    ):
        with django_assert_num_queries(statements):
            assert client.get(url).status_code == 200
