from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest
from django.test import RequestFactory
from django.utils import timezone

from portal.accounts.context import Current, choose, current, current_of, forget_current
from portal.accounts.models import Organization, Project, User
from portal.accounts.roles import MATRIX, Permission, Role
from tests.factories import MembershipFactory, ProjectFactory, UserFactory


def ask(user: User | AnonymousUser, cookie: str = "", **session: str) -> HttpRequest:
    request = RequestFactory().get("/", headers={"Cookie": cookie})
    request.user, request.session = user, session  # type: ignore[assignment]
    return request


def test_somebody_without_an_organization_is_nowhere(db: None) -> None:
    assert [current_of(ask(user)) for user in (AnonymousUser(), UserFactory())] == [Current(), Current()]


def test_the_only_project_is_chosen_by_itself(member: User, organization: Organization, project: Project) -> None:
    found = current_of(ask(member))
    assert (found.organization, found.project, found.projects, found.can, found.role_label) == (
        organization,
        project,
        [project],
        frozenset(permission.value for permission in MATRIX[Role.MEMBER]),
        str(Role.MEMBER.label),
    )


def test_of_several_projects_none_is_chosen_until_the_person_does(member: User, project: Project) -> None:
    second = ProjectFactory(organization=project.organization, name="b")
    request = ask(member)
    before = current_of(request).project
    choose(request, organization=project.organization, project=second)
    chosen = current_of(request).project
    choose(request, organization=project.organization, project=None)
    assert (before, chosen, current_of(request).project) == (None, second, None)
    assert request.session == {"organization": project.organization.code, "project": ""}


def test_a_choice_that_is_no_longer_allowed_falls_back(member: User, project: Project, stranger: User) -> None:
    theirs = Project.objects.exclude(pk=project.pk).get()
    found = current_of(ask(member, organization=theirs.organization.code, project=theirs.code))
    assert (found.organization, found.project) == (project.organization, project)


def test_closed_projects_cannot_be_chosen(member: User, project: Project) -> None:
    Project.objects.filter(pk=project.pk).update(closed_at=timezone.now())
    found = current_of(ask(member, project=project.code))
    assert (found.organization, found.project, found.projects) == (project.organization, None, [])


def test_a_guest_of_one_project_sees_that_one_alone(organization: Organization, project: Project) -> None:
    ProjectFactory(organization=organization)
    guest = MembershipFactory(organization=organization, project=project, role=Role.VIEWER).user
    found = current_of(ask(guest))
    assert [(place.name, place.code, place.projects) for place in found.organizations] == [
        (organization.name, organization.code, [project])
    ]
    assert found.can == {Permission.VIEW, Permission.VIEW_MONEY}


def test_it_is_read_once_in_two_questions(
    member: User, project: Project, django_assert_num_queries: Callable[..., Any]
) -> None:
    request = ask(member)
    with django_assert_num_queries(2):
        first = current_of(request)
        assert current_of(request) is first
    forget_current(request)
    assert current_of(request) is not first


@pytest.mark.parametrize(
    ("cookie", "theme"), [("", "auto"), ("theme=dark", "dark"), ("theme=light", "light"), ("theme=<b>", "auto")]
)
def test_the_theme_is_one_of_three(cookie: str, theme: str) -> None:
    # No `db` fixture: pages that ask nothing of the person ask nothing of the database.
    assert current(ask(AnonymousUser(), cookie))["theme"] == theme
