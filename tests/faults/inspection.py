"""What became of every job, told from inside the portal's own environment:
`manage.py shell -c "from tests.faults.inspection import report; report()"` prints it as JSON.
"""

from __future__ import annotations

import json

from django.db.models import Sum

from portal.billing.models import BillingAccount, Charge
from portal.catalog.provider_accounts import adapter_of
from portal.jobs.keys import key_of
from portal.jobs.models import Artifact, Attempt, Job


def report() -> None:
    attempts = Attempt.objects.select_related("account", "job").order_by("job_id", "number")
    told = {
        # First: what is over by now stays over while the rest is read.
        "settled": not Attempt.objects.filter(collected_at=None).exists(),
        "held": BillingAccount.objects.aggregate(sum=Sum("held"))["sum"],
        "jobs": {job.code: _about(job) for job in Job.objects.order_by("pk")},
        # The provider's own word, asked by our key: a job that was handed over twice would be there twice.
        "remote": {
            f"{attempt.job.code}/{attempt.number}": len(adapter_of(attempt.account).find(key_of(attempt)))
            for attempt in attempts
        },
    }
    print(json.dumps(told))


def _about(job: Job) -> list[object]:
    charged = Charge.objects.filter(job_code=job.code).aggregate(sum=Sum("amount"))["sum"] or 0
    written = list(Artifact.objects.filter(job=job).values_list("path", flat=True))
    return [job.state, job.failure, job.attempts.count(), written, job.cost == charged]
