from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from portal.accounts.roles import Permission, Role
from portal.core.identifiers import organization_code, project_code

LANGUAGES = [("ja", "日本語"), ("en", "English")]  # each in its own words


class UserManager(BaseUserManager["User"]):
    def create_user(self, email: str, password: str | None = None, **fields: Any) -> User:
        user = self.model(email=email.strip().lower(), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user


class User(AbstractBaseUser):
    """One person, one login, many memberships. The e-mail address is stored in lower case."""

    email = models.EmailField(_("E-mail address"), unique=True)
    family_name = models.CharField(_("Family name"), max_length=50, blank=True)
    given_name = models.CharField(_("Given name"), max_length=50, blank=True)
    language = models.CharField(_("Language"), max_length=5, default="ja", choices=LANGUAGES)
    is_staff = models.BooleanField(default=False)
    is_active = models.BooleanField(default=True)
    date_joined = models.DateTimeField(default=timezone.now)

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: list[str] = []  # type: ignore[misc]
    objects = UserManager()

    def __str__(self) -> str:
        return self.get_full_name() or self.email

    def get_full_name(self) -> str:
        """Family name first where it is written in kanji or kana, given name first in Latin letters."""
        names = [self.family_name, self.given_name]
        if (self.family_name + self.given_name).isascii():
            names.reverse()
        return " ".join(n for n in names if n)

    def get_short_name(self) -> str:
        return self.get_full_name()


class OrganizationKind(models.TextChoices):
    STARTUP = "startup", _("Startup")
    COMPANY = "company", _("Company")
    UNIVERSITY = "university", _("University or research institute")
    INDIVIDUAL = "individual", _("Individual")


class OrganizationQuerySet(models.QuerySet["Organization"]):
    def visible_to(self, user: User) -> OrganizationQuerySet:
        from portal.accounts.access import access_of

        return self.filter(pk__in=access_of(user).organizations)


class Organization(models.Model):
    """Legal body that contracts and is invoiced."""

    code = models.CharField(max_length=16, unique=True, default=organization_code, editable=False)
    name = models.CharField(_("Organization name"), max_length=100)
    kind = models.CharField(_("Kind"), max_length=12, choices=OrganizationKind.choices)
    created_at = models.DateTimeField(default=timezone.now)

    objects = OrganizationQuerySet.as_manager()

    def __str__(self) -> str:
        return self.name


class ProjectQuerySet(models.QuerySet["Project"]):
    def visible_to(self, user: User) -> ProjectQuerySet:
        """Every project the person has any role in, closed ones too."""
        from portal.accounts.access import access_of

        access = access_of(user)
        return self.filter(Q(organization__in=access.by_organization) | Q(pk__in=access.by_project))

    def open(self, on: date | None = None) -> ProjectQuerySet:
        today = on or timezone.localdate()
        return self.filter(Q(closed_at=None) & (Q(ends_on=None) | Q(ends_on__gte=today)))


class Project(models.Model):
    """Where people, jobs, data and money meet."""

    code = models.CharField(max_length=16, unique=True, default=project_code, editable=False)
    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="projects")
    name = models.CharField(_("Project name"), max_length=60)
    description = models.CharField(_("Description"), max_length=300, blank=True)
    ends_on = models.DateField(_("Last day"), null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    closed_at = models.DateTimeField(null=True, blank=True)

    objects = ProjectQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organization", "name"], name="project_name_once_per_organization")
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_open(self) -> bool:
        return self.closed_at is None and (self.ends_on is None or self.ends_on >= timezone.localdate())


class MembershipQuerySet(models.QuerySet["Membership"]):
    def active(self) -> MembershipQuerySet:
        return self.filter(Q(expires_at=None) | Q(expires_at__gt=timezone.now()))

    def visible_to(self, user: User) -> MembershipQuerySet:
        """Expired ones too. Who belongs to one project sees the people of that project."""
        from portal.accounts.access import access_of

        access = access_of(user)
        return self.filter(Q(organization__in=access.by_organization) | Q(project__in=access.by_project))

    def owners(self) -> MembershipQuerySet:
        """Those who can act as owner today."""
        return self.active().filter(role=Role.OWNER, project=None, user__is_active=True)


class Membership(models.Model):
    """A role in a whole organization (project empty) or in one of its projects."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="memberships")
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="memberships", null=True, blank=True)
    role = models.CharField(pgettext_lazy("of a member", "Role"), max_length=10, choices=Role.choices)
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField(null=True, blank=True)

    objects = MembershipQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["user", "organization", "project"], nulls_distinct=False, name="membership_once_per_place"
            ),
            # Owning is a matter of the whole organization.
            models.CheckConstraint(
                condition=Q(project=None) | ~Q(role=Role.OWNER), name="membership_owner_of_organization_only"
            ),
            # Otherwise an organization could be without an owner one morning.
            models.CheckConstraint(
                condition=Q(expires_at=None) | ~Q(role=Role.OWNER), name="membership_owner_has_no_last_day"
            ),
        ]

    @property
    def is_active(self) -> bool:
        return self.expires_at is None or self.expires_at > timezone.now()

    @property
    def last_day(self) -> date | None:
        """In Japan; the membership ends with that day."""
        return timezone.localdate(self.expires_at - timedelta(microseconds=1)) if self.expires_at else None


class InvitationQuerySet(models.QuerySet["Invitation"]):
    def open(self) -> InvitationQuerySet:
        return self.filter(accepted_at=None, revoked_at=None, expires_at__gt=timezone.now())

    def visible_to(self, user: User) -> InvitationQuerySet:
        """To those who may invite there."""
        from portal.accounts.access import access_of

        access = access_of(user)
        return self.filter(
            Q(organization__in=access.organizations_with(Permission.MANAGE_MEMBERS))
            | Q(project__in=access.projects_with(Permission.MANAGE_MEMBERS))
        )


class Invitation(models.Model):
    """Asks one e-mail address into an organization or one project. Only the token's digest is stored."""

    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="invitations")
    project = models.ForeignKey(Project, on_delete=models.CASCADE, null=True, blank=True)
    email = models.EmailField(_("E-mail address"))
    role = models.CharField(pgettext_lazy("of a member", "Role"), max_length=10, choices=Role.choices)
    token_digest = models.CharField(max_length=64, unique=True)
    invited_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    accepted_at = models.DateTimeField(null=True, blank=True)
    accepted_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+", null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    objects = InvitationQuerySet.as_manager()

    @property
    def is_open(self) -> bool:
        return self.accepted_at is None and self.revoked_at is None and self.expires_at > timezone.now()


class RegistryLoginQuerySet(models.QuerySet["RegistryLogin"]):
    def visible_to(self, user: User) -> RegistryLoginQuerySet:
        """To those who may keep them."""
        from portal.accounts.access import access_of

        return self.filter(organization__in=access_of(user).organizations_with(Permission.MANAGE_PROJECTS))


class RegistryLogin(models.Model):
    """Who fetches an organization's private images from one container registry."""

    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="registry_logins")
    hostname = models.CharField(max_length=255)  # lower case, with its port where an image's name has one
    username = models.CharField(max_length=255)
    sealed_password = models.TextField()
    changed_at = models.DateTimeField(default=timezone.now)
    changed_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")

    objects = RegistryLoginQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organization", "hostname"], name="registry_login_once_per_host")
        ]

    def __str__(self) -> str:
        return self.hostname


__all__ = [
    "Invitation", "Membership", "Organization", "OrganizationKind", "Permission", "Project", "RegistryLogin", "Role",
    "User",
]  # fmt: skip
