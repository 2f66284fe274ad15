from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from portal.accounts.models import Project
from portal.datasets.metering import primary_site
from portal.jobs.kept_results import record_storage
from portal.usage.models import StorageUsage
from tests.factories import ArtifactFactory, JobFactory

pytestmark = pytest.mark.django_db


def test_artifacts_and_whole_logs_are_metered_by_the_day(project: Project) -> None:
    midnight = datetime(2026, 11, 24, 15, tzinfo=UTC)  # in Japan, to the 25th
    before, after = midnight - timedelta(seconds=1), midnight
    job = JobFactory(project=project, state="succeeded", log_key="t/x/log", log_bytes=30, ended_at=before)
    JobFactory(project=project, state="running", log_bytes=1_000)  # its log is not in the store yet
    ArtifactFactory(job=job, path="a", size_bytes=500, created_at=before)
    ArtifactFactory(job=job, path="b", size_bytes=7, created_at=after)
    days = [record_storage(midnight + timedelta(days=n, hours=1)) for n in (0, 1, 1)]
    rows = StorageUsage.objects.order_by("day").values_list(
        "project", "kind", "site", "day", "peak_bytes", "byte_hours"
    )
    assert days == [[date(2026, 11, 24)], [date(2026, 11, 25)], []]
    assert list(rows) == [
        (project.pk, "results", primary_site(), date(2026, 11, 24), 530, Decimal(530 * 24)),
        (project.pk, "results", primary_site(), date(2026, 11, 25), 537, Decimal(537 * 24)),
    ]
