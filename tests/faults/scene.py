"""One organization's own account at one emulated provider, whose faults come and end; time passes in the rows."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from django.db.models import Sum

from portal.accounts.models import Project, User
from portal.billing.models import BillingAccount, Charge
from portal.billing.verification import verify as verify_ledger
from portal.catalog.models import Offering, ProviderAccount
from portal.catalog.pricing import cost_of_job
from portal.datasets.models import DataFile
from portal.jobs.metering import seconds_between
from portal.jobs.models import Attempt, Job
from portal.jobs.reconciliation import reconcile
from portal.jobs.verification import verify as verify_jobs
from portal.jobs.verification import verify_at_providers
from portal.usage.models import UsageRecord
from tests.faults import recoveries
from tests.faults.dying import COMMAND, send
from tests.faults.rig import not_once_at_their_provider
from tests.jobs.conftest import Steps
from tests.providers.emulated import Emulator

ENDS_WITHIN_S = 120


@dataclass
class Scene:
    """One organization's own account at one emulated provider."""

    emulator: Emulator
    project: Project
    offering: Offering
    person: User
    account: ProviderAccount
    waits: bool = False  # until all is well again; else that time passes in the rows

    def send(self, count: int, command: str = COMMAND, inputs: tuple[DataFile, ...] = ()) -> None:
        for _ in range(count):
            number = Job.objects.count()
            send(self.project, self.offering, self.person, key=f"form-{number}", command=command, inputs=inputs)

    def rounds(self, count: int, *, passing_s: float = 0) -> None:
        """All steps that are due, so many times; before each, so much time has gone by since the rows were written."""
        for _ in range(count):
            if passing_s:
                Steps(self.account.pk).pass_time(passing_s)
            list(reconcile(pk=self.account.pk))
            time.sleep(0.1)

    def until(self, wanted: Callable[[], bool], *, passing_s: float = 0) -> None:
        deadline = time.monotonic() + ENDS_WITHIN_S
        while not wanted():
            assert time.monotonic() < deadline, self.states()
            self.rounds(1, passing_s=passing_s)

    def ends_well(self, *, but: dict[str, str] | None = None) -> None:
        """The fault is over; `but`: the failures that remain, by job code."""
        self.emulator.fault(clear=True)
        began = time.monotonic()
        self.until(lambda: not Attempt.objects.unfinished().exists(), passing_s=0 if self.waits else 5)
        if self.waits:
            recoveries.note("ended", time.monotonic() - began)
        failed = dict(Job.objects.exclude(state="succeeded").values_list("code", "failure"))
        assert failed == (but or {})
        assert not_once_at_their_provider() == []
        assert (verify_jobs(), verify_ledger(), verify_at_providers()) == ([], [], ([], []))
        assert not BillingAccount.objects.exclude(held=0).exists()

    @contextmanager
    def dark(self) -> Iterator[None]:
        """Nobody listens at the provider's address until the block ends. Its jobs go on."""
        where, account = self.account.endpoint, ProviderAccount.objects.filter(pk=self.account.pk)
        account.update(endpoint=re.sub(r":\d+", ":9", where))
        try:
            yield
        finally:
            account.update(endpoint=where)

    def charged(self) -> list[tuple[str, int, int]]:
        """Of each job: code, GPU-seconds, yen; checked against the records that they are the sum of."""
        told = list(Job.objects.order_by("pk").values_list("code", "gpu_seconds", "cost"))
        for job in Job.objects.select_related("offering", "price"):
            seconds = seconds_between(job.started_at, job.ended_at) or 1
            assert (job.gpu_seconds, job.cost) == (
                seconds * job.gpus,
                int(cost_of_job(job.price, gpus=job.gpus, seconds=seconds)),
            )
            kept = UsageRecord.objects.filter(job_code=job.code).aggregate(sum=Sum("gpu_seconds"))["sum"]
            paid = Charge.objects.filter(job_code=job.code).aggregate(sum=Sum("amount"))["sum"]
            assert (kept, paid) == (job.gpu_seconds, job.cost)
        return told

    def states(self) -> list[tuple[str, str]]:
        return list(Attempt.objects.order_by("pk").values_list("job__state", "state"))

    def at_work(self) -> bool:
        return {state for _job, state in self.states()} == {"running"}
