"""What one person may see and do, in one query per request.

Views begin with `Model.objects.visible_to(user)`: what is not yours does not exist (404). Then `require` for the act.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import PermissionDenied

from portal.accounts.models import Membership, Organization, Project, User
from portal.accounts.roles import Permission, covers, may


class NotPermitted(PermissionDenied):
    """Your role in this project does not allow that."""

    def __init__(self, permission: Permission) -> None:
        super().__init__(permission.value)
        self.permission = permission


@dataclass(frozen=True)
class Access:
    """Roles by the primary keys they hold in."""

    by_organization: dict[int, str] = field(default_factory=dict)
    by_project: dict[int, str] = field(default_factory=dict)
    organizations: dict[int, Organization] = field(default_factory=dict)  # all the person belongs to in any way

    def role_in(self, place: Organization | Project) -> str | None:
        """For a project the stronger of its own role and the organization's; what the two allow adds up (`may_in`)."""
        if isinstance(place, Organization):
            return self.by_organization.get(place.pk)
        own, everywhere = self.by_project.get(place.pk), self.by_organization.get(place.organization_id)
        if own and everywhere and covers(everywhere, own):
            return everywhere
        return own or everywhere

    def may_in(self, place: Organization | Project, permission: Permission) -> bool:
        if isinstance(place, Organization):
            return may(self.by_organization.get(place.pk), permission)
        return may(self.by_project.get(place.pk), permission) or may(
            self.by_organization.get(place.organization_id), permission
        )

    def organizations_with(self, permission: Permission) -> list[int]:
        return [pk for pk, role in self.by_organization.items() if may(role, permission)]

    def projects_with(self, permission: Permission) -> list[int]:
        """Projects where a project membership gives it; those of `organizations_with` come on top."""
        return [pk for pk, role in self.by_project.items() if may(role, permission)]


def access_of(user: User | AnonymousUser) -> Access:
    """Read once per user object, so once per request."""
    if not user.is_authenticated or not user.is_active:
        return Access()
    known: Access | None = getattr(user, "_access", None)
    if known is None:
        by_organization: dict[int, str] = {}
        by_project: dict[int, str] = {}
        organizations: dict[int, Organization] = {}
        rows = Membership.objects.filter(user=user).active().select_related("organization")
        for membership in rows.only("project_id", "role", "organization"):
            organizations[membership.organization_id] = membership.organization
            if membership.project_id is None:
                by_organization[membership.organization_id] = membership.role
            else:
                by_project[membership.project_id] = membership.role
        known = Access(by_organization, by_project, organizations)
        user._access = known  # type: ignore[attr-defined]
    return known


def forget_access(user: User) -> None:
    """Call after changing somebody's memberships within a request."""
    if hasattr(user, "_access"):
        del user._access


def require(user: User | AnonymousUser, permission: Permission, place: Organization | Project) -> None:
    """Raises NotPermitted (403)."""
    if not access_of(user).may_in(place, permission):
        raise NotPermitted(permission)
