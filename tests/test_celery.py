"""A message is a nudge: it arrives when it can, and leaving one neither fails nor takes long."""

from __future__ import annotations

import inspect
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from django.conf import settings

from portal import celery
from portal.jobs import tasks


@pytest.fixture(autouse=True)
def fresh_publishers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(celery, "_quiet_until", 0.0)
    celery._publishers.cache_clear()
    yield
    celery._publishers.cache_clear()


def broker_at(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setattr(settings, "BROKER_URL", url)
    monkeypatch.setattr(celery.app.conf, "broker_url", url)
    monkeypatch.setattr(celery.app.conf, "broker_write_url", url)


def test_no_worker_starts_with_a_store_abroad() -> None:
    environment = {**os.environ, "S3_ENDPOINT": "https://s3.example.com"}
    command = [sys.executable, "-m", "celery", "-A", "portal.celery", "worker", "-P", "threads", "-n", "abroad@%h"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, "s3.example.com is on no list of stores in Japan" in done.stderr) == (1, True)


def test_a_message_reaches_the_queue() -> None:
    with celery.app.connection_for_read() as connection:
        celery.app.control.purge(connection)  # what tests with real commits have left
        assert celery.publish(tasks.hand_off, 7) is True
        message = connection.default_channel.basic_get("celery", no_ack=True)
        assert (message.headers["task"], message.headers["argsrepr"]) == ("jobs.hand_off", "(7,)")


def test_messages_carry_ids_and_counts_alone() -> None:
    """Nothing that somebody typed, and no secret, can stand in the broker."""
    celery.app.autodiscover_tasks(force=True)
    ours = {name: task for name, task in celery.app.tasks.items() if not name.startswith("celery.")}
    takes = {
        f"{name}({parameter})"
        for name, task in ours.items()
        for parameter in inspect.signature(task.run, eval_str=True).parameters.values()
        if parameter.annotation not in (int, int | None)
    }
    assert "jobs.hand_off" in ours
    assert takes == set()


def test_a_broker_that_is_down_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    broker_at(monkeypatch, "redis://127.0.0.1:9/0")
    began = time.monotonic()
    assert [celery.publish(tasks.hand_off, 7) for _ in range(50)] == [False] * 50
    assert time.monotonic() - began < 2


def test_a_broker_that_stalls_costs_a_second_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        broker_at(monkeypatch, f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        began = time.monotonic()
        assert [celery.publish(tasks.hand_off, 7) for _ in range(50)] == [False] * 50
        assert time.monotonic() - began < 2


def test_the_first_nudge_leaves_at_once_and_those_behind_it_together(
    monkeypatch: pytest.MonkeyPatch, transactional_db: None
) -> None:
    sent: list[float] = []
    monkeypatch.setattr(celery, "publish", lambda task, *args: sent.append(time.monotonic()))
    began = time.monotonic()
    for _ in range(50):
        celery.nudge(tasks.hand_off, 7_000_001)
    celery.nudge(tasks.hand_off, 7_000_002)  # another account waits for nobody
    assert len(sent) == 2
    time.sleep(2 * celery.NUDGE_EVERY_S + 0.05)
    assert len(sent) == 3
    assert sent[2] - began >= celery.NUDGE_EVERY_S
    celery.nudge(tasks.hand_off, 7_000_001)
    assert len(sent) == 4


@pytest.mark.parametrize(("url", "arguments"), [("amqp://mq//", {"x-queue-type": "quorum"}), ("redis://mq/0", None)])
def test_rabbitmq_has_quorum_queues(url: str, arguments: dict[str, str] | None) -> None:
    code = "from portal.celery import app; print(app.amqp.queues['celery'].queue_arguments)"
    given = {**os.environ, "BROKER_URL": url, "CACHE_URL": "redis://cache/1"}
    said = subprocess.run([sys.executable, "-c", code], env=given, capture_output=True, text=True, check=True).stdout
    assert said == f"{arguments}\n"
