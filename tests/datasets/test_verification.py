from __future__ import annotations

import io
import json
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import call_command
from django.utils import timezone

from portal.accounts.models import Project
from portal.datasets import quota, storage, verification
from portal.datasets.models import StorageAllowance
from portal.datasets.verification import CHECKS
from tests.factories import DataFileFactory, DatasetFactory

pytestmark = pytest.mark.django_db
USED = "a project's allowance is used by its files"
METERED = "what is metered is what the files say"


def told(*words: str) -> tuple[int, dict[str, Any]]:
    out, code = io.StringIO(), 0
    try:
        call_command("verify_storage", *words, stdout=out)
    except SystemExit as end:
        code = int(str(end.code))
    return code, json.loads(out.getvalue())


def test_sums_that_differ_are_told_and_counted_anew_on_request(project: Project) -> None:
    DataFileFactory(dataset=DatasetFactory(project=project), size_bytes=7)
    uncounted = {"check": USED, "subject": project.code, "expected": "7", "found": "none"}
    unmetered = {**uncounted, "check": METERED}
    assert told() == (1, {"projects": 0, "checks": list(CHECKS), "problems": [uncounted, unmetered], "not_asked": []})
    StorageAllowance.objects.create(project=project, limit_bytes=9, used_bytes=9)
    assert told()[1]["problems"] == [{**uncounted, "found": "9"}, unmetered]
    assert told("--recount") == (0, {"projects": 1, "checks": list(CHECKS), "problems": [], "not_asked": []})
    assert StorageAllowance.objects.get().used_bytes == 7


def test_an_upload_that_was_not_given_up_is_told(project: Project) -> None:
    rule = "no upload is kept longer than 24 hours after it fell silent"
    empty = {"dataset": DatasetFactory(project=project), "state": "uploading", "sha256": "", "ready_at": None}
    now = timezone.now()
    old = DataFileFactory(**empty, part_size_bytes=8, active_at=now - timedelta(hours=24, minutes=16))
    DataFileFactory(**empty, part_size_bytes=8, active_at=now - timedelta(hours=24, minutes=14))
    quota.recount(project.pk)
    code, report = told()
    assert (code, [(found["check"], found["subject"]) for found in report["problems"]]) == (1, [(rule, old.code)])


def test_the_store_is_asked_which_parts_it_keeps(
    project: Project, storage_ready: None, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    key, mine = f"t/test/{uuid4()}", f"t/test/{uuid4()}"
    DataFileFactory(
        dataset=DatasetFactory(project=project), state="uploading", sha256="", ready_at=None, part_size_bytes=8,
        storage_key=mine, upload_id=storage.create_upload(mine),
    )  # fmt: skip
    quota.recount(project.pk)
    storage.create_upload(key)
    young = told("--store")[1]
    monkeypatch.setattr(verification, "LATE", -timedelta(hours=25))
    _code, report = told("--store")
    settings.S3_ENDPOINT = "http://127.0.0.1:9"
    code, away = told("--store")
    found = {problem["subject"] for problem in report["problems"]}
    assert ([p for p in young["problems"] if p["subject"] == key], key in found, mine in found) == ([], True, False)
    assert (code, away["problems"], len(away["not_asked"])) == (1, [], 1)
