"""Starts what the tests stand on before Django reads its settings: a pytest plugin, named in addopts.

One private PostgreSQL, Valkey and S3 server for the whole run, from the same definitions as `manage.py start`, never
those of a running portal. Each xdist worker has its own database, cache and bucket in them.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from tests import prepared

PASSED_ON = "PORTAL_TEST_SERVICES"
SETTINGS = {
    "PORTAL_MODE": "test",
    "DJANGO_SETTINGS_MODULE": "portal.settings",
    "INSTALLATION_ID": "test00",
    "PORTAL_URL": "http://localhost:8000",
    "MACHINES_URL": "none",  # no web process answers jobs, but for tests that start one
    "SECRET_KEY": "for tests only",
    "DJANGO_ALLOW_ASYNC_UNSAFE": "true",  # Playwright's sync API runs a loop in the test's thread
}
_started: list[object] = []
_folder: Path | None = None


def _environment() -> dict[str, str]:
    """Start the services in the first process; the others are told by the environment."""
    global _folder
    if PASSED_ON in os.environ:
        known: dict[str, str] = json.loads(os.environ[PASSED_ON])
        return known
    from portal.launcher.services import start_postgres, start_s3, start_valkey

    _folder = Path(tempfile.mkdtemp(prefix="portal-test-"))
    valkey = start_valkey(_folder / "valkey")
    s3 = start_s3(_folder / "s3")
    _started.extend([s3, valkey])
    environment = {**valkey.environment, **s3.environment, "PORTAL_DATA": str(_folder / "data")}
    os.environ[prepared.FOLDER] = str(_folder / "prepared")
    prepared.make(_folder / "prepared", environment={**SETTINGS, **environment})
    prepared.copy_to(_folder / "pg")
    postgres = start_postgres(_folder / "pg", durable=False)
    _started.append(postgres)
    prepared.set_aside(postgres.url)
    environment.update(postgres.environment)
    os.environ[PASSED_ON] = json.dumps(environment)
    return environment


def _set_up() -> None:
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    number = int(worker.removeprefix("gw")) + 1 if worker else 0
    environment = _environment()
    os.environ.update(environment)
    os.environ.update(SETTINGS)
    os.environ.update(
        {
            # Valkey has 16 databases: two for each worker.
            "BROKER_URL": f"{environment['BROKER_URL']}?virtual_host={2 * number}",
            "CACHE_URL": environment["CACHE_URL"].replace("db=1", f"db={2 * number + 1}"),
            "S3_BUCKET": f"portal-{worker or 'main'}",
        }
    )


_set_up()


def pytest_unconfigure(config: pytest.Config) -> None:
    for service in _started:
        service.stop()  # type: ignore[attr-defined]
    _started.clear()
    if _folder:
        shutil.rmtree(_folder, ignore_errors=True)
