from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from portal.accounts.access import NotPermitted
from portal.accounts.models import Organization, Project, User
from portal.accounts.projects import NameTaken, close_project, create_project, edit_project, reopen_project
from portal.audit.models import AuditEvent
from tests.factories import ProjectFactory


def told() -> list[tuple[str, str, dict[str, object]]]:
    return list(AuditEvent.objects.order_by("sequence").values_list("act", "actor", "detail"))


def test_creating_makes_a_project_and_tells_who_did(organization: Organization, manager: User) -> None:
    day = timezone.localdate() + timedelta(days=30)
    made = create_project(organization, name="検証", description="d", ends_on=day, by=manager)
    assert Project.objects.get() == made
    assert (made.name, made.description, made.ends_on, made.is_open) == ("検証", "d", day, True)
    assert told() == [("project.created", f"user:{manager.pk}", {"name": "検証"})]


def test_one_name_is_one_project_of_an_organization(project: Project, manager: User) -> None:
    other = ProjectFactory(organization=project.organization, name="b")
    ProjectFactory(name="c")  # somebody else's
    with pytest.raises(NameTaken):
        create_project(project.organization, name=project.name, by=manager)
    with pytest.raises(NameTaken):
        edit_project(other, name=project.name, description="", ends_on=None, by=manager)
    create_project(project.organization, name="c", by=manager)
    assert [act for act, _actor, _detail in told()] == ["project.created"]


def test_editing_keeps_the_name_or_changes_it_and_tells_both(project: Project, manager: User) -> None:
    day = timezone.localdate()
    edit_project(project, name=project.name, description="new", ends_on=day, by=manager)
    project.refresh_from_db()
    assert (project.description, project.ends_on) == ("new", day)
    before, after = {"name": "llm-jp-tuning", "ends_on": None}, {"name": "llm-jp-tuning", "ends_on": day.isoformat()}
    assert told() == [("project.edited", f"user:{manager.pk}", {"before": before, "after": after})]


def test_closing_twice_is_told_once(project: Project, manager: User) -> None:
    close_project(project, by=manager)
    first = Project.objects.get().closed_at
    close_project(project, by=manager)
    assert (first is not None, Project.objects.get().closed_at) == (True, first)
    assert [act for act, _actor, _detail in told()] == ["project.closed"]


def test_reopening_takes_away_a_last_day_that_has_passed_and_no_other(project: Project, manager: User) -> None:
    today = timezone.localdate()
    kept = []
    for ends_on in (today - timedelta(days=1), today):
        Project.objects.filter(pk=project.pk).update(ends_on=ends_on, closed_at=timezone.now())
        reopen_project(project, by=manager)
        found = Project.objects.get()
        kept.append((found.is_open, found.ends_on))
    reopen_project(project, by=manager)  # is open: nothing happens
    assert kept == [(True, None), (True, today)]
    assert [act for act, _actor, _detail in told()] == ["project.reopened", "project.reopened"]


@pytest.mark.parametrize("role", ["member", "viewer", "billing", "stranger"])
def test_those_who_do_not_manage_projects_change_nothing(
    request: pytest.FixtureRequest, project: Project, role: str
) -> None:
    by = request.getfixturevalue(role)
    for act in (
        lambda: create_project(project.organization, name="x", by=by),
        lambda: edit_project(project, name="x", description="", ends_on=None, by=by),
        lambda: close_project(project, by=by),
        lambda: reopen_project(project, by=by),
    ):
        with pytest.raises(NotPermitted):
            act()
    found = Project.objects.get(organization=project.organization)
    assert (found.name, found.closed_at, told()) == ("llm-jp-tuning", None, [])
