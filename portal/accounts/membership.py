"""Founding an organization, changing a member, leaving, handing over: who belongs where, and as what.

Each act locks the organization first, so that two people cannot take away the last owner at the same moment, and reads
the actor's own role under that lock, never from the request.
"""

from __future__ import annotations

from datetime import datetime

from django.db import transaction
from django.db.models import Q
from django.utils import timezone, translation
from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from portal.accounts.access import NotPermitted, forget_access
from portal.accounts.models import Membership, Organization, Project, User
from portal.accounts.roles import Permission, Role, may_give
from portal.audit import recording


class Refused(Exception):
    """The rules of membership forbid it; str() is the sentence that the person reads. Nothing was changed."""

    message: str | Promise = ""

    def __str__(self) -> str:
        return str(self.message)


class AlreadyMember(Refused):
    message = _("You already belong to an organization.")


class AboveOwnRole(Refused):
    message = _("This role can do more than yours. Ask an owner of the organization.")


class LastOwner(Refused):
    message = _("An organization needs an owner. Hand over ownership or make somebody else an owner first.")


class OwnerHasNoLastDay(Refused):
    message = _("An owner's membership has no last day. Choose another role or leave the date empty.")


class OwnerOfProject(Refused):
    message = _("Owners belong to the whole organization. Choose another role for one project.")


class NotAMember(Refused):
    message = _("This person does not belong to the whole organization. Choose somebody from the list.")


@transaction.atomic
def found_organization(user: User, *, name: str, kind: str) -> Organization:
    """Organization, first project in the person's language, and the person as owner.

    Raises AlreadyMember, also for the second of two submits. The trial credit is the caller's to give, in the same
    transaction: money stands above this app.
    """
    User.objects.select_for_update().get(pk=user.pk)
    if Membership.objects.filter(user=user).active().exists():
        raise AlreadyMember
    organization = Organization.objects.create(name=name, kind=kind)
    with translation.override(user.language):
        project = Project.objects.create(organization=organization, name=gettext("First project"))
    Membership.objects.create(user=user, organization=organization, role=Role.OWNER)
    forget_access(user)
    recording.record(
        "organization.founded",
        f"organization:{organization.code}",
        actor=actor_of(user),
        chain=organization.code,
        detail={"name": name, "kind": kind, "project": project.code},
    )
    return organization


@transaction.atomic
def edit_organization(organization: Organization, *, name: str, kind: str, by: User) -> None:
    organization = lock(organization)
    before = {"name": organization.name, "kind": organization.kind}
    organization.name, organization.kind = name, kind
    organization.save(update_fields=["name", "kind"])
    recording.record(
        "organization.edited",
        f"organization:{organization.code}",
        actor=actor_of(by),
        chain=organization.code,
        detail={"before": before, "after": {"name": name, "kind": kind}},
    )


@transaction.atomic
def change_member(membership: Membership, *, role: str, expires_at: datetime | None, by: User) -> None:
    """Raises NotPermitted, AboveOwnRole, LastOwner, OwnerHasNoLastDay, OwnerOfProject."""
    lock(membership.organization)
    membership = Membership.objects.select_related("organization", "project", "user").get(pk=membership.pk)
    require_power(by, membership.organization, membership.project, over=(membership.role, role))
    if role == Role.OWNER and membership.project:
        raise OwnerOfProject
    if role == Role.OWNER and expires_at:
        raise OwnerHasNoLastDay
    if role != Role.OWNER:
        _require_other_owner(membership)
    before = {"role": membership.role, "expires_at": _written(membership.expires_at)}
    membership.role, membership.expires_at = role, expires_at
    membership.save(update_fields=["role", "expires_at"])
    _record("member.changed", membership, by, before=before, after={"role": role, "expires_at": _written(expires_at)})


@transaction.atomic
def remove_member(membership: Membership, *, by: User) -> None:
    """Raises NotPermitted, AboveOwnRole, LastOwner."""
    lock(membership.organization)
    membership = Membership.objects.select_related("organization", "project", "user").get(pk=membership.pk)
    require_power(by, membership.organization, membership.project, over=(membership.role,))
    _require_other_owner(membership)
    _record("member.removed", membership, by, role=membership.role)
    membership.delete()


@transaction.atomic
def leave(organization: Organization, *, by: User) -> None:
    """Ends every membership of the person there, those in single projects too. Raises LastOwner."""
    lock(organization)
    mine = Membership.objects.filter(user=by, organization=organization).select_related("organization", "project")
    for membership in mine:
        _require_other_owner(membership)
        _record("member.left", membership, by, role=membership.role)
        membership.delete()
    forget_access(by)


@transaction.atomic
def hand_over(organization: Organization, *, to: User, by: User) -> None:
    """`to` becomes owner, `by` a manager. Raises NotPermitted, NotAMember."""
    organization = lock(organization)
    here = Membership.objects.filter(organization=organization, project=None).active()
    old = here.filter(user=by, role=Role.OWNER).first()
    if old is None:
        raise NotPermitted(Permission.MANAGE_ORGANIZATION)
    new = here.filter(user=to, user__is_active=True).exclude(user=by).first()
    if new is None:
        raise NotAMember
    new.role, new.expires_at = Role.OWNER, None
    new.save(update_fields=["role", "expires_at"])
    old.role = Role.MANAGER
    old.save(update_fields=["role"])
    forget_access(by)
    recording.record(
        "organization.handed_over",
        f"organization:{organization.code}",
        actor=actor_of(by),
        chain=organization.code,
        detail={"to": f"user:{to.pk}"},
    )


@transaction.atomic
def edit_person(user: User, *, family_name: str, given_name: str, language: str) -> None:
    user.family_name, user.given_name, user.language = family_name, given_name, language
    user.save(update_fields=["family_name", "given_name", "language"])
    recording.record("person.edited", actor_of(user), actor=actor_of(user))


def lock(organization: Organization) -> Organization:
    return Organization.objects.select_for_update(no_key=True).get(pk=organization.pk)


def require_power(by: User, organization: Organization, project: Project | None, *, over: tuple[str, ...]) -> None:
    """Whether `by` may give and take all these roles there, today. Raises NotPermitted, AboveOwnRole."""
    places = Q(project=None) | Q(project=project) if project else Q(project=None)
    own = Membership.objects.filter(places, user=by, organization=organization).active().values_list("role", flat=True)
    if any(all(may_give(role, wanted) for wanted in over) for role in own):
        return
    if any(may_give(role, Role.VIEWER) for role in own):
        raise AboveOwnRole
    raise NotPermitted(Permission.MANAGE_MEMBERS)


def actor_of(user: User) -> str:
    return f"user:{user.pk}"


def _require_other_owner(membership: Membership) -> None:
    """Only when this one is an owner's."""
    if membership.role != Role.OWNER:
        return
    if not Membership.objects.filter(organization=membership.organization).owners().exclude(pk=membership.pk).exists():
        raise LastOwner


def _record(act: str, membership: Membership, by: User, **detail: object) -> None:
    recording.record(
        act,
        f"user:{membership.user_id}",
        actor=actor_of(by),
        chain=membership.organization.code,
        detail={**detail, "project": membership.project.code if membership.project else None},
    )


def _written(instant: datetime | None) -> str | None:
    return instant.astimezone(timezone.get_default_timezone()).isoformat() if instant else None
