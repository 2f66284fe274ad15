"""Any order of submits, hand-overs, lost answers, stale listings, stops, kills and restarts: nothing lost, none twice.

The whole set: `python3 manage.py test tests/faults/test_sequences.py -m faults_full` (2,000 sequences of 50 steps).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import transaction
from django.db.models import F
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from portal.accounts.models import Project
from portal.billing.credits import grant_trial
from portal.billing.models import BillingAccount
from portal.billing.verification import verify as verify_ledger
from portal.catalog.models import ProviderAccount
from portal.core import failpoints
from portal.jobs import collection, handoff, orphans, reconciliation, tracking
from portal.jobs.cancellation import ask_stop
from portal.jobs.keys import key_of
from portal.jobs.models import Attempt, Job
from portal.jobs.request import JobRequest
from portal.jobs.states import AttemptState
from portal.jobs.submission import submit
from portal.jobs.verification import verify as verify_jobs
from portal.providers.base import RemoteJob, RemoteState
from portal.providers.errors import Misconfigured, OutcomeUnknown, ProviderError, Rejected, Unavailable
from tests.factories import MembershipFactory, PriceFactory, ProjectFactory, ProviderAccountFactory
from tests.jobs.fakes import FakeProvider

pytestmark = [pytest.mark.django_db, pytest.mark.timeout(0)]

LAG_S = 30
KILLS = (
    "handoff.after_claim",
    "handoff.before_send",
    "handoff.after_send",
    "handoff.before_commit",
    "handoff.after_look",
    "tracking.before_commit",
    "tracking.after_cancel",
    "collect.before_settle",
)
REFUSALS: dict[str, Callable[[], Exception]] = {
    "unreachable": lambda: Unavailable("connection refused"),
    "slow down": lambda: Unavailable("slow down", retry_after_s=20, code="429"),
    "revoked": lambda: Misconfigured("401"),
    "no": lambda: Rejected("no such machine", failure="no_capacity"),
}
ENDS = (RemoteState.SUCCEEDED, RemoteState.FAILED, RemoteState.INTERRUPTED, RemoteState.TIMED_OUT)


class Killed(BaseException):
    """kill -9: nothing after it runs, what was not committed is gone."""


class LaggingProvider(FakeProvider):
    """Lists a job half a minute after it was accepted, and ends it only when it was asked to."""

    listing_lag_s = LAG_S

    def __init__(self) -> None:
        super().__init__()
        self.clock_s = 0.0
        self.added_at_s: dict[str, float] = {}

    def add(self, key: str) -> RemoteJob:
        job = super().add(key)
        self.added_at_s[job.remote_id] = self.clock_s
        return job

    def _listed(self, job: RemoteJob) -> bool:
        return self.clock_s - self.added_at_s[job.remote_id] >= LAG_S

    def find(self, key: str) -> list[RemoteJob]:
        return [job for job in super().find(key) if self._listed(job)]

    def list_jobs(self, key_prefix: str, *, since: datetime) -> Any:
        return (job for job in list(super().list_jobs(key_prefix, since=since)) if self._listed(job))

    def cancel(self, remote_id: str) -> None:
        super().cancel(remote_id)
        if not self.jobs[remote_id].state.is_final:
            self.becomes(RemoteState.CANCELLED, remote_id, ended_at=datetime.now(UTC))


class JobsUnderFire(RuleBasedStateMachine):
    @initialize(limit=st.sampled_from([None, None, 1, 2]))
    def begin(self, limit: int | None) -> None:
        self.outer = transaction.atomic()
        self.outer._from_testcase = True  # type: ignore[attr-defined]  # as Django's TestCase marks its own
        self.outer.__enter__()
        project: Project = ProjectFactory()
        self.project = project
        self.person = MembershipFactory(organization=project.organization, role="owner").user
        grant_trial(project.organization, founder=self.person)
        offering = PriceFactory().offering
        self.account = ProviderAccountFactory(provider=offering.provider, concurrent_limit=limit)
        self.request = JobRequest(
            name="n", offering=offering, gpus=1, time_limit_s=60, cost_cap=17, command="true", secrets={"TOKEN": "x"}
        )
        self.provider = LaggingProvider()
        self.submitted = 0
        self.kept = [(module, module.adapter_of) for module in (handoff, tracking, collection, orphans)]
        for module, _ in self.kept:
            module.adapter_of = lambda account: self.provider  # type: ignore[attr-defined]

    def teardown(self) -> None:
        if not hasattr(self, "outer"):
            return
        try:
            self._all_ends_well()
        finally:
            failpoints.armed.clear()
            for module, adapter_of in self.kept:
                module.adapter_of = adapter_of  # type: ignore[attr-defined]
            transaction.set_rollback(True)
            self.outer.__exit__(None, None, None)

    # --- what people do

    @rule(again=st.booleans())
    def submit(self, again: bool) -> None:
        number = self.submitted if again and self.submitted else self.submitted + 1
        if number > 8:
            return
        job = submit(self.project, request=self.request, key=f"form-{number}", by=self.person)
        assert job == submit(self.project, request=self.request, key=f"form-{number}", by=self.person)
        self.submitted = number

    @precondition(lambda self: self.submitted)
    @rule(which=st.integers(0, 7))
    def stop(self, which: int) -> None:
        ask_stop(self._jobs()[which % self.submitted], by=self.person)

    # --- what workers do, and what becomes of them

    @rule(kill=st.sampled_from(["", "", *KILLS]), step=st.sampled_from(["hand_off", "track", "collect", "orphans"]))
    def work(self, kill: str, step: str) -> None:
        self._run(step, kill)

    @rule(name=st.sampled_from([*REFUSALS]))
    def refused(self, name: str) -> None:
        self.provider.before = [REFUSALS[name]()]
        self._run("hand_off")
        self.provider.before = []

    @rule()
    def answer_lost(self) -> None:
        self.provider.after = [OutcomeUnknown("reset")]
        self._run("hand_off")
        self.provider.after = []

    @rule(step=st.sampled_from(["hand_off", "track", "collect", "orphans"]))
    def provider_dark(self, step: str) -> None:
        self.provider.down = Unavailable("time-out")
        self._run(step)
        self.provider.down = None

    @rule(seconds=st.sampled_from([1, 15, 60, 200]))
    def time_passes(self, seconds: int) -> None:
        self.provider.clock_s += seconds
        shift = timedelta(seconds=seconds)
        names = ("lease_until", "not_before", "sent_at", "accepted_at", "seen_at", "stop_asked_at", "created_at")
        Attempt.objects.update(**{name: F(name) - shift for name in names})
        ProviderAccount.objects.update(paused_until=F("paused_until") - shift)

    @rule()
    def workers_restart(self) -> None:
        handoff.BEGAN = datetime.now(UTC)

    # --- what happens at the provider

    @rule(which=st.integers(0, 7), end=st.sampled_from(ENDS))
    def goes_on(self, which: int, end: RemoteState) -> None:
        alive = [job for job in self.provider.jobs.values() if not job.state.is_final]
        if not alive:
            return
        job = alive[which % len(alive)]
        if job.state is RemoteState.QUEUED:
            self.provider.becomes(RemoteState.RUNNING, job.remote_id, started_at=datetime.now(UTC))
        else:
            code = 0 if end is RemoteState.SUCCEEDED else 1
            self.provider.becomes(end, job.remote_id, ended_at=datetime.now(UTC), exit_code=code)

    @rule()
    def tells_old_news(self) -> None:
        true = dict(self.provider.jobs)
        for remote_id, job in true.items():
            self.provider.jobs[remote_id] = replace(job, state=RemoteState.QUEUED, started_at=None, ended_at=None)
        self._run("track")
        self.provider.jobs = true

    # --- what always holds

    @invariant()
    def every_promise_holds(self) -> None:
        if hasattr(self, "outer"):
            assert verify_jobs() == []
            assert verify_ledger() == []
            assert len(self._jobs()) == self.submitted
            keys = [job.key for job in self.provider.jobs.values()]
            assert len(keys) == len(set(keys)), "a job is at its provider twice"
            if self.account.concurrent_limit is not None:
                alive = sum(not job.state.is_final for job in self.provider.jobs.values())
                assert alive <= self.account.concurrent_limit

    def _run(self, step: str, kill: str = "") -> None:
        def die() -> None:
            raise Killed

        failpoints.armed = {kill: die} if kill else {}
        try:
            self._take(step)
        except (Killed, ProviderError):
            pass
        finally:
            failpoints.armed = {}

    def _take(self, step: str) -> None:
        if step == "hand_off":
            handoff.hand_off_due(self.account)
        elif step == "track":
            tracking.track(self.account.pk)
        elif step == "orphans":
            orphans.find(self.account)
        else:
            reconciliation.collect_due(self.account.pk)

    def _all_ends_well(self) -> None:
        """The last fault is over: every job ends by itself, those that were sent exactly once."""
        for _ in range(60):
            self.time_passes(200)
            for step in ("hand_off", "track", "collect"):
                self._run(step)
            for which in range(len(self.provider.jobs)):
                self.goes_on(which, RemoteState.SUCCEEDED)
            if all(job.is_final for job in self._jobs()) and not Attempt.objects.unfinished().exists():
                break
        assert [job.state for job in self._jobs() if not job.is_final] == []
        self.every_promise_holds()
        held = BillingAccount.objects.filter(organization=self.project.organization).values_list("held", flat=True)
        assert list(held) == [0]
        sent = {job.key for job in self.provider.jobs.values()}
        attempts = Attempt.objects.exclude(remote_id="")
        assert {key_of(a) for a in attempts} == sent
        assert not Attempt.objects.exclude(state=AttemptState.ENDED).exists()

    def _jobs(self) -> list[Job]:
        return list(Job.objects.filter(project=self.project).order_by("pk"))


def _check(sequences: int) -> None:
    run_state_machine_as_test(
        JobsUnderFire,
        settings=settings(
            max_examples=sequences,
            report_multiple_bugs=False,
            stateful_step_count=50,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )


def test_fifteen_sequences_of_fifty_steps(storage_ready: None) -> None:
    _check(15)


@pytest.mark.faults_full
def test_two_thousand_sequences_of_fifty_steps(storage_ready: None) -> None:
    _check(2000)
