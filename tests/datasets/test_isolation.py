"""Presigned addresses: what they are good for, and that nobody gets one for what is another tenant's."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import time_machine
from django.test import Client
from django.utils import timezone

from portal.accounts.models import Organization, Project, User
from portal.accounts.roles import Role
from portal.datasets import storage
from portal.datasets.models import DataFile
from tests.datasets.sending import begin, send, sha256
from tests.factories import DataFileFactory, DatasetFactory, MembershipFactory, OrganizationFactory, ProjectFactory

pytestmark = [pytest.mark.usefixtures("storage_ready"), pytest.mark.django_db]
Sign = Callable[..., Client]


@pytest.fixture
def part(client_of: Sign, member: User, project: Project) -> tuple[str, dict[str, str]]:
    """Address and headers for the one part of "words"."""
    at = begin(client_of(member), project=project.code).json()["addresses"]["1"]
    return at["url"], at["headers"]


def status(method: str, url: str, headers: dict[str, str], content: bytes = b"words") -> int:
    return httpx.request(
        method, url, headers=headers, content=content if method in ("PUT", "POST") else None
    ).status_code


def test_an_address_takes_the_part_that_was_signed_and_nothing_else(part: tuple[str, dict[str, str]]) -> None:
    url, headers = part
    other = base64.b64encode(hashlib.sha256(b"WORDS").digest()).decode()
    key = urlsplit(url).path.rpartition("/")[2]
    wrong = {
        "another method": [status(method, url, headers) for method in ("GET", "DELETE", "POST", "HEAD")],
        "another key": [
            status("PUT", url.replace(key, "f-000000000000", 1), headers),
            status("PUT", re.sub(r"/t/o-\w+/", "/t/o-another0/", url), headers),
        ],
        "another part": [status("PUT", url.replace("partNumber=1", "partNumber=2"), headers)],
        "another upload": [status("PUT", re.sub(r"uploadId=\w+", "uploadId=0123456789", url), headers)],
        "a longer life": [status("PUT", url.replace("X-Amz-Expires=300", "X-Amz-Expires=3000"), headers)],
        "another length": [status("PUT", url, headers, b"word"), status("PUT", url, headers, b"words!")],
        "another checksum": [status("PUT", url, {**headers, "x-amz-checksum-sha256": other}, b"WORDS")],
        "no checksum": [status("PUT", url, {})],
    }
    other_bytes = status("PUT", url, headers, b"WORDS")

    assert {what: {answer // 100 for answer in answers} for what, answers in wrong.items()} == {
        what: {4} for what in wrong
    }
    assert (other_bytes, status("PUT", url, headers)) == (400, 200)


def test_addresses_end_after_five_minutes(client_of: Sign, member: User, project: Project) -> None:
    file = DataFileFactory(dataset__project=project, storage_key="t/test/expiring")
    storage.put_bytes(file.storage_key, b"words")
    client = client_of(member)
    with time_machine.travel(timezone.now() - timedelta(seconds=301), tick=False):
        at = begin(client, project=project.code).json()["addresses"]["1"]
        download = client.get(f"/datasets/files/{file.code}/download/")["Location"]

    lives = [int(parse_qs(urlsplit(url).query)["X-Amz-Expires"][0]) for url in (at["url"], download)]
    late = [status("PUT", at["url"], at["headers"]), status("GET", download, {})]

    assert (max(lives) <= 300, late) == (True, [403, 403])


@pytest.fixture
def tenants(organization: Organization, project: Project) -> list[Project]:
    """Two organizations, and a second project in the first."""
    return [project, ProjectFactory(organization=organization), ProjectFactory(organization=OrganizationFactory())]


def people(tenants: list[Project]) -> dict[str, tuple[User, list[int]]]:
    """Each with the numbers of the projects that they may upload into."""

    def person(role: Role, project: Project, *, alone: bool = False) -> User:
        place = {"organization": project.organization, **({"project": project} if alone else {})}
        return MembershipFactory(role=role, **place).user

    return {
        **{
            f"{role.value} of the first": (person(role, tenants[0]), [0, 1])
            for role in (Role.OWNER, Role.MANAGER, Role.MEMBER)
        },
        "member of one project": (person(Role.MEMBER, tenants[0], alone=True), [0]),
        "owner of the second": (person(Role.OWNER, tenants[2]), [2]),
        "member of the second": (person(Role.MEMBER, tenants[2], alone=True), [2]),
    }


def test_no_session_gets_an_address_for_anothers_key(client_of: Sign, tenants: list[Project]) -> None:
    everybody = people(tenants)
    # Each person has an upload under way in each place of theirs.
    uploads = [
        (name, place, begin(client_of(user), project=tenants[place].code, name=f"{name}.txt", dataset_name=name).json())
        for name, (user, places) in everybody.items()
        for place in places
    ]
    for _name, place, made in uploads:
        DataFile.objects.filter(code=made["file"]).update(name=f"{made['file']}.txt")
        assert made["addresses"]["1"]["url"].count(f"/t/{tenants[place].organization.code}/{made['file']}?") == 1

    tried, wrong = 0, []
    for name, (user, places) in everybody.items():
        client = client_of(user)
        for whose, place, made in uploads:
            if whose == name:
                continue
            urls, asked = made["urls"], {"parts": f'{{"1": "{sha256(b"words")}"}}'}
            answers = {
                "list": client.get(urls["parts"]),
                "part": client.post(urls["parts"], asked),
                "complete": client.post(urls["complete"], {"parts_sha256": "0" * 64}),
                "abort": client.post(urls["cancel"]),
                "resume": begin(client, resume=made["file"]),
                "form": client.get(f"/datasets/files/{made['file']}/send/"),
                **(
                    {}
                    if place in places
                    else {
                        "begin in the dataset": begin(client, dataset=made["dataset"], name="x"),
                        "begin in the project": begin(client, project=tenants[place].code, name="x"),
                        "download": client.get(f"/datasets/files/{made['file']}/download/"),
                        "command": client.post("/datasets/token/", {"dataset": made["dataset"]}),
                    }
                ),
            }
            for act, answer in answers.items():
                tried += 1
                said = answer.content.decode() + answer.get("Location", "")
                if answer.status_code != 404 or "X-Amz-" in said or "PORTAL_TOKEN" in said:
                    wrong.append((name, whose, act, answer.status_code))

    assert (wrong, tried > 300) == ([], True)
    assert [send(client_of(everybody[name][0]), made, b"words") for name, _place, made in uploads] == [[200]] * len(
        uploads
    )


def test_a_file_of_another_organization_is_not_there_for_a_dataset_of_the_same_code(
    client_of: Sign, tenants: list[Project], member: User
) -> None:
    theirs = DatasetFactory(project=tenants[2], name="words")

    answers = [
        begin(client_of(member), project=tenants[0].code, dataset=theirs.code),
        begin(client_of(member), dataset=theirs.code),
    ]

    assert ([answer.status_code for answer in answers], theirs.files.count()) == ([404, 404], 0)
