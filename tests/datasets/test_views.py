import re
from collections.abc import Callable
from html import unescape
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from portal.accounts.models import Project, User
from portal.accounts.roles import Role
from portal.audit.models import AuditEvent
from portal.datasets import cleaning, storage
from portal.datasets.models import DataFile, Dataset
from portal.datasets.views import versions as version_views
from portal.jobs.models import JobInput
from tests.factories import JobFactory, MembershipFactory, ProjectFactory
from tests.factories.datasets import DataFileFactory, DatasetFactory, DatasetShareFactory, DatasetVersionFactory

pytestmark = pytest.mark.django_db
Sign = Callable[..., Client]
HOSTILE = "<script>alert(1)</script>\"'&{{ 7|add:7 }}.txt".replace("/", "")


def names_on(client: Client, url: str) -> list[str]:
    return [dataset.name for dataset, _sums, _share in client.get(url).context["rows"]]


def test_the_list_shows_the_place_the_person_works_in(
    client_of: Sign, project: Project, member: User, stranger: User
) -> None:
    other = ProjectFactory(organization=project.organization)
    for where, name in ((project, "ours"), (other, "also ours"), (ProjectFactory(), "foreign")):
        DatasetFactory(project=where, name=name)
    guest = MembershipFactory(organization=project.organization, project=project, role=Role.VIEWER).user

    assert names_on(client_of(member), "/datasets/") == ["also ours", "ours"]
    assert names_on(client_of(guest), "/datasets/") == ["ours"]
    assert names_on(client_of(stranger), "/datasets/") == []


def test_a_dataset_is_listed_to_others_from_its_first_file_on(
    client_of: Sign, project: Project, member: User, manager: User
) -> None:
    def made(name: str, *states: str) -> None:
        dataset = DatasetFactory(project=project, name=name, created_by=member)
        for state in states:
            DataFileFactory(dataset=dataset, state=state, created_by=member)

    made("empty")
    made("coming", "uploading")
    made("given up", "abandoned")
    made("arrived", "uploading", "verifying")
    made("ready", "uploading", "ready")

    assert names_on(client_of(manager), "/datasets/") == ["ready", "arrived", "empty"]
    assert names_on(client_of(member), "/datasets/") == ["ready", "arrived", "given up", "coming", "empty"]


def test_files_of_the_draft_are_listed_by_path(client_of: Sign, project: Project, member: User) -> None:
    dataset = DatasetFactory(project=project)
    names = [f"d{number % 3}/{number:02}" for number in range(60)]
    for name in names:
        DataFileFactory(dataset=dataset, name=name)
    client, url, seen = client_of(member), f"/datasets/{dataset.code}/", []
    while url:
        context = client.get(url).context
        seen.append([file.name for file in context["files"]])
        url = context["next_url"]

    assert [name for page in seen for name in page] == sorted(names)
    assert [len(page) for page in seen] == [25, 25, 10]


def test_those_it_is_shared_with_are_told_of_no_next_version(client_of: Sign, project: Project, member: User) -> None:
    reader = MembershipFactory(role=Role.VIEWER)
    dataset = DatasetFactory(project=project, latest_number=1)
    DatasetVersionFactory(dataset=dataset, number=1)
    DataFileFactory(dataset=dataset, added_in=1)
    DatasetShareFactory(dataset=dataset, to_project=ProjectFactory(organization=reader.organization))
    pages = [client_of(user, "en").get(f"/datasets/{dataset.code}/").content.decode() for user in (member, reader.user)]

    assert ["Files of the next version" in page for page in pages] == [True, False]


def test_people_without_a_right_to_see_data(client_of: Sign, project: Project, billing: User) -> None:
    assert client_of(billing).get("/datasets/").status_code == 403
    assert Client().get("/datasets/")["Location"].startswith("/account/login/")


def test_a_dataset_is_seen_by_its_members_alone(
    client_of: Sign, project: Project, viewer: User, stranger: User, billing: User
) -> None:
    file = DataFileFactory(dataset__project=project)
    urls = [f"/datasets/{file.dataset.code}/", f"/datasets/files/{file.code}/download/"]

    def statuses(user: User) -> list[int]:
        return [client_of(user).get(url).status_code for url in urls]

    assert {u.email: statuses(u) for u in (viewer, stranger, billing)} == {
        viewer.email: [200, 302],
        stranger.email: [404, 404],
        billing.email: [404, 404],
    }


def test_a_download_is_a_short_lived_address_with_the_japanese_name(
    client_of: Sign, project: Project, viewer: User
) -> None:
    file = DataFileFactory(dataset__project=project, name="売上 2026.csv")

    query = parse_qs(urlsplit(client_of(viewer).get(f"/datasets/files/{file.code}/download/")["Location"]).query)

    assert (query["X-Amz-Expires"], unquote(query["response-content-disposition"][0])) == (
        ["300"],
        "attachment; filename*=utf-8''売上 2026.csv",
    )


def test_a_file_that_is_not_ready_is_not_given_out(client_of: Sign, project: Project, viewer: User) -> None:
    file = DataFileFactory(dataset__project=project, state="verifying", ready_at=None)

    answer = client_of(viewer).get(f"/datasets/files/{file.code}/download/")

    assert answer["Location"] == f"/datasets/{file.dataset.code}/"


def test_hostile_names_stay_text(client_of: Sign, project: Project, member: User) -> None:
    dataset = DatasetFactory(project=project, name=HOSTILE, folder="safe")
    DataFileFactory(dataset=dataset, name=HOSTILE, created_by=member)
    DataFileFactory(dataset=dataset, name=HOSTILE + "2", state="uploading", part_size_bytes=1, created_by=member)
    client = client_of(member)

    for url in ("/datasets/", f"/datasets/{dataset.code}/"):
        page = client.get(url).content.decode()
        assert ("alert(1)" in page, "<script>alert" in page, "14.txt" in page) == (True, False, False)


def test_pages_of_the_list_follow_each_other(client_of: Sign, project: Project, member: User) -> None:
    for number in range(60):
        DatasetFactory(project=project, name=f"d{number}")
    client = client_of(member)

    seen, url, back = [], "/datasets/", []
    while url:
        answer = client.get(url)
        seen.append([d.name for d, _, _ in answer.context["rows"]])
        back.append(answer.context["newer_url"])
        url = answer.context["older_url"]

    assert [name for page in seen for name in page] == [f"d{n}" for n in range(59, -1, -1)]
    assert [len(page) for page in seen] == [25, 25, 10]
    assert names_on(client, back[2]) == seen[1]
    assert names_on(client, "/datasets/?before=x&after=99999999999999999999") == seen[0]


@pytest.mark.parametrize("rows", [1, 25, 100])
def test_the_list_needs_the_same_few_statements(
    client_of: Sign, project: Project, member: User, rows: int, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(rows):
        dataset = DatasetFactory(project=project, name=f"d{number}")
        DataFileFactory(dataset=dataset, created_by=member)
        DataFileFactory(dataset=dataset, state="uploading", part_size_bytes=1, created_by=member)
    client = client_of(member)
    client.get("/datasets/")

    with django_assert_num_queries(10):
        assert client.get("/datasets/").status_code == 200


@pytest.mark.parametrize("rows", [1, 25, 100])
def test_a_dataset_needs_the_same_few_statements(
    client_of: Sign, project: Project, member: User, rows: int, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    dataset = DatasetFactory(project=project)
    for _number in range(rows):
        DataFileFactory(dataset=dataset)
    client = client_of(member)
    client.get("/datasets/")

    with django_assert_num_queries(12):  # two of them for the places
        assert client.get(f"/datasets/{dataset.code}/").status_code == 200


def test_only_a_table_in_motion_polls(client_of: Sign, project: Project, member: User) -> None:
    file = DataFileFactory(dataset__project=project)
    moving = DataFileFactory(dataset__project=project, state="verifying", ready_at=None)
    client = client_of(member)

    def polls(one: DataFile) -> bool:
        fragment = client.get(f"/datasets/{one.dataset.code}/", headers={"hx-request": "true"}).content.decode()
        assert fragment.startswith('<section id="files"')
        return "every 3s" in fragment

    assert (polls(file), polls(moving)) == (False, True)


@pytest.mark.usefixtures("storage_ready")
def test_deleting_asks_first_and_removes_the_bytes(client_of: Sign, project: Project, member: User) -> None:
    file = DataFileFactory(dataset__project=project, storage_key="t/test/delete-me")
    storage.put_bytes(file.storage_key, b"words")
    client, url = client_of(member), f"/datasets/files/{file.code}/delete/"

    asked = client.get(url)
    assert (asked.status_code, DataFile.objects.count()) == (200, 1)
    deleted = [client.post(url) for _ in range(2)]
    cleaning.remove_leftovers(timezone.now())

    assert [d.status_code for d in deleted] == [302, 404]
    assert (DataFile.objects.count(), storage.size_of("t/test/delete-me")) == (0, None)
    assert list(AuditEvent.objects.values_list("act", "subject")) == [("file.deleted", f"file:{file.code}")]


def test_the_input_of_a_job_stays(client_of: Sign, project: Project, member: User) -> None:
    file = DataFileFactory(dataset__project=project)
    job = JobFactory(project=project)
    JobInput.objects.create(job=job, data_file=file, path=file.path, size_bytes=5, sha256=file.sha256)

    answer = client_of(member, "en").post(f"/datasets/files/{file.code}/delete/")

    assert (answer.status_code, answer.context["refused"], DataFile.objects.count()) == (
        422,
        f"“{file.name}” is the input of a job and stays as the record of what that job read.",
        1,
    )


def test_a_dataset_is_deleted_with_a_reason(client_of: Sign, project: Project, member: User) -> None:
    empty, full = DatasetFactory(project=project), DataFileFactory(dataset__project=project).dataset
    client = client_of(member)

    statuses = [client.post(f"/datasets/{d.code}/delete/", {"reason": why}).status_code
                for d, why in ((empty, "typo"), (full, ""), (full, "\u202e"), (full, "end of the study"))]  # fmt: skip

    assert (statuses, list(Dataset.objects.kept())) == ([302, 422, 422, 302], [])


def test_viewers_neither_upload_nor_delete(client_of: Sign, project: Project, viewer: User) -> None:
    file = DataFileFactory(dataset__project=project)
    client = client_of(viewer)

    statuses = [
        client.get("/datasets/form/").status_code,
        client.get(f"/datasets/form/?dataset={file.dataset.code}").status_code,
        client.post("/datasets/form/", {"project": project.code, "name": "x"}).status_code,
        client.post(f"/datasets/files/{file.code}/delete/").status_code,
        client.post(f"/datasets/{file.dataset.code}/delete/").status_code,
    ]
    page = client.get("/datasets/").content.decode()

    assert (statuses, "data-upload" in page, DataFile.objects.count()) == ([403] * 5, False, 1)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"name": ""}, "Enter a file name."),
        (
            {"name": "../x"},
            "A path is made of folder names with one / between them, without . and .. as names. Correct the path.",
        ),
        ({"name": "a\0b"}, "This contains a NUL character. Remove it."),
        ({"dataset_name": "x" * 101}, "The dataset name can have up to 100 characters."),
        ({"project": "p-none"}, "Choose one of the options shown."),
    ],
)
def test_the_plain_form_says_what_is_wrong(
    client_of: Sign, project: Project, member: User, fields: dict[str, str], sentence: str
) -> None:
    answer = client_of(member, "en").post("/datasets/form/", {"project": project.code, "name": "x", **fields})

    errors = [error for found in answer.context["form"].errors.values() for error in found]
    assert (answer.status_code, errors, DataFile.objects.count()) == (422, [sentence], 0)


def test_the_policy_lets_the_browser_send_to_the_store(client_of: Sign, member: User, settings: object) -> None:
    policy = client_of(member).get("/datasets/")["Content-Security-Policy"]
    directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    store = settings.S3_PUBLIC_ENDPOINT  # type: ignore[attr-defined]
    assert (directives["connect-src"], directives["form-action"]) == (f"'self' {store}", f"'self' {store}")


def stored_file(project: Project, name: str, data: bytes) -> DataFile:
    file = DataFileFactory(dataset__project=project, name=name, size_bytes=len(data))
    storage.put_bytes(file.storage_key, data)
    return file


def test_a_preview_stands_in_a_frame_without_origin_and_stays_text(
    client_of: Sign, project: Project, member: User
) -> None:
    client, file = client_of(member, "en"), stored_file(project, "表.csv", f"名,値\n{HOSTILE},1\n".encode())
    page = client.get(f"/datasets/files/{file.code}/preview/")
    assert f'sandbox src="/datasets/files/{file.code}/preview/content/"' in page.content.decode()
    assert "frame-src 'self'" in page["Content-Security-Policy"]
    seen = client.get(f"/datasets/files/{file.code}/preview/content/")
    policy = sorted(seen["Content-Security-Policy"].split("; "))
    assert [part for part in policy if not part.startswith("img-src http")] == [
        "base-uri 'none'", "default-src 'none'", "form-action 'none'", "frame-ancestors 'self'", "sandbox",
        "style-src 'self'",
    ]  # fmt: skip
    assert seen["X-Frame-Options"] == "SAMEORIGIN"
    assert "<td>&lt;script&gt;alert(1)&lt;script&gt;" in seen.content.decode()
    event = AuditEvent.objects.get(act="file.previewed")
    assert (event.subject, event.actor) == (f"file:{file.code}", f"user:{member.pk}")


def test_a_picture_comes_from_the_store_as_a_picture(client_of: Sign, project: Project, member: User) -> None:
    file = stored_file(project, "a.txt", b"\x89PNG\r\n\x1a\n...")
    seen = client_of(member, "en").get(f"/datasets/files/{file.code}/preview/content/").content.decode()
    address = unescape(re.search('<img src="([^"]+)"', seen)[1])  # type: ignore[index]
    query = parse_qs(urlsplit(address).query)
    assert (query["response-content-type"], query["X-Amz-Expires"]) == (["image/png"], ["60"])


def test_what_cannot_be_previewed_is_said(client_of: Sign, project: Project, member: User) -> None:
    client, file = client_of(member, "en"), stored_file(project, "a.bin", b"\0\1")
    url = f"/datasets/files/{file.code}/preview/content/"
    assert "There is no preview for this kind of file" in client.get(url).content.decode()
    DataFile.objects.filter(pk=file.pk).update(storage_key="t/nothing/here")
    gone = client.get(url)
    assert (gone.status_code, "The storage cannot be reached" in gone.content.decode()) == (503, True)
    waiting = DataFileFactory(dataset=file.dataset, name="later", state="verifying")
    assert client.get(f"/datasets/files/{waiting.code}/preview/").status_code == 302


@pytest.fixture
def versioned(project: Project, member: User) -> Dataset:
    """Version 1 holds a, b and c; since then b was replaced, c removed and d added."""
    dataset = DatasetFactory(project=project, name="集", created_by=member, latest_number=1)
    for name, added, removed in (("a", 1, None), ("train/b", 1, 2), ("train/c", 1, 2), ("train/b", None, None)):
        DataFileFactory(
            dataset=dataset, name=name, added_in=added, removed_in=removed, replaced_earlier=added is None
        )  # fmt: skip
    DataFileFactory(dataset=dataset, name="d")
    DatasetVersionFactory(dataset=dataset, number=1, file_count=3, size_bytes=15, note="初版")
    return dataset


def paths(answer: HttpResponse) -> list[str]:
    return [file.name for file in answer.context["files"]]


def test_the_draft_says_what_differs_from_the_newest_version(client_of: Sign, versioned: Dataset, member: User) -> None:
    client, url = client_of(member, "en"), f"/datasets/{versioned.code}/"
    draft, removed, begun = client.get(url), client.get(f"{url}?show=removed"), client.get(f"{url}?q=train/")
    words = " ".join(draft.content.decode().split())
    assert (paths(draft), paths(removed), paths(begun)) == (["a", "d", "train/b"], ["train/c", "train/b"], ["train/b"])
    assert "Since version 1: 1 added, 1 replaced, " in words and ">1 removed</a>" in words
    assert (words.count(">Added<"), words.count(">Replaced<"), "Make version 2" in words) == (1, 1, True)
    assert [(v.number, v.note) for v in draft.context["versions"]] == [(1, "初版")]


def test_a_version_shows_its_own_files_a_page_at_a_time(
    client_of: Sign, versioned: Dataset, viewer: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(version_views, "PAGE", 2)
    client, url = client_of(viewer), f"/datasets/{versioned.code}/versions/1/"
    first = client.get(url)
    second = client.get(first.context["next_url"])
    begun, none = client.get(f"{url}?q=train/b"), client.get(f"{url}?q=%00zzz")
    assert [paths(one) for one in (first, second, begun, none)] == [["a", "train/b"], ["train/c"], ["train/b"], []]
    assert (second.context["next_url"], second.context["first_url"]) == ("", f"{url}?q=")
    assert first.context["version"].manifest_sha256 in first.content.decode()
    assert [client.get(f"/datasets/{versioned.code}/versions/{n}/").status_code for n in (2, 10**30)] == [404, 404]


def test_the_manifest_comes_from_the_store_under_a_name_of_its_own(
    client_of: Sign, versioned: Dataset, viewer: User
) -> None:
    client, url = client_of(viewer), f"/datasets/{versioned.code}/versions/1/manifest/"
    query = parse_qs(urlsplit(client.get(url)["Location"]).query)
    making = DatasetVersionFactory(dataset=versioned, number=2, state="making", manifest_sha256="", manifest_key="")
    refused = client.get(url.replace("/1/", "/2/"))
    assert (query["X-Amz-Expires"], unquote(query["response-content-disposition"][0])) == (
        ["300"], "attachment; filename*=utf-8''集-v1.jsonl",
    )  # fmt: skip
    assert (making.number, refused["Location"]) == (2, f"/datasets/{versioned.code}/versions/2/")
    assert list(AuditEvent.objects.values_list("act", "actor")) == [
        ("version.manifest_downloaded", f"user:{viewer.pk}")
    ]


def test_a_file_of_a_version_leaves_the_next_one_alone(client_of: Sign, versioned: Dataset, member: User) -> None:
    file = DataFile.objects.get(dataset=versioned, name="a")
    client, url = client_of(member, "en"), f"/datasets/files/{file.code}/delete/"
    asked = client.get(url).content.decode()
    told = client.post(url, follow=True).content.decode()
    file.refresh_from_db()
    assert "The versions that have it keep it, with its bytes." in asked
    assert "“a” is not in the next version. The versions that have it keep it." in told
    again, download = client.post(url), client.get(f"/datasets/files/{file.code}/download/")
    assert (file.removed_in, again.status_code, download.status_code) == (2, 302, 302)


@pytest.mark.parametrize("rows", [1, 25, 150])
def test_a_version_needs_the_same_few_statements(
    client_of: Sign, project: Project, member: User, rows: int, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    version = DatasetVersionFactory(dataset__project=project, number=1)
    for _number in range(rows):
        DataFileFactory(dataset=version.dataset, added_in=1)
    client = client_of(member)
    client.get("/datasets/")

    with django_assert_num_queries(6):
        assert client.get(f"/datasets/{version.dataset.code}/versions/1/").status_code == 200


@pytest.mark.parametrize("rows", [1, 25])
def test_many_versions_are_shown_some_at_a_time(
    client_of: Sign, project: Project, member: User, rows: int, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    dataset = DataFileFactory(dataset__project=project, added_in=1).dataset
    for number in range(1, rows + 1):
        DatasetVersionFactory(dataset=dataset, number=number)
    client, url = client_of(member), f"/datasets/{dataset.code}/"
    client.get("/datasets/")

    with django_assert_num_queries(12):
        first = client.get(url)
    seen = [version.number for version in first.context["versions"]]
    while older := first.context["older_versions"]:
        first = client.get(f"{url}?versions_before={older}")
        seen += [version.number for version in first.context["versions"]]
    assert seen == list(range(rows, 0, -1))
