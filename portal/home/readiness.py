"""Is everything there that the portal stands on? Each part answers with its age or its fault."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta

from django.core.cache import cache
from django.db import DatabaseError, connection
from django.utils import timezone

from portal.celery import app
from portal.datasets import storage
from portal.home.models import Heartbeat

SILENT_AFTER = timedelta(seconds=60)
ANSWER_TIMEOUT_S = 2


@dataclass(frozen=True)
class Part:
    name: str
    ok: bool
    detail: str = ""
    age_s: float | None = None


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
    try:
        seen_at = dict(Heartbeat.objects.order_by("name").values_list("name", "seen_at"))
    except DatabaseError:
        return Part("workers", False, "database")
    if not seen_at:
        return Part("workers", False, "never seen")
    now = timezone.now()
    silent = [
        f"{name.partition('@')[0]} {(now - at).total_seconds():.0f} s"
        for name, at in seen_at.items()
        if now - at >= SILENT_AFTER
    ]
    age = now - max(seen_at.values())
    detail = f"silent: {', '.join(silent)}" if silent else ""
    return Part("workers", age < SILENT_AFTER, detail, round(age.total_seconds(), 1))
