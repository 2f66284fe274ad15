from __future__ import annotations

import time
from datetime import timedelta
from types import SimpleNamespace

from django.utils import timezone

from portal.home import tasks
from portal.home.models import Heartbeat


def test_a_beat_is_one_row_however_often(db: None) -> None:
    for _ in range(3):
        tasks.record_heartbeat()
    row = Heartbeat.objects.get()
    assert (row.name, timezone.now() - row.seen_at < timedelta(seconds=5)) == ("schedule", True)


def test_hosts_of_yesterday_are_forgotten(db: None) -> None:
    Heartbeat.objects.create(name="old@host", seen_at=timezone.now() - timedelta(days=2))
    Heartbeat.objects.create(name="silent@host", seen_at=timezone.now() - timedelta(hours=2))
    tasks.record_heartbeat()
    assert sorted(Heartbeat.objects.values_list("name", flat=True)) == ["schedule", "silent@host"]


def test_each_worker_process_shows_itself_by_its_own_loop(transactional_db: None) -> None:
    repeated: list[float] = []
    timer = SimpleNamespace(call_repeatedly=lambda every_s, what: repeated.append(every_s))
    tasks.show_that_it_lives(SimpleNamespace(hostname="worker1@host", timer=timer))
    for _ in range(100):
        if Heartbeat.objects.exists():
            break
        time.sleep(0.05)
    assert (Heartbeat.objects.get().name, repeated) == ("worker1@host", [20.0])


def test_a_worker_told_to_stop_takes_its_row_along(db: None) -> None:
    for name in ("worker1@host", "worker2@host"):
        tasks.beat(name)
    tasks.take_leave(SimpleNamespace(hostname="worker1@host"))
    assert Heartbeat.objects.get().name == "worker2@host"
