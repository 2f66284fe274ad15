"""The Celery app, its queues, and the whole beat schedule on one screen.

Rows are the to-do list, messages are a nudge: every message may be lost, late or doubled.
"""

import os
import threading
import time
from functools import cache, partial
from typing import Any

import structlog
from celery import Celery, Task
from celery.schedules import crontab
from celery.signals import worker_shutting_down
from django.conf import settings
from django.db import transaction
from kombu import pools

from portal.core.failpoints import failpoint

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
# Django's checks import every view, 11 MiB that no worker uses. `manage.py` has run them where the portal was prepared;
# the one that no worker may go without is in datasets/tasks.py.
os.environ.setdefault("CELERY_SKIP_CHECKS", "true")

DATA_TASKS = ("plan_copies", "work_on_copies", "tell_of_damage", "look_at_sites")
RABBITMQ = settings.BROKER_URL.startswith("amqp")
app = Celery("portal")
app.conf.update(
    broker_url=settings.BROKER_URL,
    # Without the last two a killed worker's message comes back only after up to 100 s (kombu 5.7).
    broker_transport_options={"visibility_timeout": 3600, "unacked_restore_interval": 5, "unacked_restore_throttle": 1}
    if settings.BROKER_URL.startswith("redis")
    else {},
    # RabbitMQ: quorum queues survive the loss of a host, and RabbitMQ 4 mirrors no others. Celery gives them delays by
    # 28 further queues, which need a topic exchange. Nothing here is published with a countdown, so these are of the
    # cheap kind.
    task_default_queue_type="quorum" if RABBITMQ else "classic",
    task_default_exchange_type="topic" if RABBITMQ else "direct",
    broker_native_delayed_delivery_queue_type="classic",
    # Copies of data have workers of their own (`-Q data`): no amount of them keeps a hand-over waiting.
    task_routes={f"datasets.{name}": {"queue": "data"} for name in DATA_TASKS},
    task_create_missing_queue_type="quorum" if RABBITMQ else "classic",
    task_create_missing_queue_exchange_type="topic" if RABBITMQ else "direct",
    broker_connection_retry_on_startup=True,
    broker_connection_timeout=4,
    broker_connection_max_retries=None,  # a hundred, the default, are used up within the hour
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_ignore_result=True,
    task_publish_retry=False,  # a web request never waits for a broker: the sweep finds what no message told
    task_serializer="json",
    accept_content=["json"],
    worker_prefetch_multiplier=1,
    worker_hijack_root_logger=False,
    worker_send_task_events=False,
    timezone="Asia/Tokyo",
    beat_schedule={
        # What no message brought: due hand-offs, cancellations, trackings, collections. One query when nothing is due.
        # Where there is work the sweep comes again by itself after half the time: two seconds is how live a log is that
        # somebody watches.
        "sweep": {"task": "jobs.sweep", "schedule": 4.0, "options": {"expires": 4}},
        # Stops of sweeps that no message told. One query when nobody wants any.
        "sweep_stops": {"task": "jobs.stop_sweeps", "schedule": 15.0, "options": {"expires": 15}},
        # What a late request or a restored backup left at the providers.
        "orphans": {"task": "jobs.find_orphans", "schedule": 300.0, "options": {"expires": 300}},
        # A request that was late on its way is seen within the minute, also where nothing is tracked any more.
        "late_requests": {"task": "jobs.find_orphans", "schedule": 45.0, "args": (None, 1), "options": {"expires": 45}},
        # Schedule, broker and some worker do their part; each worker process also shows itself (home/tasks.py).
        "heartbeat": {"task": "home.record_heartbeat", "schedule": 20.0, "options": {"expires": 20}},
        # Availability is shown with its age; a minute is what the catalog promises.
        "availability": {"task": "catalog.observe_availability", "schedule": 60.0, "options": {"expires": 60}},
        # Prices and plans change by the month; a day old is fresh.
        "offerings": {"task": "catalog.sync_offerings", "schedule": 6 * 3600.0, "options": {"expires": 3600}},
        # Files whose check was not nudged or was cut off, bytes still to remove, certificates to complete, mails about
        # shares. Seven queries when nothing is due.
        "data": {"task": "datasets.sweep", "schedule": 15.0, "options": {"expires": 15}},
        # Copies that are due, and wishes to plan. A handful of queries when nothing is.
        "copies": {"task": "datasets.sweep_copies", "schedule": 15.0, "options": {"expires": 15}},
        # A site that does not answer is read from last within the minute.
        "sites": {"task": "datasets.look_at_sites", "schedule": 60.0, "options": {"expires": 60}},
        # Holds expire credit for themselves; this keeps the balance that pages show true.
        "credits": {"task": "billing.expire_credits", "schedule": 3600.0, "options": {"expires": 3600}},
        # Last month, on its third morning in Japan: what providers tell within two days is still in it, and what they
        # tell later is a correction. On the days after it only what was left open is found.
        "close_months": {
            "task": "billing.close_months",
            "schedule": crontab("0", "3", day_of_month="3-31"),
            "options": {"expires": 3600},
        },
        # PDFs that no message brought. One query for each language when none is missing.
        "documents": {"task": "billing.make_documents", "schedule": 1800.0, "options": {"expires": 1800}},
        # Thresholds of budgets and mails about them that no message told; holds and metering nudge it at once.
        "budgets": {"task": "billing.watch_budgets", "schedule": 300.0, "options": {"expires": 300}},
        # Yesterday's storage is on the usage page within the hour; days that were missed are caught up.
        "storage": {"task": "datasets.meter_storage", "schedule": 1800.0, "options": {"expires": 1800}},
        "results": {"task": "jobs.meter_storage", "schedule": 1800.0, "options": {"expires": 1800}},
        "storage_charges": {"task": "billing.charge_storage", "schedule": 1800.0, "options": {"expires": 1800}},
        # Statements of yesterday may be late or change: compared again until the day is over.
        "statements": {"task": "jobs.check_statements", "schedule": 6 * 3600.0, "options": {"expires": 3600}},
        # A last day ends at midnight in Japan; within the half hour its dataset is gone.
        "expiry": {"task": "datasets.expire", "schedule": 1800.0, "options": {"expires": 1800}},
        # No part of an upload is kept longer than 24 hours after it fell silent, and these minutes.
        "uploads": {"task": "datasets.abort_abandoned_uploads", "schedule": 300.0, "options": {"expires": 300}},
    },
)
# Beat alone repeats what could not be published, which is also how it makes its connection anew: without that, one to
# RabbitMQ that broke once stays broken.
for _entry in app.conf.beat_schedule.values():
    _entry["options"]["retry"] = True
app.autodiscover_tasks()
app.autodiscover_tasks(["portal.jobs"], related_name="sweep_stops")

# This worker was told to end (SIGTERM): what is under way is finished, nothing more is begun. A drain of many
# hand-overs would else outlast the half minute after which it is killed.
stopping = threading.Event()


@worker_shutting_down.connect  # type: ignore[untyped-decorator]
def _begin_nothing_more(**_: object) -> None:
    stopping.set()


PUBLISH_TIMEOUT_S = 1.0
QUIET_S = 5.0  # after a broker failed, nobody waits for it again so soon
NUDGE_EVERY_S = 0.2
_quiet_until = 0.0
_nudged_at: dict[tuple[Any, ...], float] = {}  # when the newest nudge left, or will leave
_lock = threading.Lock()
log = structlog.get_logger(__name__)


def nudge(task: "Task[Any, Any]", *args: int) -> None:
    """Publish when the transaction has committed. Never fails, hardly waits: the sweep finds what no message told.

    The first nudge goes out at once. Those that follow it within NUDGE_EVERY_S go out as one at the end of that time:
    a worker does all that is due, and a message costs it as much as a third of a hand-off.
    """
    transaction.on_commit(partial(_nudge_now, task, *args), robust=True)


def _nudge_now(task: "Task[Any, Any]", *args: int) -> None:
    failpoint("nudge.before_publish")
    key, now = (task.name, *args), time.monotonic()
    with _lock:
        since = now - _nudged_at.get(key, float("-inf"))
        if since < 0:  # one is on its way, and it will leave after this commit
            return
        _nudged_at[key] = now if since >= NUDGE_EVERY_S else now - since + NUDGE_EVERY_S
    if since >= NUDGE_EVERY_S:
        publish(task, *args)
    else:
        publish_after(NUDGE_EVERY_S - since, task, *args)


def publish_after(seconds: float, task: "Task[Any, Any]", *args: int) -> None:
    """By a clock of this process, which no broker needs to know of. Lost with the process: the sweep comes anyway."""
    later = threading.Timer(seconds, publish, (task, *args))
    later.daemon = True
    later.start()


def publish(task: "Task[Any, Any]", *args: int) -> bool:
    """Publish now. False when the broker is away: it is tried for a second, then left alone for five."""
    global _quiet_until
    if time.monotonic() < _quiet_until:
        return False
    try:
        with _publishers().acquire(block=True, timeout=PUBLISH_TIMEOUT_S) as producer:
            task.apply_async(args, producer=producer, retry=False, expires=30)
    except Exception as away:
        with _lock:
            _quiet_until = time.monotonic() + QUIET_S
        log.warning("broker cannot be reached", reason=type(away).__name__)
        return False
    return True


@cache
def _publishers() -> Any:
    """Connections of their own: a worker may wait long for a message, a web request may not wait to leave one."""
    connection = app.connection_for_write(connect_timeout=PUBLISH_TIMEOUT_S)
    if settings.BROKER_URL.startswith("redis"):
        bounds = {"socket_timeout": PUBLISH_TIMEOUT_S, "socket_connect_timeout": PUBLISH_TIMEOUT_S}
    else:
        bounds = {"read_timeout": PUBLISH_TIMEOUT_S, "write_timeout": PUBLISH_TIMEOUT_S}
    connection.transport_options = {**(connection.transport_options or {}), **bounds, "max_retries": 0}
    return pools.ProducerPool(connection.Pool(8), limit=8)  # type: ignore[no-untyped-call]
