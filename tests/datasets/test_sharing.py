from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core import mail
from django.db import IntegrityError, transaction
from django.utils import timezone

from portal.accounts.access import NotPermitted
from portal.accounts.models import Project, User
from portal.accounts.roles import Role
from portal.audit.models import AuditEvent
from portal.datasets import tasks
from portal.datasets.models import DataFile, Dataset, DatasetShare
from portal.datasets.sharing import SharingRefused, end, receiver_called, share
from tests.factories import (
    DataFileFactory,
    DatasetFactory,
    DatasetShareFactory,
    MembershipFactory,
    OrganizationFactory,
    ProjectFactory,
)

pytestmark = pytest.mark.django_db
LATER = datetime(2099, 1, 1, tzinfo=UTC)


@pytest.fixture
def dataset(project: Project) -> Dataset:
    return DatasetFactory(project=project, name="語彙")


@pytest.fixture
def elsewhere() -> Project:
    return ProjectFactory(name="共同研究", organization=OrganizationFactory(name="別会社"))


def in_project(project: Project, role: Role = Role.VIEWER) -> User:
    return MembershipFactory(organization=project.organization, project=project, role=role).user


def in_organization(project: Project, role: Role = Role.VIEWER) -> User:
    return MembershipFactory(organization=project.organization, role=role).user


def sees(user: User, dataset: Dataset) -> bool:
    return Dataset.objects.visible_to(user).filter(pk=dataset.pk).exists()


def test_a_project_of_another_organization_reads_what_is_ready(
    dataset: Dataset, elsewhere: Project, member: User
) -> None:
    ready = DataFileFactory(dataset=dataset)
    DataFileFactory(dataset=dataset, state="uploading", ready_at=None, sha256="", created_by=member)
    DataFileFactory()  # of nobody we know
    people = {
        "in the project": in_project(elsewhere),
        "in its organization": in_organization(elsewhere),
        "with its bills": in_organization(elsewhere, Role.BILLING),
        "in another project": in_project(ProjectFactory(organization=elsewhere.organization)),
    }

    made = share(dataset, with_project=elsewhere, until=LATER, by=member)

    seen = {who: sorted(DataFile.objects.visible_to(user).values_list("pk", flat=True)) for who, user in people.items()}
    assert seen == {
        "in the project": [ready.pk],
        "in its organization": [ready.pk],
        "with its bills": [],
        "in another project": [],
    }
    assert {who: sees(user, dataset) for who, user in people.items()} == {who: bool(pks) for who, pks in seen.items()}
    assert list(Dataset.objects.attachable_to(elsewhere)) == [dataset]
    assert list(DataFile.objects.readable_in(elsewhere)) == [ready]
    assert (made.receiver, made.giver) == (f"別会社 ({elsewhere.code})", "株式会社ミライ言語研究所")


def test_the_whole_own_organization_reads_also_those_of_one_project(
    dataset: Dataset, project: Project, elsewhere: Project, member: User
) -> None:
    other = ProjectFactory(organization=project.organization)
    guest, stranger = in_project(other), in_project(elsewhere)
    before = sees(guest, dataset)

    made = share(dataset, with_project=None, until=None, by=member)

    assert (before, sees(guest, dataset), sees(stranger, dataset)) == (False, True, False)
    assert list(Dataset.objects.attachable_to(other)) == [dataset]
    assert list(Dataset.objects.attachable_to(elsewhere)) == []
    assert (made.receiver, made.giver, made.told_at is None) == ("株式会社ミライ言語研究所", "llm-jp-tuning", False)


def test_a_share_is_over_with_its_time_and_with_its_end(dataset: Dataset, elsewhere: Project, member: User) -> None:
    reader = in_project(elsewhere)
    made = share(dataset, with_project=elsewhere, until=timezone.now() + timedelta(hours=1), by=member)
    seen = [sees(reader, dataset)]
    DatasetShare.objects.update(until=timezone.now() - timedelta(seconds=1))
    seen.append(sees(reader, dataset))
    end(made, by=member)  # nothing happens: it is over
    made.refresh_from_db()
    assert (seen, made.ended_at) == ([True, False], None)

    again = share(dataset, with_project=elsewhere, until=LATER, by=member)
    end(again, by=member)
    end(again, by=member)

    made.refresh_from_db()
    again.refresh_from_db()
    assert (made.ended_at, made.ended_by, again.ended_by) == (made.until, None, member)
    assert (sees(reader, dataset), list(DataFile.objects.readable_in(elsewhere))) == (False, [])


def test_both_organizations_are_told_in_their_own_trails(dataset: Dataset, elsewhere: Project, member: User) -> None:
    made = share(dataset, with_project=elsewhere, until=LATER, by=member)
    share(dataset, with_project=elsewhere, until=LATER, by=member)  # a second click
    end(made, by=member)

    detail = {
        "name": "語彙",
        "from_project": dataset.project.code,
        "to_organization": elsewhere.organization.code,
        "to_project": elsewhere.code,
        "until": LATER.isoformat(),
    }
    told = {
        chain: list(AuditEvent.objects.filter(chain=chain).order_by("sequence").values_list("act", "actor", "detail"))
        for chain in (dataset.organization.code, elsewhere.organization.code)
    }
    expected = [(act, f"user:{member.pk}", detail) for act in ("dataset.shared", "dataset.share_ended")]
    assert told == {dataset.organization.code: expected, elsewhere.organization.code: expected}


def test_another_last_day_is_another_share_in_the_place_of_the_first(
    dataset: Dataset, elsewhere: Project, member: User
) -> None:
    share(dataset, with_project=elsewhere, until=LATER, by=member)
    share(dataset, with_project=elsewhere, until=LATER + timedelta(days=1), by=member)

    rows = DatasetShare.objects.order_by("pk").values_list("until", "ended_by")
    assert list(rows) == [(LATER, member.pk), (LATER + timedelta(days=1), None)]


def test_what_cannot_be_shared_so(dataset: Dataset, elsewhere: Project, member: User, viewer: User) -> None:
    receiver = in_project(elsewhere, Role.MANAGER)
    DatasetShareFactory(dataset=dataset, to_project=elsewhere)
    with pytest.raises(SharingRefused, match="最終日"):
        share(dataset, with_project=elsewhere, until=None, by=member)
    with pytest.raises(SharingRefused, match="すでに"):
        share(dataset, with_project=dataset.project, until=LATER, by=member)
    for nobody in (viewer, receiver):
        with pytest.raises(NotPermitted):
            share(dataset, with_project=ProjectFactory(), until=LATER, by=nobody)
    assert DatasetShare.objects.count() == 1


@pytest.mark.parametrize("missing", [{"until": None}, {"to_project": None}])
def test_the_database_holds_what_goes_outside_to_a_project_and_an_end(
    dataset: Dataset, elsewhere: Project, missing: dict[str, Any]
) -> None:
    to = {"to_project": elsewhere, "to_organization": elsewhere.organization, **missing}
    with pytest.raises(IntegrityError, match="share_outside_names_project_and_end"), transaction.atomic():
        DatasetShareFactory(dataset=dataset, **to)


def test_a_code_is_of_an_open_project_or_of_none(elsewhere: Project) -> None:
    closed = ProjectFactory(closed_at=timezone.now())
    assert [receiver_called(code) for code in (elsewhere.code, closed.code, "p-00000000")] == [elsewhere, None, None]


def test_the_receiving_managers_get_one_mail_in_their_language(
    dataset: Dataset, elsewhere: Project, member: User
) -> None:
    manager = in_project(elsewhere, Role.MANAGER)
    owner = in_organization(elsewhere, Role.OWNER)
    User.objects.filter(pk=owner.pk).update(language="en")
    in_project(elsewhere, Role.MEMBER)
    made = share(dataset, with_project=elsewhere, until=LATER, by=member)

    tasks.tell_of_share(made.pk)
    tasks.tell_of_share(made.pk)

    mails = {m.to[0]: (m.subject, f"/datasets/{dataset.code}/" in m.body) for m in mail.outbox}
    assert len(mail.outbox) == 2
    assert mails == {
        manager.email: ("株式会社ミライ言語研究所が「語彙」を共有しました", True),
        owner.email: ("株式会社ミライ言語研究所 shares “語彙” with you", True),
    }


def test_the_sweep_tells_of_shares_that_no_message_told_of(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    untold = DatasetShareFactory(dataset=dataset)
    DatasetShareFactory(told_at=timezone.now())
    DatasetShareFactory(ended_at=timezone.now())
    sent: list[int] = []
    monkeypatch.setattr(tasks.tell_of_share, "delay", sent.append)

    tasks.sweep()

    assert sent == [untold.pk]
