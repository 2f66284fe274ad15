from __future__ import annotations

import io
import json
from typing import Any

import pytest
from django.core.management import call_command

from portal.accounts.models import Project
from portal.datasets.models import StorageAllowance
from portal.datasets.verification import CHECKS
from tests.factories import DataFileFactory, DatasetFactory

pytestmark = pytest.mark.django_db
USED = "a project's allowance is used by its files"


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
    assert told() == (1, {"projects": 0, "checks": list(CHECKS), "problems": [uncounted]})
    StorageAllowance.objects.create(project=project, limit_bytes=9, used_bytes=9)
    assert told()[1]["problems"] == [{**uncounted, "found": "9"}]
    assert told("--recount") == (0, {"projects": 1, "checks": list(CHECKS), "problems": []})
    assert StorageAllowance.objects.get().used_bytes == 7
