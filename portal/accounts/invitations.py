"""Asking an e-mail address in: made, sent again, withdrawn, accepted. The link's token leaves by mail, unstored."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta

from allauth.account.models import EmailAddress
from django.conf import settings
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from portal.accounts.access import NotPermitted, forget_access
from portal.accounts.membership import OwnerOfProject, Refused, actor_of, lock, require_power
from portal.accounts.models import Invitation, Membership, Organization, Project, User
from portal.accounts.roles import Role, covers
from portal.audit import recording

MAX_OPEN = 100  # per organization: the list stays on one page, and a stolen login cannot mail the world


class TooManyOpen(Refused):
    message = _("100 invitations are open. Withdraw some or wait until they are accepted.")


class AlreadyHere(Refused):
    message = _("This person is already a member there. Change the role in the list of members.")


class AlreadyInvited(Refused):
    message = _("This address already has an open invitation there. Send it again from the list of members.")


class Gone(Refused):
    """The invitation can no longer be accepted."""


class Used(Gone):
    message = _("This invitation was already used. If you used it, sign in and choose the organization at the top.")


class Withdrawn(Gone):
    message = _("This invitation was withdrawn. Ask the person who invited you for a new one.")


class Expired(Gone):
    message = _("This invitation has expired. Ask the person who invited you for a new one.")


class ForAnotherAddress(Refused):
    message = _("This invitation is for another e-mail address. Sign out and sign in with the address it was sent to.")


@transaction.atomic
def invite(
    organization: Organization, *, email: str, role: str, project: Project | None = None, by: User
) -> tuple[Invitation, str]:
    """The invitation and the token for its link.

    Raises NotPermitted, AboveOwnRole, OwnerOfProject, AlreadyHere, AlreadyInvited, TooManyOpen.
    """
    lock(organization)
    require_power(by, organization, project, over=(role,))
    if project and role == Role.OWNER:
        raise OwnerOfProject
    there = {"organization": organization, "project": project}
    addresses = EmailAddress.objects.filter(email=email, verified=True)
    if Membership.objects.filter(user__in=addresses.values("user"), **there).active().exists():
        raise AlreadyHere
    if Invitation.objects.open().filter(email=email, **there).exists():
        raise AlreadyInvited
    if Invitation.objects.open().filter(organization=organization).count() >= MAX_OPEN:
        raise TooManyOpen
    token = secrets.token_urlsafe(32)
    invitation = Invitation.objects.create(
        email=email, role=role, token_digest=_digest(token), invited_by=by, expires_at=_deadline(), **there
    )
    _record("invitation.sent", invitation, by)
    return invitation, token


@transaction.atomic
def renew(invitation: Invitation, *, by: User) -> str:
    """A new token and a new deadline; the old link ends. Raises NotPermitted, AboveOwnRole, Used, Withdrawn."""
    invitation = _locked(invitation.pk)
    require_power(by, invitation.organization, invitation.project, over=(invitation.role,))
    if invitation.accepted_at:
        raise Used
    if invitation.revoked_at:
        raise Withdrawn
    token = secrets.token_urlsafe(32)
    invitation.token_digest, invitation.expires_at, invitation.invited_by = _digest(token), _deadline(), by
    invitation.save(update_fields=["token_digest", "expires_at", "invited_by"])
    _record("invitation.sent_again", invitation, by)
    return token


@transaction.atomic
def withdraw(invitation: Invitation, *, by: User) -> None:
    """Already withdrawn: nothing happens. Raises NotPermitted, AboveOwnRole, Used."""
    invitation = _locked(invitation.pk)
    require_power(by, invitation.organization, invitation.project, over=(invitation.role,))
    if invitation.accepted_at:
        raise Used
    if invitation.revoked_at:
        return
    invitation.revoked_at = timezone.now()
    invitation.save(update_fields=["revoked_at"])
    _record("invitation.withdrawn", invitation, by)


def find(token: str) -> Invitation | None:
    found = Invitation.objects.select_related("organization", "project", "invited_by")
    return found.filter(token_digest=_digest(token)).first()


def require_open(invitation: Invitation) -> None:
    """Raises Used, Withdrawn, Expired."""
    if invitation.accepted_at:
        raise Used
    if invitation.revoked_at or not _inviter_may_still(invitation):
        raise Withdrawn
    if not invitation.is_open:
        raise Expired


def is_for(invitation: Invitation, user: User) -> bool:
    own = EmailAddress.objects.filter(user=user, email=invitation.email, verified=True)
    return bool(own.exists())


@transaction.atomic
def accept(invitation: Invitation, *, by: User) -> Membership:
    """Raises Used, Withdrawn, Expired, ForAnotherAddress. A stronger role that the person has there already stays."""
    lock(invitation.organization)
    invitation = _locked(invitation.pk)
    require_open(invitation)
    if not is_for(invitation, by):
        raise ForAnotherAddress
    membership, made = Membership.objects.get_or_create(
        user=by,
        organization=invitation.organization,
        project=invitation.project,
        defaults={"role": invitation.role},
    )
    if not made and not (membership.is_active and covers(membership.role, invitation.role)):
        membership.role, membership.expires_at = invitation.role, None
        membership.save(update_fields=["role", "expires_at"])
    invitation.accepted_at, invitation.accepted_by = timezone.now(), by
    invitation.save(update_fields=["accepted_at", "accepted_by"])
    forget_access(by)
    _record("invitation.accepted", invitation, by)
    return membership


def _locked(pk: int) -> Invitation:
    rows = Invitation.objects.select_for_update(of=("self",)).select_related("organization", "project", "invited_by")
    return rows.get(pk=pk)


def _inviter_may_still(invitation: Invitation) -> bool:
    """Somebody who was removed or lost the role does not go on letting people in."""
    try:
        require_power(invitation.invited_by, invitation.organization, invitation.project, over=(invitation.role,))
    except (NotPermitted, Refused):
        return False
    return bool(invitation.invited_by.is_active)


def _deadline() -> datetime:
    return timezone.now() + timedelta(days=settings.INVITATION_DAYS)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _record(act: str, invitation: Invitation, by: User) -> None:
    recording.record(
        act,
        f"invitation:{invitation.pk}",
        actor=actor_of(by),
        chain=invitation.organization.code,
        detail={"role": invitation.role, "project": invitation.project.code if invitation.project else None},
    )
