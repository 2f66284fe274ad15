"""Who is alive: one row for the chain of schedule, broker and worker, and one for each worker process."""

from __future__ import annotations

import threading
from contextlib import suppress
from datetime import timedelta
from typing import Any

import structlog
from celery import shared_task
from celery.signals import worker_ready, worker_shutdown
from django.db import DatabaseError, close_old_connections
from django.db.models.functions import Now

from portal.home.models import Heartbeat

log = structlog.get_logger(__name__)

EVERY_S = 20.0
SCHEDULE = "schedule"  # written through beat, broker and some worker
FORGET_AFTER = timedelta(days=1)  # a host that fell silent and was taken away


@shared_task(name="home.record_heartbeat")  # type: ignore[untyped-decorator]
def record_heartbeat() -> None:
    """Beat, broker and at least one worker do their part."""
    beat(SCHEDULE)
    Heartbeat.objects.filter(seen_at__lt=Now() - FORGET_AFTER).delete()


def beat(name: str) -> None:
    Heartbeat.objects.bulk_create(
        [Heartbeat(name=name[:60], seen_at=Now())],
        update_conflicts=True,
        unique_fields=["name"],
        update_fields=["seen_at"],
    )


@worker_ready.connect  # type: ignore[untyped-decorator]
def show_that_it_lives(sender: Any = None, **_: object) -> None:
    """Each process writes its own row, driven by the loop that takes its messages: a loop that hangs falls silent."""

    def write() -> None:
        try:
            beat(sender.hostname)
        except Exception:  # the database is away: the row grows old, which is the truth
            log.warning("heartbeat not written", exc_info=True)
        finally:
            close_old_connections()

    def in_a_thread() -> None:
        threading.Thread(target=write, name="heartbeat", daemon=True).start()

    in_a_thread()
    sender.timer.call_repeatedly(EVERY_S, in_a_thread)


@worker_shutdown.connect  # type: ignore[untyped-decorator]
def take_leave(sender: Any = None, **_: object) -> None:
    """Who was told to stop has not fallen silent."""
    with suppress(DatabaseError):
        Heartbeat.objects.filter(name=sender.hostname[:60]).delete()
