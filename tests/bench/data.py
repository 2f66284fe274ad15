"""What pages of datasets, a version and a hand-over of many files cost.

    .venv/bin/python -m tests.bench.data [--datasets 100000] [--files 1000000] [--inputs 10000]

Starts its own PostgreSQL, Valkey and S3 in a temporary folder. Each page is asked by Django's own client, without a web
server: its statements and the median of some answers, first with 25 rows, then with all. Then one version of all files
is made and its manifest written; a job that reads `--inputs` files is submitted and prepared for its provider.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

TIMES = 15
FEW = 25


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", type=int, default=100_000)
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--inputs", type=int, default=10_000)
    options = parser.parse_args()
    from portal.launcher.services import start_postgres, start_s3, start_valkey

    folder = Path(tempfile.mkdtemp(prefix="portal-bench-"))
    services = [start_postgres(folder / "pg"), start_valkey(folder / "valkey"), start_s3(folder / "s3")]
    try:
        for service in services:
            os.environ.update(service.environment)
        os.environ.update(
            PORTAL_MODE="demo", PORTAL_DATA=str(folder), SECRET_KEY="bench", PORTAL_URL="http://localhost",
            DJANGO_SETTINGS_MODULE="portal.settings", LOG_LEVEL="CRITICAL",
        )  # fmt: skip
        import django

        django.setup()
        _run(options)
    finally:
        for service in reversed(services):
            service.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _run(options: argparse.Namespace) -> None:
    from django.conf import settings
    from django.core.management import call_command
    from django.test import Client

    from portal.datasets import storage

    call_command("migrate", verbosity=0)
    call_command("collectstatic", interactive=False, verbosity=0)
    storage.ensure_bucket()
    place = _Place()
    client = Client(headers={"host": "localhost"})
    client.force_login(place.owner, backend=settings.AUTHENTICATION_BACKENDS[0])
    found: dict[str, list[tuple[int, float]]] = {}
    for datasets, files in ((FEW, FEW), (options.datasets, options.files)):
        place.fill(datasets, files)
        for name, url in place.pages().items():
            found.setdefault(name, []).append(_asked(client, url))
    print(f"\n{'page':44}{FEW:>7} rows{'':14}{options.datasets:,} datasets, {options.files:,} files")
    for name, ((few, few_ms), (many, many_ms)) in found.items():
        print(f"{name:44}{few:3} statements {few_ms:6.1f} ms   {many:3} statements {many_ms:6.1f} ms")
    print()
    place.make_version()
    place.hand_over(options.inputs)


def _asked(client: Any, url: str) -> tuple[int, float]:
    from django.db import connection

    for _ in range(3):
        answer = client.get(url)
        assert answer.status_code == 200, (url, answer.status_code, answer.headers)
    statements: list[str] = []

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        statements.append(sql)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        client.get(url)
    times = []
    for _ in range(TIMES):
        begun = time.perf_counter()
        client.get(url)
        times.append((time.perf_counter() - begun) * 1000)
    return len(statements), statistics.median(times)


class _Place:
    """A project with many datasets, one of them with many files; a second organization has as many datasets."""

    def __init__(self) -> None:
        from portal.billing.credits import grant_trial
        from tests.factories import MembershipFactory, PriceFactory, ProjectFactory, ProviderAccountFactory

        self.project, self.other = ProjectFactory(), ProjectFactory()
        self.owner = MembershipFactory(organization=self.project.organization, role="owner").user
        self.offering = PriceFactory().offering
        ProviderAccountFactory(provider=self.offering.provider)
        grant_trial(self.project.organization, founder=self.owner)
        self.large: Any = None

    def fill(self, datasets: int, files: int) -> None:
        from portal.datasets import drafts, manifests, tallies
        from portal.datasets.models import DataFile, Dataset
        from tests.factories import DataFileFactory, DatasetFactory

        if self.large is None:
            self.large = DatasetFactory(project=self.project, created_by=self.owner, name="large", folder="large")
            self.others = DatasetFactory(project=self.other)
            self.file = DataFileFactory(dataset=self.large, name="f/000000000.txt")
        with _timed(f"filled with {datasets:,} datasets and {files:,} files"):
            for project, first in ((self.project, self.large), (self.other, self.others)):
                known = Dataset.objects.filter(project=project).count()
                _copy(
                    "datasets_dataset", first.pk, known, datasets, code=f"'d-{project.pk}-' || n", latest_number="0",
                    name="'data ' || n", folder="'folder-' || n",
                )  # fmt: skip
            known = DataFile.objects.filter(dataset=self.large).count()
            _copy(
                "datasets_datafile", self.file.pk, known, files, code="'f-' || lpad(n::text, 12, '0')", added_in="NULL",
                name="'f/' || lpad(n::text, 9, '0') || '.txt'", storage_key="'t/bench/' || n",
            )  # fmt: skip
            while tallies.add_up():
                pass
        _sql("VACUUM ANALYZE")
        self.files = files
        if not self.large.latest_number:
            manifests.write(drafts.make_version(self.large, by=self.owner).pk)
            self.large.refresh_from_db()

    def pages(self) -> dict[str, str]:
        large, middle = f"/datasets/{self.large.code}/", f"f/{self.files // 2:09}.txt"
        from portal.datasets.models import Dataset

        pks = list(Dataset.objects.filter(project=self.project).order_by("pk").values_list("pk", flat=True))
        return {
            "list of datasets": "/datasets/",
            "list of datasets, in the middle": f"/datasets/?before={pks[len(pks) // 2]}",
            "dataset": large,
            "dataset, files whose path begins so": f"{large}?q={middle[:9]}",
            "version": f"{large}versions/1/",
            "version, in the middle": f"{large}versions/1/?after={middle}",
            "job form": "/jobs/new/",
        }

    def make_version(self) -> None:
        from portal.datasets import drafts, manifests

        with _timed(f"version 2 of {self.files:,} files"):
            version = drafts.make_version(self.large, by=self.owner)
        with _timed("its manifest"):
            manifests.write(version.pk)
        version.refresh_from_db()
        print(f"  {storage_size(version.manifest_key):,} bytes")

    def hand_over(self, inputs: int) -> None:
        from portal.datasets import drafts, manifests, storage
        from portal.jobs import staging
        from portal.jobs.keys import key_of
        from portal.jobs.models import Attempt
        from portal.jobs.request import Attached, JobRequest
        from portal.jobs.submission import submit
        from tests.factories import DataFileFactory, DatasetFactory
        from tests.jobs.fakes import FakeProvider

        dataset = DatasetFactory(project=self.project, created_by=self.owner)
        DataFileFactory(dataset=dataset)
        from portal.datasets.models import DataFile

        DataFile.objects.bulk_create(
            DataFileFactory.build(dataset=dataset, created_by=self.owner) for _ in range(inputs - 1)
        )
        version = drafts.make_version(dataset, by=self.owner)
        manifests.write(version.pk)
        version.refresh_from_db()
        request = JobRequest(
            name="bench", offering=self.offering, gpus=1, time_limit_s=3600, cost_cap=500, command="true",
            attached=(Attached(version),),
        )  # fmt: skip
        with _timed(f"submit of a job that reads {inputs:,} files"):
            job = submit(self.project, request=request, key="k" * 20, by=self.owner)
        attempt = Attempt.objects.select_related("job", "offering", "account").get(job=job)
        with _timed("its hand-over prepared (manifest with an address for each)"):
            staging.prepare(attempt, FakeProvider(), key=key_of(attempt))
        print(f"  {len(storage.read(staging.manifest_key(attempt))):,} bytes")


def storage_size(key: str) -> int:
    from portal.datasets import storage

    return storage.size_of(key) or 0


def _copy(table: str, pk: int, known: int, wanted: int, **changed: str) -> None:
    """Rows like that one, by one statement. `changed`: column to SQL over n, the number of the copy."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT column_name FROM information_schema.columns WHERE table_name = %s AND is_identity = 'NO'", [table]
        )
        columns = [name for (name,) in cursor.fetchall()]
    values = [changed.get(name, f"t.{name}") for name in columns]
    _sql(
        f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(values)}"
        f" FROM {table} t, generate_series(%s, %s) AS n WHERE t.id = %s",
        [known, wanted - 1, pk],
    )


def _sql(statement: str, values: list[Any] | None = None) -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(statement, values)


@contextmanager
def _timed(what: str) -> Iterator[None]:
    begun = time.perf_counter()
    yield
    print(f"{what}: {time.perf_counter() - begun:.2f} s", flush=True)


if __name__ == "__main__":
    main()
