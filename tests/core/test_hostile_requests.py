"""What no browser sends: NUL in addresses and cookies, files, deeply nested JSON, and too much of everything."""

from collections.abc import Callable

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from portal.accounts.models import Project, User
from portal.jobs.models import Draft


@pytest.mark.parametrize("tail", ["", "events/", "config/", "artifacts/", "artifacts/1/", "lines/", "log/", "stop/"])
def test_an_address_with_nul_does_not_exist(tail: str, member: User, client_of: Callable[..., Client]) -> None:
    assert client_of(member).get(f"/jobs/J-2026%00/{tail}").status_code == 404


def test_a_cookie_with_nul_is_as_if_not_sent(client: Client, db: None) -> None:
    client.cookies["sessionid"] = "\0\0\0\0\0\0\0\0\0"
    assert client.get("/help/").status_code == 200


def test_nul_in_a_copied_code_or_a_draft_stores_nothing_hostile(
    member: User, project: Project, client_of: Callable[..., Client]
) -> None:
    client = client_of(member)
    assert client.get("/jobs/new/?copy=%00").status_code in (200, 404)
    answer = client.post("/jobs/new/draft/", {"project": project.code, "name": "a\0b", "script": "print(1)\0"})
    assert (answer.status_code, Draft.objects.get().fields["name"]) == (200, "ab")


def test_a_draft_for_a_project_that_was_closed_goes_nowhere(
    member: User, project: Project, client_of: Callable[..., Client]
) -> None:
    assert client_of(member).post("/jobs/new/draft/", {"project": "p-gone", "name": "x"}).status_code == 404
    assert Draft.objects.count() == 0


def test_a_file_sent_to_the_portal_is_not_read(client: Client, db: None) -> None:
    sent = SimpleUploadedFile("big.bin", b"x" * 3_000_000)
    assert client.post("/i18n/setlang/", {"language": "ja", "file": sent}).status_code in (302, 400)
    assert client.post("/account/login/", {"login": "a@example.jp", "password": "x", "f": sent}).status_code in (
        400,
        422,
    )


def test_too_much_is_said_to_be_too_much(client: Client, db: None) -> None:
    answer = client.post("/account/login/", {"login": "a" * 5_000_000}, headers={"accept-language": "en"})
    assert answer.status_code in (400, 413)


def test_deeply_nested_json_is_refused(member: User, client_of: Callable[..., Client]) -> None:
    from tests.factories import DataFileFactory, DatasetFactory, ProjectFactory

    mine = ProjectFactory(organization=member.memberships.get().organization)
    sending = DataFileFactory(
        dataset=DatasetFactory(project=mine, created_by=member), state="uploading", sha256="", ready_at=None
    )
    answer = client_of(member).post(f"/datasets/files/{sending.code}/parts/", {"parts": "[" * 100_000})
    assert answer.status_code == 422


@pytest.mark.parametrize("name", ["data", "output"])
def test_a_script_may_not_be_called_like_a_folder_of_the_job(name: str, project: Project) -> None:
    from portal.jobs.forms import JobForm

    form = JobForm({"script_name": name}, projects=[project], offers=[])
    assert form.errors["script_name"] == [
        f"{name}は、どのジョブにもあるフォルダーの名前です。main.pyなど、ほかの名前にしてください。"
    ]
