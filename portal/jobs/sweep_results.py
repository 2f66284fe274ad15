"""What a task of a sweep found: the small result.json among its files, so that a sweep's page is a table of results."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from portal.datasets import storage
from portal.jobs.models import Artifact, Job, SweepTask

RESULT_NAME = "result.json"
RESULT_MAX_BYTES = 16 * 1024
RESULT_NAMES = 20


def result_of(content: bytes) -> dict[str, Any]:
    """The flat part of what a task left as its result: at most 20 names with numbers or texts of 200 letters; {} where
    it is no JSON object."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    kept: dict[str, Any] = {}
    for name, value in found.items():
        if isinstance(value, str):
            value = value.replace("\0", "")[:200]
        elif not isinstance(value, int | float | bool) or value != value or value in (float("inf"), float("-inf")):
            continue
        if len(kept) < RESULT_NAMES and name and "\0" not in name and len(name) <= 60:
            kept[name] = value
    return kept


def keep_result(job: Job, files: Sequence[Artifact]) -> None:
    """Of a task's files, which are in storage. Again changes nothing. Raises StorageError."""
    found = next((f for f in files if f.path == RESULT_NAME and f.size_bytes <= RESULT_MAX_BYTES), None)
    if found is None:
        return
    task = SweepTask.objects.filter(job=job)
    if task.exists():
        task.update(result=result_of(storage.read(found.storage_key)))
