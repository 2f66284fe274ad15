"""What the fault tests share: places at the providers, and real workers and beat on the test's database."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.db import connection

from portal.accounts.models import Project, User
from portal.billing.credits import grant_trial
from portal.catalog.models import Offering, ProviderAccount
from portal.catalog.provider_accounts import adapter_of
from portal.core.sealing import seal
from portal.jobs.keys import key_of
from portal.jobs.models import Attempt
from portal.providers.base import Account
from tests.factories import MembershipFactory, ProjectFactory, ProviderAccountFactory

ROOT = Path(__file__).parents[2]


def place(offering: Offering, reached: Account) -> tuple[Project, Offering, User, ProviderAccount]:
    """An organization with an account of its own, so that nobody else's death comes in between."""
    project = ProjectFactory()
    person = MembershipFactory(organization=project.organization, role="owner").user
    grant_trial(project.organization, founder=person)
    account = ProviderAccountFactory(
        provider=offering.provider,
        organization=project.organization,
        kind=reached.kind,
        endpoint=reached.endpoint,
        sealed_credentials=seal(dict(reached.credentials)),
        options=dict(reached.options),
        emulated=True,
    )
    return project, offering, person, account


def database_url() -> str:
    where = connection.get_connection_params()
    return f"postgresql://{where['user']}@/{where['dbname']}?host={where['host']}&port={where.get('port', '')}"


@contextmanager
def workers(folder: Path) -> Iterator[None]:
    environment = {**os.environ, "PORTAL_MODE": "demo", "DATABASE_URL": database_url()}
    celery = [sys.executable, "-m", "celery", "-A", "portal.celery"]
    commands = [
        [*celery, "worker", "-P", "threads", "-c", "8", "-l", "ERROR", "-n", f"w{number}@faults"] for number in (1, 2)
    ]
    commands.append([*celery, "beat", "-l", "ERROR", "-s", str(folder / "beat"), "--pidfile="])
    started = [subprocess.Popen(command, env=environment, cwd=ROOT) for command in commands]
    try:
        yield
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(60)


def not_once_at_their_provider() -> list[tuple[str, int]]:
    """Code and count of every job that its provider does not have exactly once, asked by our key."""
    attempts = Attempt.objects.select_related("account", "job")
    counts = [(attempt.job.code, len(adapter_of(attempt.account).find(key_of(attempt)))) for attempt in attempts]
    return [(code, count) for code, count in counts if count != 1]
