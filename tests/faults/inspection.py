"""What became of every job, told from inside the portal's own environment:
`manage.py shell -c "from tests.faults.inspection import report; report()"` prints it as JSON.
"""

from __future__ import annotations

import json

from django.db.models import Sum

from portal.audit.verification import verify as verify_audit
from portal.billing.models import BillingAccount, Charge
from portal.billing.verification import verify as verify_ledger
from portal.catalog.provider_accounts import adapter_of
from portal.jobs.keys import key_of
from portal.jobs.models import Artifact, Attempt, Job
from portal.jobs.verification import verify as verify_jobs


def report(*codes: str) -> None:
    """Of all jobs, or of those with these codes; `problems` are those of all."""
    attempts = Attempt.objects.select_related("account", "job").order_by("job_id", "number")
    jobs = Job.objects.order_by("pk")
    if codes:
        attempts, jobs = attempts.filter(job__code__in=codes), jobs.filter(code__in=codes)
    told = {
        # First: what is over by now stays over while the rest is read.
        "settled": not attempts.filter(collected_at=None).exists(),
        "held": BillingAccount.objects.aggregate(sum=Sum("held"))["sum"],
        "jobs": {job.code: _about(job) for job in jobs},
        # The provider's own word, asked by our key: a job that was handed over twice would be there twice.
        "remote": {
            f"{attempt.job.code}/{attempt.number}": len(adapter_of(attempt.account).find(key_of(attempt)))
            for attempt in attempts
        },
        "problems": [problem.as_dict() for problem in [*verify_jobs(), *verify_ledger(), *verify_audit()]],
    }
    print(json.dumps(told))


def _about(job: Job) -> list[object]:
    charged = Charge.objects.filter(job_code=job.code).aggregate(sum=Sum("amount"))["sum"] or 0
    written = list(Artifact.objects.filter(job=job).values_list("path", flat=True))
    return [job.state, job.failure, job.attempts.count(), written, job.cost == charged]
