from __future__ import annotations

import json
from datetime import date
from typing import Any

import factory
from factory.django import DjangoModelFactory

from portal.usage import intake
from portal.usage.models import Difference, UsageReport
from tests.factories.catalog import ProviderAccountFactory


class DifferenceFactory(DjangoModelFactory[Difference]):
    """Of a job, with a statement that has one line of it."""

    class Meta:
        model = Difference

    account = factory.SubFactory(ProviderAccountFactory)
    day = date(2026, 11, 24)
    kind = "job"
    subject = factory.Sequence(lambda n: f"attempt{n:05d}")
    ours, theirs = 2000, 2200

    @factory.lazy_attribute
    def report(self) -> UsageReport:
        values: Any = self
        line = {
            "key": f"jga-test00-{values.subject}",
            "started_at": "2026-11-24 03:00:00+00:00",
            "gpu_seconds": values.theirs,
        }
        said = {"usage": [line], "bill": []}
        return intake.keep(values.account.provider, source="slurm_rest", body=json.dumps(said).encode())
