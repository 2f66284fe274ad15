"""Roles and permissions: the one table. Everything else asks `may`."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy


class Role(models.TextChoices):
    OWNER = "owner", pgettext_lazy("role", "Owner")
    MANAGER = "manager", pgettext_lazy("role", "Manager")
    MEMBER = "member", pgettext_lazy("role", "Member")
    VIEWER = "viewer", pgettext_lazy("role", "Viewer")
    BILLING = "billing", pgettext_lazy("role", "Billing")


class Permission(models.TextChoices):
    VIEW = "project.view", _("See jobs and data")
    SUBMIT = "job.submit", _("Create and stop own jobs")
    STOP_ANY = "job.stop_any", _("Stop other members' jobs")
    UPLOAD = "data.upload", _("Upload and delete data")
    VIEW_MONEY = "billing.view", _("See usage and cost")
    MANAGE_MONEY = "billing.manage", _("Set budgets")
    MANAGE_PROJECTS = "project.manage", _("Create, edit and close projects")
    MANAGE_MEMBERS = "member.manage", _("Invite people and change roles")
    MANAGE_ORGANIZATION = "org.manage", _("Edit the organization, hand it over")


_VIEWER = frozenset({Permission.VIEW, Permission.VIEW_MONEY})
_MEMBER = _VIEWER | {Permission.SUBMIT, Permission.UPLOAD}
_MANAGER = _MEMBER | {
    Permission.STOP_ANY,
    Permission.MANAGE_PROJECTS,
    Permission.MANAGE_MEMBERS,
    Permission.MANAGE_MONEY,
}

MATRIX: dict[Role, frozenset[Permission]] = {
    Role.OWNER: _MANAGER | {Permission.MANAGE_ORGANIZATION},
    Role.MANAGER: _MANAGER,
    Role.MEMBER: _MEMBER,
    Role.VIEWER: _VIEWER,
    # Accountants see money, not what the jobs do.
    Role.BILLING: frozenset({Permission.VIEW_MONEY, Permission.MANAGE_MONEY}),
}


def may(role: str | None, permission: Permission) -> bool:
    return role is not None and permission in MATRIX[Role(role)]


def covers(own: str, role: str) -> bool:
    """Whether `own` can do all that `role` can."""
    return MATRIX[Role(role)] <= MATRIX[Role(own)]


def may_give(own: str | None, role: str) -> bool:
    """Nobody gives, changes or takes away a role that can do more than their own."""
    return own is not None and may(own, Permission.MANAGE_MEMBERS) and covers(own, role)
