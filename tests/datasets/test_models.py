from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone, translation

from portal.accounts.models import Project, User
from portal.accounts.roles import Role
from portal.datasets.models import DataFile, Dataset, FileFailure, FileState
from tests.factories import DataFileFactory, DatasetFactory, MembershipFactory, ProjectFactory


@pytest.mark.parametrize(
    ("size", "part", "count", "sizes"),
    [(0, 8, 0, []), (8, 8, 1, [8]), (9, 8, 2, [8, 1]), (24, 8, 3, [8, 8, 8]), (5, 0, 0, [])],
)
def test_parts_add_up_to_the_file(size: int, part: int, count: int, sizes: list[int]) -> None:
    file = DataFile(size_bytes=size, part_size_bytes=part)
    assert (file.part_count, [file.size_of_part(number + 1) for number in range(count)]) == (count, sizes)


def test_a_failure_names_the_file_and_every_state_has_its_face() -> None:
    with translation.override("en"):
        assert DataFile(name="100%.csv", failure=FileFailure.LOST).failure_text == (
            "“100%.csv” is not in the storage. Upload it again."
        )
        assert DataFile(name="a").failure_text == ""
    assert [state for state in FileState if not state.icon] == []


def test_where_a_job_finds_it() -> None:
    assert DataFile(name="売上 2026.csv", dataset=Dataset(name="売上 2026", folder="売上_2026")).path == (
        "売上_2026/売上 2026.csv"
    )


def test_data_is_seen_where_a_role_lets_one_see_it(
    project: Project, viewer: User, billing: User, stranger: User
) -> None:
    mine = DataFileFactory(dataset=DatasetFactory(project=project))
    other = DataFileFactory(dataset=DatasetFactory(project=ProjectFactory(organization=project.organization)))
    guest = MembershipFactory(organization=project.organization, project=project, role=Role.VIEWER).user
    people = (viewer, guest, billing, stranger)
    assert [set(DataFile.objects.visible_to(user)) for user in people] == [{mine, other}, {mine}, set(), set()]
    assert [set(Dataset.objects.visible_to(user)) for user in people] == [
        {mine.dataset, other.dataset}, {mine.dataset}, set(), set(),
    ]  # fmt: skip


def test_a_person_goes_on_with_their_own_uploads_newest_first(project: Project, member: User, manager: User) -> None:
    dataset = DatasetFactory(project=project)
    empty = {"dataset": dataset, "sha256": "", "ready_at": None, "state": "uploading"}
    first, second = DataFileFactory(**empty, created_by=member), DataFileFactory(**empty, created_by=member)
    DataFileFactory(**empty, created_by=manager)
    DataFileFactory(**{**empty, "state": "verifying"}, created_by=member)
    assert list(DataFile.objects.unfinished_of(member)) == [second, first]


def test_a_file_is_verified_when_nobody_reads_it_now(db: None) -> None:
    dataset, now = DatasetFactory(), timezone.now()
    waiting = {"dataset": dataset, "sha256": "", "ready_at": None, "state": "verifying"}
    free = DataFileFactory(**waiting)
    DataFileFactory(**waiting, checked_until=now + timedelta(minutes=1))
    left = DataFileFactory(**waiting, checked_until=now - timedelta(minutes=1))
    DataFileFactory(dataset=dataset)
    assert set(DataFile.objects.to_verify()) == {free, left}


@pytest.mark.parametrize("changes", [{"sha256": ""}, {"ready_at": None}, {"name": "taken.txt"}])
def test_the_database_keeps_ready_files_verified_and_names_apart(db: None, changes: dict[str, str | None]) -> None:
    known = DataFileFactory(name="taken.txt")
    with pytest.raises(IntegrityError), transaction.atomic():
        DataFileFactory(dataset=known.dataset, **changes)
    failed = {"state": "failed", "sha256": "", "ready_at": None}
    assert DataFileFactory(dataset=known.dataset, name="taken.txt", **failed).pk
