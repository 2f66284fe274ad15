"""Is everything there that the portal stands on? Each part answers with its age or its fault."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta

from django.core.cache import cache
from django.db import DatabaseError, connection
from django.db.models import QuerySet
from django.utils import timezone

from portal.celery import app
from portal.datasets import storage
from portal.datasets.models import StorageSite
from portal.home.models import Heartbeat

SILENT_AFTER = timedelta(seconds=60)
ANSWER_TIMEOUT_S = 2
DATA_WORKERS = "data"  # how the names of those begin that copy data and do nothing else


@dataclass(frozen=True)
class Part:
    name: str
    ok: bool
    detail: str = ""
    age_s: float | None = None
    needed: bool = True  # without it the portal is not ready


def parts_and_sites() -> list[Part]:
    """The parts, and each further place for copies with who works there: without those only copies wait."""
    return [*parts(), *_sites()]


def parts() -> list[Part]:
    return [
        _ask("database", _database),
        _ask("storage", _storage),
        _ask("broker", _broker),
        _ask("cache", _cache),
        _ask("workers", _workers),
    ]


def _ask(name: str, question: Callable[[], Part]) -> Part:
    """Whatever goes wrong is that part's answer: a health check never ends in a trace."""
    try:
        part = question()
        return part if part.age_s is not None or not part.ok else replace(part, age_s=0.0)  # asked just now
    except Exception as error:
        return Part(name, False, type(error).__name__)


def _database() -> Part:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return Part("database", True)


def _storage() -> Part:
    storage.size_of("health")
    return Part("storage", True)


def _sites() -> list[Part]:
    """As copying and the minute's look have found them: a probe waits for no store that is away."""
    try:
        sites = list(StorageSite.objects.filter(enabled=True, is_primary=False).order_by("pk"))
    except DatabaseError:
        return []
    now = timezone.now()
    found = [
        Part(
            f"storage {site.slug}",
            site.failing_since is None,
            "",
            round((now - site.failing_since).total_seconds(), 1) if site.failing_since else 0.0,
            needed=False,
        )
        for site in sites
    ]
    return [*found, _ask("copies", _data_workers)] if sites else []


def _data_workers() -> Part:
    return replace(_alive("copies", Heartbeat.objects.filter(name__startswith=DATA_WORKERS)), needed=False)


def _broker() -> Part:
    with app.connection_for_write(connect_timeout=ANSWER_TIMEOUT_S) as broker:
        broker.ensure_connection(max_retries=1, interval_start=0, interval_step=0, timeout=ANSWER_TIMEOUT_S)
    return Part("broker", True)


def _cache() -> Part:
    cache.set("health", 1, 10)
    return Part("cache", cache.get("health") == 1)


def _workers() -> Part:
    """The youngest heartbeat counts: one worker alive keeps work going. Those that fell silent are named all the same,
    without their hosts, which are nobody's business outside."""
    return _alive("workers", Heartbeat.objects.exclude(name__startswith=DATA_WORKERS))


def _alive(part: str, heartbeats: QuerySet[Heartbeat]) -> Part:
    try:
        seen_at = dict(heartbeats.order_by("name").values_list("name", "seen_at"))
    except DatabaseError:
        return Part(part, False, "database")
    if not seen_at:
        return Part(part, False, "never seen")
    now = timezone.now()
    silent = [
        f"{name.partition('@')[0]} {(now - at).total_seconds():.0f} s"
        for name, at in seen_at.items()
        if now - at >= SILENT_AFTER
    ]
    age = now - max(seen_at.values())
    detail = f"silent: {', '.join(silent)}" if silent else ""
    return Part(part, age < SILENT_AFTER, detail, round(age.total_seconds(), 1))
