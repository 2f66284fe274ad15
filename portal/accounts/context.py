"""What every page shows of the person: where they are, where they could go, what they may do. Two queries at most."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject
from structlog.contextvars import get_contextvars

from portal.accounts.access import access_of
from portal.accounts.desk import has_desk
from portal.accounts.models import Organization, Project
from portal.accounts.roles import Permission, Role


@dataclass(frozen=True)
class Place:
    """An organization the person belongs to, with the projects they can see in it."""

    organization: Organization
    projects: list[Project] = field(default_factory=list)

    @property
    def code(self) -> str:
        return self.organization.code

    @property
    def name(self) -> str:
        return self.organization.name


@dataclass(frozen=True)
class Current:
    """Where the person works now. Everything is None or empty for somebody signed out or without an organization."""

    organization: Organization | None = None
    project: Project | None = None
    organizations: list[Place] = field(default_factory=list)
    can: frozenset[str] = frozenset()
    role_label: str = ""

    @property
    def projects(self) -> list[Project]:
        for place in self.organizations:
            if place.organization == self.organization:
                return place.projects
        return []


def current_of(request: HttpRequest) -> Current:
    """Read once per request. The choice is kept in the session as codes and checked against today's memberships."""
    known: Current | None = getattr(request, "_current", None)
    if known is None:
        known = _read(request)
        request._current = known  # type: ignore[attr-defined]
    return known


def forget_current(request: HttpRequest) -> None:
    """Call after changing the person's memberships or choice within a request."""
    if hasattr(request, "_current"):
        del request._current


def choose(request: HttpRequest, *, organization: Organization, project: Project | None) -> None:
    request.session["organization"] = organization.code
    request.session["project"] = project.code if project else ""
    forget_current(request)


def _read(request: HttpRequest) -> Current:
    access = access_of(request.user)
    if not access.organizations:
        return Current()
    organizations = sorted(access.organizations.values(), key=lambda o: (o.name, o.pk))
    places = {organization.pk: Place(organization) for organization in organizations}
    for project in Project.objects.open().filter(organization__in=places).order_by("name", "pk"):
        project.organization = access.organizations[project.organization_id]
        if access.role_in(project) is not None:
            places[project.organization_id].projects.append(project)
    by_code = {place.code: place for place in places.values()}
    place = by_code.get(request.session.get("organization", "")) or next(iter(places.values()))
    wanted = request.session.get("project", "")
    chosen = next((p for p in place.projects if p.code == wanted), None)
    if chosen is None and len(place.projects) == 1:
        chosen = place.projects[0]
    where = chosen or place.organization
    role = access.role_in(where)
    return Current(
        organization=place.organization,
        project=chosen,
        organizations=list(places.values()),
        can=frozenset(p.value for p in Permission if access.may_in(where, p)),
        role_label=str(Role(role).label) if role else "",
    )


def current(request: HttpRequest) -> dict[str, Any]:
    """Context processor."""
    theme = request.COOKIES.get("theme", "auto")
    return {
        "current": SimpleLazyObject(lambda: current_of(request)),
        "has_desk": SimpleLazyObject(lambda: has_desk(request.user)),
        "theme": theme if theme in ("light", "dark") else "auto",
        "request_id": get_contextvars().get("request_id", ""),
    }
