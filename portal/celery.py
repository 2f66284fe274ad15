"""The Celery app, its queues, and the whole beat schedule on one screen.

Rows are the to-do list, messages are a nudge: every message may be lost, late or doubled.
"""

import os

from celery import Celery
from django.conf import settings

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")

app = Celery("portal")
app.conf.update(
    broker_url=settings.BROKER_URL,
    # Without the last two a killed worker's message comes back only after up to 100 s (kombu 5.7).
    broker_transport_options={"visibility_timeout": 3600, "unacked_restore_interval": 5, "unacked_restore_throttle": 1}
    if settings.BROKER_URL.startswith("redis")
    else {},
    broker_connection_retry_on_startup=True,
    broker_connection_timeout=4,
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
        "sweep": {"task": "jobs.sweep", "schedule": 3.0, "options": {"expires": 3}},
        # A silent worker is seen within a minute.
        "heartbeat": {"task": "home.record_heartbeat", "schedule": 20.0, "options": {"expires": 20}},
        # Availability is shown with its age; a minute is what the catalog promises.
        "availability": {"task": "catalog.observe_availability", "schedule": 60.0, "options": {"expires": 60}},
        # Prices and plans change by the month; a day old is fresh.
        "offerings": {"task": "catalog.sync_offerings", "schedule": 6 * 3600.0, "options": {"expires": 3600}},
        # Files whose check was not nudged or was cut off, bytes still to remove. Two queries when nothing is due.
        "data": {"task": "datasets.sweep", "schedule": 15.0, "options": {"expires": 15}},
        # Abandoned parts cost money at the store.
        "uploads": {"task": "datasets.abort_abandoned_uploads", "schedule": 3600.0, "options": {"expires": 3600}},
    },
)
app.autodiscover_tasks()
