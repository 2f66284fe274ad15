from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
import time_machine
from django.db import IntegrityError, transaction
from django.utils import timezone

from portal.accounts.models import Invitation, Membership, Organization, Project, User
from portal.accounts.roles import Role
from tests.factories import MembershipFactory, ProjectFactory

NEW_YEAR = datetime(2026, 12, 31, 15, tzinfo=UTC)  # midnight in Japan


@pytest.mark.parametrize(
    ("family", "given", "shown"),
    [
        ("山田", "花子", "山田 花子"),
        ("Yamada", "Hanako", "Hanako Yamada"),
        ("やまだ", "Hanako", "やまだ Hanako"),
        ("", "Hanako", "Hanako"),
        ("山田", "", "山田"),
        ("", "", "a@example.jp"),
    ],
)
def test_a_name_is_said_in_the_order_of_its_letters(family: str, given: str, shown: str) -> None:
    assert str(User(email="a@example.jp", family_name=family, given_name=given)) == shown


def test_addresses_are_stored_in_lower_case_once(db: None) -> None:
    user = User.objects.create_user(" Taro@Example.JP ")
    assert (user.email, user.has_usable_password()) == ("taro@example.jp", False)
    with pytest.raises(IntegrityError):
        User.objects.create_user("TARO@example.jp")


def test_a_project_is_open_through_its_last_day_in_japan(organization: Organization) -> None:
    ends = ProjectFactory(organization=organization, ends_on=date(2026, 12, 31))
    endless = ProjectFactory(organization=organization)
    ProjectFactory(organization=organization, closed_at=NEW_YEAR - timedelta(days=9))
    found = []
    for at in (NEW_YEAR - timedelta(seconds=1), NEW_YEAR):
        with time_machine.travel(at, tick=False):
            found.append(
                (set(Project.objects.open()), {project for project in Project.objects.all() if project.is_open})
            )
    assert found == [({ends, endless}, {ends, endless}), ({endless}, {endless})]


def test_a_membership_counts_until_its_end_and_not_at_it(db: None) -> None:
    row = MembershipFactory(expires_at=NEW_YEAR)
    found = []
    for at in (NEW_YEAR - timedelta(seconds=1), NEW_YEAR):
        with time_machine.travel(at, tick=False):
            found.append((row.is_active, Membership.objects.active().exists()))
    assert (found, row.last_day) == ([(True, True), (False, False)], date(2026, 12, 31))


def test_owners_are_those_who_can_act_today(organization: Organization, owner: User) -> None:
    MembershipFactory(organization=organization, role=Role.OWNER, user__is_active=False)
    MembershipFactory(organization=organization, role=Role.MANAGER)
    assert [row.user for row in Membership.objects.filter(organization=organization).owners()] == [owner]


@pytest.mark.parametrize("rule", ["twice", "owner of a project", "owner with a last day"])
def test_the_database_keeps_the_rules_of_membership(rule: str, project: Project, member: User) -> None:
    row = {
        "twice": Membership(user=member, organization=project.organization, role=Role.VIEWER),
        "owner of a project": Membership(
            user=member, organization=project.organization, project=project, role=Role.OWNER
        ),
        "owner with a last day": Membership(
            user=member, organization=ProjectFactory().organization, role=Role.OWNER, expires_at=NEW_YEAR
        ),
    }[rule]
    with pytest.raises(IntegrityError), transaction.atomic():
        row.save()


def test_what_is_not_yours_does_not_exist(organization: Organization, project: Project, stranger: User) -> None:
    other = ProjectFactory(organization=organization)
    guest = MembershipFactory(organization=organization, project=project, role=Role.VIEWER).user
    colleague = MembershipFactory(organization=organization, role=Role.VIEWER).user
    assert set(Project.objects.visible_to(guest)) == {project}
    assert set(Project.objects.visible_to(colleague)) == {project, other}
    assert organization not in Organization.objects.visible_to(stranger)
    assert set(Organization.objects.visible_to(guest)) == {organization}
    assert {row.user for row in Membership.objects.visible_to(guest)} == {guest}
    assert {row.user for row in Membership.objects.visible_to(colleague)} == {guest, colleague}


def test_invitations_are_seen_by_those_who_may_invite_there(
    organization: Organization, project: Project, manager: User, member: User, stranger: User
) -> None:
    lead = MembershipFactory(organization=organization, project=project, role=Role.MANAGER).user
    rows = [
        Invitation.objects.create(
            organization=organization,
            project=place,
            email="a@example.jp",
            role="member",
            token_digest=str(number),
            invited_by=manager,
            expires_at=timezone.now() + timedelta(days=1),
        )
        for number, place in enumerate((None, project))
    ]
    seen = [set(Invitation.objects.visible_to(user)) for user in (manager, lead, member, stranger)]
    assert seen == [set(rows), {rows[1]}, set(), set()]


@pytest.mark.parametrize(
    ("changes", "is_open"),
    [
        ({}, True),
        ({"accepted_at": NEW_YEAR}, False),
        ({"revoked_at": NEW_YEAR}, False),
        ({"expires_at": NEW_YEAR}, False),
    ],
)
def test_an_invitation_is_open_by_row_as_by_query(
    organization: Organization, manager: User, changes: dict[str, datetime], is_open: bool
) -> None:
    with time_machine.travel(NEW_YEAR, tick=False):
        given = {
            "email": "a@example.jp",
            "role": "member",
            "token_digest": "x",
            "expires_at": NEW_YEAR + timedelta(days=1),
        }
        row = Invitation.objects.create(organization=organization, invited_by=manager, **{**given, **changes})  # type: ignore[misc]
        assert (row.is_open, Invitation.objects.open().exists()) == (is_open, is_open)
