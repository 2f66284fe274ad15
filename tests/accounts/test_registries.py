"""Logins for container registries: kept sealed, told to nobody, found by an image's host."""

from __future__ import annotations

import pytest

from portal.accounts.access import NotPermitted
from portal.accounts.models import Organization, RegistryLogin, User
from portal.accounts.registries import (
    HostTaken,
    host_of,
    hosts_with_login,
    keep_login,
    login_for,
    needs_login,
    remove_login,
    replace_login,
)
from portal.audit.models import AuditEvent
from portal.providers import base
from tests.factories import RegistryLoginFactory

SECRET = "canary-password"


def told() -> list[tuple[str, str, str, dict[str, object]]]:
    return list(AuditEvent.objects.order_by("sequence").values_list("act", "subject", "actor", "detail"))


def test_a_login_is_kept_sealed_and_told_without_its_password(organization: Organization, manager: User) -> None:
    login = keep_login(organization, hostname="GHCR.io", username="alice", password=SECRET, by=manager)
    assert login_for(organization, "ghcr.io/team/train:1") == base.RegistryLogin("ghcr.io", "alice", SECRET)
    assert SECRET not in f"{list(RegistryLogin.objects.values())} {list(AuditEvent.objects.values())} {login!r}"
    assert told() == [("registry_login.kept", "registry:ghcr.io", f"user:{manager.pk}", {"username": "alice"})]


def test_one_registry_has_one_login_in_an_organization(organization: Organization, owner: User) -> None:
    RegistryLoginFactory(hostname="ghcr.io")  # somebody else's
    keep_login(organization, hostname="docker.io", username="a", password="x", by=owner)
    keep_login(organization, hostname="ghcr.io", username="a", password="x", by=owner)
    with pytest.raises(HostTaken):
        keep_login(organization, hostname="index.docker.io", username="b", password="y", by=owner)
    assert hosts_with_login(organization) == ["docker.io", "ghcr.io"]


def test_a_login_is_replaced_and_removed_once(organization: Organization, manager: User) -> None:
    login = RegistryLoginFactory(organization=organization, hostname="nvcr.io")
    replace_login(login, username="$oauthtoken", password="new", by=manager)
    assert login_for(organization, "nvcr.io/nvidia/pytorch:26.10-py3") == base.RegistryLogin(
        "nvcr.io", "$oauthtoken", "new"
    )
    for _ in range(2):
        remove_login(RegistryLogin(pk=login.pk, organization=organization, hostname="nvcr.io"), by=manager)
        replace_login(login, username="too", password="late", by=manager)
    assert (hosts_with_login(organization), [act for act, *_ in told()]) == (
        [], ["registry_login.replaced", "registry_login.removed"],
    )  # fmt: skip


@pytest.mark.parametrize("role", ["member", "viewer", "billing", "stranger"])
def test_those_who_do_not_manage_the_organization_change_nothing(
    request: pytest.FixtureRequest, organization: Organization, role: str
) -> None:
    by, login = request.getfixturevalue(role), RegistryLoginFactory(organization=organization, hostname="ghcr.io")
    for act in (
        lambda: keep_login(organization, hostname="nvcr.io", username="a", password="b", by=by),
        lambda: replace_login(login, username="a", password="b", by=by),
        lambda: remove_login(login, by=by),
    ):
        with pytest.raises(NotPermitted):
            act()
    kept = login_for(organization, "ghcr.io/x")
    assert (hosts_with_login(organization), kept and kept.password, told()) == (["ghcr.io"], SECRET, [])


def test_only_who_may_keep_logins_sees_them(organization: Organization, owner: User, member: User) -> None:
    login = RegistryLoginFactory(organization=organization)
    RegistryLoginFactory()
    assert list(RegistryLogin.objects.visible_to(owner)) == [login]
    assert list(RegistryLogin.objects.visible_to(member)) == []


@pytest.mark.parametrize(
    ("image", "host"),
    [
        ("python:3.11-slim", "docker.io"),
        ("team/train", "docker.io"),
        ("docker.io/library/python", "docker.io"),
        ("index.docker.io/team/train", "docker.io"),
        ("GHCR.io/team/train@sha256:0", "ghcr.io"),
        ("localhost/train", "localhost"),
        ("registry:5000/train", "registry:5000"),
        ("asia-northeast1-docker.pkg.dev/p/r/train:1", "asia-northeast1-docker.pkg.dev"),
    ],
)
def test_the_host_of_an_image(image: str, host: str) -> None:
    assert host_of(image) == host


@pytest.mark.parametrize(
    ("image", "needs"),
    [
        ("python:3.11-slim", False),  # Docker Hub's own are public
        ("docker.io/library/python", False),
        ("team/train", True),
        ("docker.io/team/train", True),
        ("ghcr.io/train", True),
        ("quay.io/team/train", False),
    ],
)
def test_an_image_may_be_private_where_the_organization_has_a_login(
    organization: Organization, image: str, needs: bool
) -> None:
    for hostname in ("docker.io", "ghcr.io"):
        RegistryLoginFactory(organization=organization, hostname=hostname)
    RegistryLoginFactory(hostname="quay.io")
    assert needs_login(organization, image) is needs
