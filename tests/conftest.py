"""Fixtures for all. The servers are started by tests/services.py; nothing here talks to anything but loopback.

personas: `organization`, `project`, and one signed-up person per role (`owner`, `manager`, `member`, `viewer`,
`billing`), a `stranger` with an organization of their own. `client_of(user)` is a signed-in Django test client.
`emulator(kind)` is an Account of a running provider emulator; `storage_ready` makes the bucket, `second_site` another
place for copies.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection
from django.db.backends.postgresql.operations import DatabaseOperations
from django.test import Client
from django.utils import translation

import portal.urls  # noqa: F401 - made before a test pretends to be production, where there are fewer
from portal.accounts.models import Organization, Project, User
from portal.accounts.roles import Role
from portal.catalog import pricing
from portal.datasets import sites, storage
from portal.datasets.models import StorageSite
from portal.jobs import offers, placing
from portal.providers.base import Account
from tests import prepared
from tests.factories import MembershipFactory, OrganizationFactory, ProjectFactory

ROOT = Path(__file__).resolve().parent.parent


# What takes longest begins first, so that the processes of a whole run end together.
LONGEST = ("browser", "faults", "providers", "launcher")
TAKE_SERVERS_AWAY = {
    f"tests/faults/test_{name}.py" for name in ("broker", "copies", "dark_provider", "database", "storage", "workers")
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        room = _room(item.nodeid)
        return LONGEST.index(room) if room in LONGEST else len(LONGEST)

    items.sort(key=place)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A file stays in one process; so does all that looks at the one portal in a browser, and all that takes servers
    away from the one portal of tests/faults/conftest.py."""
    from xdist.scheduler import LoadScopeScheduling

    class ByRoomOrFile(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            room, file = _room(nodeid), nodeid.partition("::")[0]
            if room == "browser":
                return room
            return "tests/faults" if file in TAKE_SERVERS_AWAY else file

    return ByRoomOrFile(config, log)


def _room(nodeid: str) -> str:
    """ "tests/browser/test_pages.py::..." is in "browser"."""
    return nodeid.split("/")[1] if nodeid.count("/") > 1 else ""


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix: None) -> None:
    connection.settings_dict["TEST"]["TEMPLATE"] = prepared.TEMPLATE


@pytest.fixture(scope="session", autouse=True)
def _tests_may_empty_tables() -> Iterator[None]:
    """Django empties all tables after a test with real transactions, also those that refuse to be emptied."""
    with pytest.MonkeyPatch.context() as patch:
        usual = DatabaseOperations.sql_flush

        def flush(self: DatabaseOperations, *args: Any, **kwargs: Any) -> list[str]:
            statements = usual(self, *args, **kwargs)
            return ["SET LOCAL session_replication_role = replica", *statements] if statements else []

        patch.setattr(DatabaseOperations, "sql_flush", flush)
        yield


@pytest.fixture(autouse=True)
def _fresh_cache() -> Iterator[None]:
    yield
    cache.clear()  # rate limits of one test must not meet the next
    offers.forget_offers()
    placing.forget_lately()
    pricing.forget_prices()


@pytest.fixture(autouse=True)
def _japanese() -> None:
    translation.activate("ja")  # whatever the last request of an earlier test was answered in


@pytest.fixture(autouse=True)
def _fast_passwords(settings: Any) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def organization(db: None) -> Organization:
    return OrganizationFactory(name="株式会社ミライ言語研究所")


@pytest.fixture
def project(organization: Organization) -> Project:
    return ProjectFactory(organization=organization, name="llm-jp-tuning")


def _person(organization: Organization, role: Role) -> User:
    return MembershipFactory(organization=organization, role=role, user__email=f"{role.value}@example.jp").user


@pytest.fixture
def owner(organization: Organization) -> User:
    return _person(organization, Role.OWNER)


@pytest.fixture
def manager(organization: Organization) -> User:
    return _person(organization, Role.MANAGER)


@pytest.fixture
def member(organization: Organization) -> User:
    return _person(organization, Role.MEMBER)


@pytest.fixture
def viewer(organization: Organization) -> User:
    return _person(organization, Role.VIEWER)


@pytest.fixture
def billing(organization: Organization) -> User:
    return _person(organization, Role.BILLING)


@pytest.fixture
def stranger(db: None) -> User:
    other = OrganizationFactory(name="Other Inc.")
    ProjectFactory(organization=other)
    return MembershipFactory(organization=other, role=Role.OWNER, user__email="stranger@example.jp").user


@pytest.fixture
def client_of() -> Callable[[User], Client]:
    def sign_in(user: User, language: str = "ja") -> Client:
        client = Client(headers={"accept-language": language})
        client.force_login(user, backend="allauth.account.auth_backends.AuthenticationBackend")
        return client

    return sign_in


@pytest.fixture
def desk_of(client_of: Callable[..., Client]) -> Callable[..., Client]:
    """Signed in with the second step just now, as staff at their desk."""

    def sign_in(user: User, language: str = "ja", *, since_s: float = 0) -> Client:
        client = client_of(user, language)
        session = client.session
        step = {"method": "mfa", "type": "totp", "at": time.time() - since_s, "reauthenticated": True}
        session["account_authentication_methods"] = [step]
        session["account_authentication_methods_user"] = str(user.pk)
        session.save()
        return client

    return sign_in


@pytest.fixture(scope="session")
def storage_ready() -> None:
    storage.ensure_bucket()


@pytest.fixture
def second_site(db: None, storage_ready: None, settings: Any) -> StorageSite:
    """Another bucket of the tests' store, as a site of the settings beside the primary one."""
    row = {
        "slug": "second",
        "endpoint": settings.S3_ENDPOINT,
        "public_endpoint": settings.S3_ENDPOINT,
        "region": "jp-test-2",
        "bucket": f"{settings.S3_BUCKET}-second",
        "access_key": settings.S3_ACCESS_KEY,
        "secret_key": settings.S3_SECRET_KEY,
        "name_ja": "第二ストレージ",
        "name_en": "Second store",
    }
    settings.STORAGE_SITES = [row]
    sites.follow_settings()
    site = StorageSite.objects.get(slug="second")
    storage.ensure_bucket(at=sites.store_of(site))
    return site


@pytest.fixture(scope="session")
def emulators(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Account]]:
    """Starts each kind of emulator once, when first asked for."""
    running: dict[str, tuple[subprocess.Popen[bytes], Account]] = {}

    def get(kind: str) -> Account:
        if kind not in running:
            folder = tmp_path_factory.mktemp(f"emulator-{kind}")
            process = subprocess.Popen(
                [sys.executable, "-m", "portal.providers.emulators", kind, "--state", folder, "--port", str(_port())],
                cwd=ROOT,
            )
            running[kind] = (process, _wait_for_access(folder / "access.json", process))
        return running[kind][1]

    yield get
    for process, _account in running.values():
        process.terminate()
    for process, _account in running.values():
        process.wait(10)


@pytest.fixture
def emulator(emulators: Callable[[str], Account]) -> Callable[[str], Account]:
    return emulators


def _port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for_access(path: Path, process: subprocess.Popen[bytes]) -> Account:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        if path.exists():
            access = json.loads(path.read_text())
            host, port = access["endpoint"].removeprefix("http://").split("/")[0].rsplit(":", 1)
            try:
                socket.create_connection((host, int(port)), timeout=1).close()
                return Account(access["kind"], access["endpoint"], access["credentials"], access["options"])
            except OSError:
                pass
        time.sleep(0.05)
    raise RuntimeError(f"the emulator did not start ({process.poll()})")
