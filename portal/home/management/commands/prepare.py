import hashlib
import time
from pathlib import Path

from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError, connection
from django.db.migrations.executor import MigrationExecutor

from portal.datasets import sites, storage
from portal.datasets.models import StorageSite
from portal.datasets.storage import StorageUnavailable

STORE_STARTS_WITHIN_S = 60
COPIES_STORE_STARTS_WITHIN_S = 0 if settings.PRODUCTION else 20  # the demo's starts beside the first


class Command(BaseCommand):
    help = "What a start needs: tables, static files, bucket, catalog, the demo's people. Cheap when it is all there."

    def handle(self, *args: object, **options: object) -> None:
        try:
            self._prepare()
        except OperationalError as trouble:
            raise CommandError(f"The database did not answer. Check DATABASE_URL and start it. ({trouble})") from None
        except StorageUnavailable as trouble:
            raise CommandError(
                f"The object store did not answer. Check S3_ENDPOINT and start it. ({trouble})"
            ) from None

    def _prepare(self) -> None:
        self._migrate()
        self._collect_static_files()
        self._make_buckets()
        call_command("seed_catalog")
        if not settings.PRODUCTION:
            call_command("seed_demo")

    def _migrate(self) -> None:
        executor = MigrationExecutor(connection)
        # `migrate` looks through every permission and content type even when there is nothing to do.
        if executor.migration_plan(executor.loader.graph.leaf_nodes()):
            self.stdout.write("migrate")
            call_command("migrate", verbosity=1, interactive=False)

    def _make_buckets(self) -> None:
        """The store is the slowest to start, so the tables are made while it does. One for copies may stay away."""
        sites.follow_settings()
        self._make_bucket(storage.primary(), wait_s=STORE_STARTS_WITHIN_S)
        for site in StorageSite.objects.filter(enabled=True, is_primary=False):
            try:
                self._make_bucket(sites.store_of(site), wait_s=COPIES_STORE_STARTS_WITHIN_S)
            except StorageUnavailable as trouble:
                self.stderr.write(
                    f"The store {site.slug} for copies did not answer; the portal starts without it. ({trouble})"
                )

    def _make_bucket(self, store: storage.Store, *, wait_s: float) -> None:
        deadline = time.monotonic() + wait_s
        while True:
            try:
                return storage.ensure_bucket(at=store)
            except StorageUnavailable:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def _collect_static_files(self) -> None:
        """Hashing and compressing takes seconds, so only when a file changed since the last time."""
        stamp = settings.STATIC_ROOT / ".collected"
        state = _state_of_static_files()
        if not stamp.exists() or stamp.read_text() != state:
            self.stdout.write("collectstatic")
            stamp.unlink(missing_ok=True)  # an interrupted run is repeated
            call_command("collectstatic", verbosity=0, interactive=False)
            stamp.write_text(state)


def _state_of_static_files() -> str:
    known = hashlib.sha256(repr(settings.STORAGES["staticfiles"]).encode())
    for finder in get_finders():
        for name, place in finder.list([]):
            found = Path(place.path(name)).stat()
            known.update(f"{name} {found.st_size} {found.st_mtime_ns}\n".encode())
    return known.hexdigest()
