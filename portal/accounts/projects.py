"""Opening, editing, closing and reopening projects. A closed project takes no new jobs; what it has stays readable."""

from __future__ import annotations

from datetime import date

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from portal.accounts.access import require
from portal.accounts.membership import Refused, actor_of, lock
from portal.accounts.models import Organization, Project, User
from portal.accounts.roles import Permission
from portal.audit import recording


class NameTaken(Refused):
    message = _("Another project of the organization has this name. Choose a different one.")


@transaction.atomic
def create_project(
    organization: Organization, *, name: str, description: str = "", ends_on: date | None = None, by: User
) -> Project:
    """Raises NotPermitted, NameTaken."""
    organization = lock(organization)
    require(by, Permission.MANAGE_PROJECTS, organization)
    _require_free_name(organization, name)
    project = Project.objects.create(organization=organization, name=name, description=description, ends_on=ends_on)
    _record("project.created", project, by, name=name)
    return project


@transaction.atomic
def edit_project(project: Project, *, name: str, description: str, ends_on: date | None, by: User) -> None:
    """Raises NotPermitted, NameTaken."""
    lock(project.organization)
    require(by, Permission.MANAGE_PROJECTS, project)
    _require_free_name(project.organization, name, but=project)
    before = {"name": project.name, "ends_on": _written(project.ends_on)}
    project.name, project.description, project.ends_on = name, description, ends_on
    project.save(update_fields=["name", "description", "ends_on"])
    _record("project.edited", project, by, before=before, after={"name": name, "ends_on": _written(ends_on)})


@transaction.atomic
def close_project(project: Project, *, by: User) -> None:
    """Jobs that were accepted run to their end. Already closed: nothing happens. Raises NotPermitted."""
    require(by, Permission.MANAGE_PROJECTS, project)
    if Project.objects.filter(pk=project.pk, closed_at=None).update(closed_at=timezone.now()):
        _record("project.closed", project, by)


@transaction.atomic
def reopen_project(project: Project, *, by: User) -> None:
    """A last day in the past is taken away, or the project would stay closed. Raises NotPermitted."""
    require(by, Permission.MANAGE_PROJECTS, project)
    project = (
        Project.objects.select_for_update(of=("self",), no_key=True).select_related("organization").get(pk=project.pk)
    )
    if project.is_open:
        return
    project.closed_at = None
    if project.ends_on and project.ends_on < timezone.localdate():
        project.ends_on = None
    project.save(update_fields=["closed_at", "ends_on"])
    _record("project.reopened", project, by)


def _require_free_name(organization: Organization, name: str, *, but: Project | None = None) -> None:
    others = organization.projects.exclude(pk=but.pk) if but else organization.projects
    if others.filter(name=name).exists():
        raise NameTaken


def _record(act: str, project: Project, by: User, **detail: object) -> None:
    recording.record(act, f"project:{project.code}", actor=actor_of(by), chain=project.organization.code, detail=detail)


def _written(day: date | None) -> str | None:
    return day.isoformat() if day else None
