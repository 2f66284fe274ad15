from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from portal.accounts.models import Project, User
from portal.accounts.roles import Role
from portal.datasets import quota
from portal.datasets.models import StorageAllowance
from tests.factories import DataFileFactory, DatasetFactory, MembershipFactory, ProjectFactory

pytestmark = pytest.mark.django_db
Sign = Callable[..., Client]


def shown(client: Client) -> list[tuple[str, int, int]]:
    rows = client.get("/datasets/storage/").context["rows"]
    return [(project.name, allowance.used_bytes, allowance.limit_bytes) for project, allowance in rows]


def test_who_sees_what_the_projects_keep(
    client_of: Sign, project: Project, manager: User, viewer: User, billing: User, stranger: User
) -> None:
    ProjectFactory(organization=project.organization, name="empty")
    quota.reserve(DataFileFactory(dataset=DatasetFactory(project=project), size_bytes=7))
    quota.set_limit(project, 10, by="operator")
    guest = MembershipFactory(organization=project.organization, project=project, role=Role.VIEWER).user
    both = [("empty", 0, 10**12), ("llm-jp-tuning", 7, 10)]
    assert [shown(client_of(user)) for user in (manager, viewer, guest)] == [both, both, both[1:]]
    assert client_of(billing).get("/datasets/storage/").status_code == 403
    assert [row for row in shown(client_of(stranger)) if row[0] == "llm-jp-tuning"] == []


@pytest.mark.parametrize(
    ("used", "limit", "percent", "tone"),
    [(0, 10**12, 0, ""), (1, 10**12, 0, ""), (79, 100, 79, ""), (900_000_001, 10**9, 90, "warn"), (80, 100, 80, "warn"),
     (999, 1000, 99, "warn"),
     (1000, 1000, 100, "err"), (0, 0, 100, "err")],
)  # fmt: skip
def test_how_full_it_looks(used: int, limit: int, percent: int, tone: str) -> None:
    allowance = StorageAllowance(used_bytes=used, limit_bytes=limit)
    assert (allowance.percent, allowance.tone, allowance.free_bytes) == (percent, tone, limit - used)


def test_the_drop_zone_says_what_is_left(client_of: Sign, project: Project, member: User) -> None:
    dataset = DatasetFactory(project=project)
    quota.reserve(DataFileFactory(dataset=dataset, size_bytes=7))
    client = client_of(member, "en")
    for url in ("/datasets/", f"/datasets/{dataset.code}/"):
        assert "llm-jp-tuning uses 7 B of its 1.0 TB." in client.get(url).content.decode()


def test_a_page_of_projects_needs_the_same_few_statements(client_of: Sign, project: Project, member: User) -> None:
    client, counts = client_of(member), []
    client.get("/datasets/storage/")
    for rows in (1, 25, 40):
        while Project.objects.filter(organization=project.organization).count() < rows:
            quota.recount(ProjectFactory(organization=project.organization).pk)
        with CaptureQueriesContext(connection) as asked:
            assert client.get("/datasets/storage/").status_code == 200
        counts.append(len(asked))
    assert counts == [5, 5, 5]


def test_a_little_is_said_to_be_under_one_percent(client_of: Sign, project: Project, member: User) -> None:
    quota.reserve(DataFileFactory(dataset=DatasetFactory(project=project), size_bytes=373_000_000))
    page = client_of(member, "en").get("/datasets/storage/").content.decode()
    assert ("under 1%" in page, "1%</" in page.replace("under 1%", "")) == (True, False)
