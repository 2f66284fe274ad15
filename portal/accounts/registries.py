"""Logins for container registries: an organization keeps one for each host, and its jobs use it without being asked.

A password is sealed at rest, opened only when a job is handed over, and shown to nobody.
"""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from portal.accounts.access import require
from portal.accounts.membership import Refused, actor_of, lock
from portal.accounts.models import Organization, RegistryLogin, User
from portal.accounts.roles import Permission
from portal.audit import recording
from portal.core.sealing import seal, unseal
from portal.providers import base

DOCKER_HUB = "docker.io"
# Its other names, in images and in its own documents.
_ALSO_DOCKER_HUB = {"index.docker.io", "registry-1.docker.io", "hub.docker.com", "registry.hub.docker.com"}


class HostTaken(Refused):
    message = _("Your organization keeps a login for this registry already. Replace that one.")


@transaction.atomic
def keep_login(organization: Organization, *, hostname: str, username: str, password: str, by: User) -> RegistryLogin:
    """Raises NotPermitted, HostTaken."""
    organization = lock(organization)
    require(by, Permission.MANAGE_PROJECTS, organization)
    hostname = usual_name(hostname)
    if organization.registry_logins.filter(hostname=hostname).exists():
        raise HostTaken
    login = RegistryLogin.objects.create(
        organization=organization,
        hostname=hostname,
        username=username,
        sealed_password=seal({"password": password}),
        changed_by=by,
    )
    _record("registry_login.kept", login, by)
    return login


@transaction.atomic
def replace_login(login: RegistryLogin, *, username: str, password: str, by: User) -> None:
    """For jobs that are handed over from now on. Removed meanwhile: nothing happens. Raises NotPermitted."""
    require(by, Permission.MANAGE_PROJECTS, login.organization)
    login.username, login.sealed_password = username, seal({"password": password})
    changed = RegistryLogin.objects.filter(pk=login.pk).update(
        username=username, sealed_password=login.sealed_password, changed_at=timezone.now(), changed_by=by
    )
    if changed:
        _record("registry_login.replaced", login, by)


@transaction.atomic
def remove_login(login: RegistryLogin, *, by: User) -> None:
    """Already removed: nothing happens. Raises NotPermitted."""
    require(by, Permission.MANAGE_PROJECTS, login.organization)
    removed, _by_model = RegistryLogin.objects.filter(pk=login.pk).delete()
    if removed:
        _record("registry_login.removed", login, by)


def hosts_with_login(organization: Organization) -> list[str]:
    return list(organization.registry_logins.order_by("hostname").values_list("hostname", flat=True))


def login_for(organization: Organization, image: str) -> base.RegistryLogin | None:
    """With its password. None: the organization keeps none for the image's host. Raises CannotOpen."""
    login = organization.registry_logins.filter(hostname=host_of(image)).first()
    if login is None:
        return None
    return base.RegistryLogin(login.hostname, login.username, unseal(login.sealed_password)["password"])


def needs_login(organization: Organization, image: str) -> bool:
    """Whether the image may be a private one: of a host with a login, and none of Docker Hub's own (python:3.11)."""
    host = host_of(image)
    path = image.partition("/")[2] if _names_host(image) else image
    if host == DOCKER_HUB and "/" not in path.removeprefix("library/"):
        return False
    return organization.registry_logins.filter(hostname=host).exists()


def host_of(image: str) -> str:
    """ "ghcr.io" of ghcr.io/team/train:1. A name whose first part is no host (team/train) is Docker Hub's."""
    return usual_name(image.partition("/")[0]) if _names_host(image) else DOCKER_HUB


def usual_name(hostname: str) -> str:
    """The one of its names that a host is kept under."""
    hostname = hostname.lower()
    return DOCKER_HUB if hostname in _ALSO_DOCKER_HUB else hostname


def _names_host(image: str) -> bool:
    first, slash, _path = image.partition("/")
    return bool(slash) and ("." in first or ":" in first or first == "localhost")


def _record(act: str, login: RegistryLogin, by: User) -> None:
    recording.record(
        act,
        f"registry:{login.hostname}",
        actor=actor_of(by),
        chain=login.organization.code,
        detail={"username": login.username},
    )
