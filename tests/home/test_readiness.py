from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from portal.datasets.models import StorageSite
from portal.home.models import Heartbeat
from portal.home.readiness import Part, parts, parts_and_sites

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("storage_ready")]


def by_name() -> dict[str, Part]:
    return {part.name: part for part in parts()}


def beat(name: str, seconds_ago: int) -> None:
    Heartbeat.objects.create(name=name, seen_at=timezone.now() - timedelta(seconds=seconds_ago))


def test_everything_is_there_while_one_worker_lives() -> None:
    beat("dead@host", 4000)
    beat("alive@host", 5)
    found = by_name()
    workers = found.pop("workers")
    assert list(found.values()) == [Part(name, True, age_s=0.0) for name in ("database", "storage", "broker", "cache")]
    assert (workers.ok, 5 <= (workers.age_s or 0) < 60) == (True, True)
    assert re.fullmatch(r"silent: dead 40\d\d s", workers.detail)


def test_silent_workers_and_workers_never_seen_are_told_apart() -> None:
    never = by_name()["workers"]
    beat("dead@host", 61)
    silent = by_name()["workers"]
    assert never == Part("workers", False, "never seen")
    assert (silent.ok, 61 <= (silent.age_s or 0) < 120) == (False, True)
    assert re.fullmatch(r"silent: dead \d\d s", silent.detail)


def test_a_part_that_is_away_is_that_parts_answer(settings: Any) -> None:
    settings.S3_ENDPOINT = "http://127.0.0.1:9"
    found = by_name()
    assert found["storage"] == Part("storage", False, "StorageUnavailable")
    assert [name for name, part in found.items() if not part.ok] == ["storage", "workers"]


def test_a_place_for_copies_that_is_away_is_told_and_keeps_the_portal_ready(second_site: StorageSite) -> None:
    def told() -> dict[str, tuple[bool, bool, str]]:
        return {part.name: (part.ok, part.needed, part.detail) for part in parts_and_sites()[5:]}

    assert told() == {"storage second": (True, False, ""), "copies": (False, False, "never seen")}
    beat("data@host", 5)
    StorageSite.objects.filter(pk=second_site.pk).update(failing_since=timezone.now())
    assert told() == {"storage second": (False, False, ""), "copies": (True, False, "")}
    assert by_name()["workers"] == Part("workers", False, "never seen")  # who copies data hands nothing over
