from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.auth.models import AnonymousUser
from django.utils import timezone

from portal.accounts.access import Access, NotPermitted, access_of, forget_access, require
from portal.accounts.models import Membership, Organization, Project, User
from portal.accounts.roles import Permission, Role
from tests.factories import MembershipFactory, ProjectFactory, UserFactory


@pytest.mark.parametrize(
    ("everywhere", "own", "role"),
    [
        (None, None, None),
        ("viewer", None, "viewer"),
        (None, "viewer", "viewer"),
        ("viewer", "manager", "manager"),
        ("owner", "viewer", "owner"),
        ("member", "member", "member"),
        ("billing", "member", "member"),  # neither can do all that the other can: the project's own
    ],
)
def test_the_role_in_a_project_is_the_stronger_of_two(
    everywhere: str | None, own: str | None, role: str | None
) -> None:
    organization = Organization(pk=1)
    project = Project(pk=7, organization=organization)
    access = Access({1: everywhere} if everywhere else {}, {7: own} if own else {}, frozenset({1}))
    assert (access.role_in(project), access.role_in(organization)) == (role, everywhere)


def test_what_the_two_roles_allow_adds_up_in_that_project_alone() -> None:
    organization = Organization(pk=1)
    own, other = Project(pk=7, organization=organization), Project(pk=8, organization=organization)
    access = Access({1: "billing"}, {7: "member"}, frozenset({1}))
    asked = (Permission.SUBMIT, Permission.MANAGE_MONEY, Permission.MANAGE_MEMBERS)
    assert [[access.may_in(place, permission) for permission in asked] for place in (own, other, organization)] == [
        [True, True, False],
        [False, True, False],
        [False, True, False],
    ]
    assert (access.organizations_with(Permission.VIEW), access.projects_with(Permission.VIEW)) == ([], [7])


def test_memberships_are_read_once_and_ended_ones_are_none(
    organization: Organization, project: Project, django_assert_num_queries: Callable[..., object]
) -> None:
    user = UserFactory()
    MembershipFactory(user=user, organization=organization, project=project, role=Role.VIEWER)
    MembershipFactory(user=user, organization=organization, expires_at=timezone.now())
    other = MembershipFactory(user=user, role=Role.OWNER).organization
    with django_assert_num_queries(1):
        found = [access_of(user), access_of(user)]
    assert (
        found
        == [Access({other.pk: "owner"}, {project.pk: "viewer"}, {organization.pk: organization, other.pk: other})] * 2
    )


def test_a_membership_of_today_ends_by_the_clock(member: User, organization: Organization) -> None:
    Membership.objects.filter(user=member).update(expires_at=timezone.now() + timedelta(hours=1))
    assert access_of(member).role_in(organization) == "member"
    Membership.objects.filter(user=member).update(expires_at=timezone.now() - timedelta(hours=1))
    forget_access(member)
    forget_access(member)
    assert access_of(member) == Access()


def test_nobody_and_people_who_may_not_sign_in_have_no_access(member: User) -> None:
    member.is_active = False
    assert (access_of(AnonymousUser()), access_of(member)) == (Access(), Access())


def test_require_says_which_permission_is_missing(viewer: User, project: Project, stranger: User) -> None:
    require(viewer, Permission.VIEW, project)
    for user, permission in (
        (viewer, Permission.SUBMIT),
        (stranger, Permission.VIEW),
        (AnonymousUser(), Permission.VIEW),
    ):
        with pytest.raises(NotPermitted) as refused:
            require(user, permission, project)
        assert refused.value.permission is permission


def test_a_project_of_another_organization_is_not_reached(owner: User) -> None:
    assert access_of(owner).may_in(ProjectFactory(), Permission.VIEW) is False
