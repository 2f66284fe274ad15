"""Any order of submits, hand-overs, answers, lost answers, slow and killed workers, stale listings, stops, other
places, new beginnings and budgets: nothing lost, nothing twice, nobody charged beyond what they agreed to.

The whole set: `python3 manage.py test tests/faults/test_sequences.py -m faults_full -s` (2,000 sequences of 50
steps).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection, transaction
from django.db.models import F, Q
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from portal.accounts.models import Project
from portal.audit.models import AuditEvent
from portal.audit.verification import verify as verify_audit
from portal.billing.budgets import BelowCommitted, set_limit
from portal.billing.credits import grant_trial
from portal.billing.holds import OverBudget
from portal.billing.models import BillingAccount, LedgerEntry
from portal.billing.verification import verify as verify_ledger
from portal.catalog.models import Offering, ProviderAccount
from portal.core import failpoints
from portal.jobs import collection, handoff, metering, orphans, reconciliation, tracking
from portal.jobs.cancellation import ask_stop
from portal.jobs.keys import key_of
from portal.jobs.models import Attempt, Job
from portal.jobs.places import Refused
from portal.jobs.request import JobRequest
from portal.jobs.states import AttemptState
from portal.jobs.submission import submit
from portal.jobs.verification import verify as verify_jobs
from portal.providers.base import JobSpec, RemoteJob, RemoteState
from portal.providers.errors import Misconfigured, NotFound, OutcomeUnknown, ProviderError, Rejected, Unavailable
from portal.usage.models import UsageRecord
from tests.factories import (
    MembershipFactory,
    OfferingFactory,
    PriceFactory,
    ProjectFactory,
    ProviderAccountFactory,
    ProviderFactory,
)
from tests.jobs.fakes import FakeProvider

pytestmark = [pytest.mark.django_db, pytest.mark.timeout(0)]

LAG_S = 30
CALL_MAX_S = 15  # a request that is on its way for longer is later than any that an adapter waits for
JOBS_MAX = 8
STEPS = ("hand_off", "track", "collect", "orphans")
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
# Where a worker may stand still while others go on: between its transactions, and inside its calls.
PAUSES = (
    "handoff.after_claim",
    "handoff.before_send",
    "handoff.after_send",
    "handoff.after_look",
    "tracking.after_cancel",
    "collect.before_settle",
    "submit",  # the request is on its way
    "find",  # the answer is
    "list",
    "get",
    "cancel",
)
MEANWHILE = (
    *STEPS,
    "leave",
    "stop",
    "goes_on",
    "15 s",
    "60 s",
    "they look until they may send again",
    "they see it run",
    "they bring it to its end",
)
# Before any effect: what the provider certainly has not.
REFUSALS: dict[str, Callable[[], Exception]] = {
    "unreachable": lambda: Unavailable("connection refused"),
    "slow down": lambda: Unavailable("slow down", retry_after_s=20, code="429"),
    "revoked": lambda: Misconfigured("401"),
    "no capacity": lambda: Rejected("no GPU is free", failure="no_capacity"),
    "bad image": lambda: Rejected("no such image", failure="image"),
    "not allowed": lambda: Rejected("not your project", failure="access_refused"),
    "a word of its own": lambda: Rejected("no", failure="because"),
}
# After the effect, or without one: who asked cannot tell.
UNKNOWN = ("reset", "lost on its way", "not of its contract", "without an id", "with another's id")
ENDS = (RemoteState.SUCCEEDED, RemoteState.FAILED, RemoteState.INTERRUPTED, RemoteState.TIMED_OUT)
ACCOUNTS = st.integers(0, 1)
WISHES = st.tuples(
    st.sampled_from([17, 60, 200, 500]),  # the cap, in yen: once to its end costs at most 168
    st.integers(0, 2),  # new beginnings
    st.sampled_from(["", "other", "other beside"]),  # where else
)


class Killed(BaseException):
    """kill -9: nothing after it runs, what was not committed is gone."""


class Clock:
    """What goes by in a sequence, for the provider and for a worker that stands still; rows are moved instead."""

    def __init__(self) -> None:
        self.passed_s = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.passed_s


class WatchfulProvider(FakeProvider):
    """Lists a job half a minute after it was accepted, ends it only when it was asked to, and sees what is done wrong.

    What it saw is in `wrong`, because the portal takes whatever a call raises for an answer that was lost.
    """

    listing_lag_s = LAG_S

    def __init__(self, clock: Clock, pause: Callable[[str], None], name: str) -> None:
        super().__init__()
        self.clock, self.pause, self.name = clock, pause, name
        self.unknown = ""  # how the next submit is answered, one of UNKNOWN
        self.added_at_s: dict[str, float] = {}
        self.sent_at_s: dict[str, float] = {}  # by key, of those that may be here
        self.missed: Counter[str] = Counter()  # times each was looked for in vain when it had to be listed, since then
        self.late: set[str] = set()  # keys of requests that came later than any call lasts
        self.away: set[str] = set()  # ids that it does not tell of for a while
        self.wrong: list[str] = []

    def submit(self, spec: JobSpec) -> RemoteJob:
        self._called()
        key = spec.key
        if key in self.sent_at_s and key not in self.late:
            if self.missed[key] < handoff.LOOKS:
                self.wrong.append(f"sent again after {self.missed[key]} looks in vain")
            if any(self._listed(job) for job in self.jobs.values() if job.key == key):
                self.wrong.append("sent again although it is listed")
        self.sent_at_s.pop(key, None)
        if self.before:
            raise self.before.pop(0)
        self.sent_at_s[key], self.missed[key] = began_at, _ = self.clock.monotonic(), 0
        self.pause("submit")
        if self.clock.monotonic() - began_at > CALL_MAX_S:
            self.late.add(key)
        unknown, self.unknown = self.unknown, ""
        if unknown == "lost on its way":
            raise OutcomeUnknown("time-out")
        others = [job for job in self.jobs.values() if job.key != key]
        job = self.add(key)
        if unknown == "reset":
            raise OutcomeUnknown("reset")
        if unknown == "not of its contract":
            raise ValueError("what no adapter may raise")
        if unknown == "without an id":
            return replace(job, remote_id="")
        if unknown == "with another's id" and others:
            return replace(job, remote_id=others[-1].remote_id)
        return job

    def add(self, key: str) -> RemoteJob:
        job = RemoteJob(f"{self.name}{len(self.jobs) + 1}", key, RemoteState.QUEUED, created_at=datetime.now(UTC))
        self.jobs[job.remote_id] = job
        self.added_at_s[job.remote_id] = self.clock.monotonic()
        return job

    def find(self, key: str) -> list[RemoteJob]:
        self._called()
        found = [job for job in super().find(key) if self._listed(job)]
        if not found and self.clock.monotonic() - self.sent_at_s.get(key, float("inf")) > LAG_S + CALL_MAX_S:
            self.missed[key] += 1
        self.pause("find")
        return found

    def get(self, remote_id: str) -> RemoteJob:
        self._called()
        job = super().get(remote_id)
        if remote_id in self.away:
            raise NotFound("no such job")
        self.pause("get")
        return job

    def list_jobs(self, key_prefix: str, *, since: datetime) -> Iterator[RemoteJob]:
        self._called()
        jobs = [job for job in super().list_jobs(key_prefix, since=since) if self._listed(job)]
        self.pause("list")
        return iter(jobs)

    def cancel(self, remote_id: str) -> None:
        self._called()
        super().cancel(remote_id)
        self.pause("cancel")
        if not self.jobs[remote_id].state.is_final:
            self.becomes(RemoteState.CANCELLED, remote_id, ended_at=datetime.now(UTC))

    def time_passed(self, shift: timedelta) -> None:
        for remote_id, job in self.jobs.items():
            instants = {name: getattr(job, name) for name in ("created_at", "started_at", "ended_at")}
            earlier = {name: instant - shift for name, instant in instants.items() if instant is not None}
            self.jobs[remote_id] = replace(job, **earlier)

    @property
    def alive(self) -> list[RemoteJob]:
        return [job for job in self.jobs.values() if not job.state.is_final]

    def _listed(self, job: RemoteJob) -> bool:
        return self.clock.monotonic() - self.added_at_s[job.remote_id] >= LAG_S and job.remote_id not in self.away

    def _called(self) -> None:
        if not connection.atomic_blocks[-1]._from_testcase:
            self.wrong.append("called inside a transaction")


class JobsUnderFire(RuleBasedStateMachine):
    over = 0  # sequences so far, of all that this process runs

    @initialize(
        wishes=st.lists(WISHES, min_size=1, max_size=4),
        limit=st.sampled_from([None, None, 1, 2]),
        budget=st.sampled_from([None, 400, 1200]),
        end=st.sampled_from([RemoteState.SUCCEEDED, RemoteState.INTERRUPTED]),
    )
    def begin(
        self, wishes: list[tuple[int, int, str]], limit: int | None, budget: int | None, end: RemoteState
    ) -> None:
        self.outer = transaction.atomic()
        self.outer._from_testcase = True  # type: ignore[attr-defined]  # as Django's TestCase marks its own
        self.outer.__enter__()
        project: Project = ProjectFactory()
        self.project = project
        self.person = MembershipFactory(organization=project.organization, role="owner").user
        grant_trial(project.organization, founder=self.person)
        # Two plans of one provider, the second without a minimum, and one of another.
        self.first: Offering = PriceFactory().offering
        self.beside = PriceFactory(
            offering=OfferingFactory(provider=self.first.provider), amount="0.10", minimum_s=0
        ).offering
        there = OfferingFactory(provider=ProviderFactory(slug="highreso"), adapter="slurm_ssh")
        self.other = PriceFactory(offering=there, amount="0.20", minimum_s=0).offering
        self.accounts: list[ProviderAccount] = [
            ProviderAccountFactory(provider=self.first.provider, concurrent_limit=limit),
            ProviderAccountFactory(provider=self.other.provider, kind="slurm_ssh"),
        ]
        self.clock = Clock()
        self.providers = [WatchfulProvider(self.clock, self._pause, name) for name in ("a", "b")]
        of = {account.pk: provider for account, provider in zip(self.accounts, self.providers, strict=True)}
        self.submitted, self.end = 0, end
        self.request: JobRequest | None = None  # the last
        self.wrong: list[str] = []
        self.paused: dict[str, Callable[[], None]] = {}
        self.kept = [(module, module.adapter_of) for module in (handoff, tracking, collection, orphans)]
        for module, _ in self.kept:
            module.adapter_of = lambda account: of[account.pk]  # type: ignore[attr-defined]
        self.began = handoff.BEGAN
        handoff.time = self.clock  # type: ignore[assignment]
        self.written = True
        self.watching = connection.execute_wrapper(self._watch)
        self.watching.__enter__()
        for wish in wishes:
            self.submit(False, wish)
        self.budget(budget, True)

    def teardown(self) -> None:
        if not hasattr(self, "outer"):
            return
        try:
            self._all_ends_well()
            JobsUnderFire.over += 1
            if JobsUnderFire.over % 50 == 0:
                print(f"{datetime.now(UTC):%H:%M:%S} {JobsUnderFire.over} sequences", flush=True)
        finally:
            failpoints.armed = {}
            self.watching.__exit__(None, None, None)
            for module, adapter_of in self.kept:
                module.adapter_of = adapter_of  # type: ignore[attr-defined]
            handoff.time, handoff.BEGAN = time, self.began
            transaction.set_rollback(True)
            self.outer.__exit__(None, None, None)

    # --- what people do

    @rule(again=st.booleans(), wish=WISHES)
    def submit(self, again: bool, wish: tuple[int, int, str]) -> None:
        cap, retries, elsewhere = wish
        number, request = self.submitted, self.request
        if not (again and number):
            number += 1
            alternatives = tuple(getattr(self, name) for name in elsewhere.split())
            request = JobRequest(
                name="n", offering=self.first, gpus=1, time_limit_s=600, cost_cap=cap, command="true",
                secrets={"TOKEN": "x"}, alternatives=alternatives, retries=retries,
            )  # fmt: skip
        if number > JOBS_MAX:
            return
        try:
            job = submit(self.project, request=request, key=f"form-{number}", by=self.person)
        except OverBudget as over:
            assert over.left < cap
            return
        except Refused as no:
            assert (no.field, self.other.active, "other" in elsewhere) == ("alternatives", False, True)
            return
        assert job == submit(self.project, request=request, key=f"form-{number}", by=self.person)
        self.submitted, self.request = number, request

    @rule(which=st.integers(0, JOBS_MAX - 1))
    def stop(self, which: int) -> None:
        ask_stop(self._jobs()[which % self.submitted], by=self.person)

    @rule(limit=st.sampled_from([None, 0, 200, 700, 2000]), of_project=st.booleans())
    def budget(self, limit: int | None, of_project: bool) -> None:
        project = self.project if of_project else None
        try:
            set_limit(self.project.organization, project=project, monthly_limit=limit, by=self.person)
        except BelowCommitted as more:
            assert limit is not None and limit < more.committed

    @rule()
    def other_place_closes_or_opens(self) -> None:
        self.other.active = not self.other.active
        Offering.objects.filter(pk=self.other.pk).update(active=self.other.active)

    # --- what workers do, and what becomes of them

    @rule(account=ACCOUNTS)
    def all_work(self, account: int) -> None:
        for step in STEPS:
            self._run(step, account)

    @rule(kill=st.sampled_from(KILLS), step=st.sampled_from(STEPS), account=ACCOUNTS)
    def a_worker_dies(self, kill: str, step: str, account: int) -> None:
        self._run(step, account, kill)

    @rule(
        step=st.sampled_from(STEPS),
        account=ACCOUNTS,
        point=st.sampled_from(PAUSES),
        meanwhile=st.lists(st.sampled_from(MEANWHILE), min_size=1, max_size=4),
        which=st.integers(0, JOBS_MAX - 1),
        unknown=st.sampled_from(["", "", *UNKNOWN]),
        dies=st.booleans(),
    )
    def a_worker_stands_still(
        self, step: str, account: int, point: str, meanwhile: list[str], which: int, unknown: str, dies: bool
    ) -> None:
        """It holds an attempt, others come by once its lease is over, and then it goes on, or never does."""

        def others_work() -> None:
            self.paused.clear()
            failpoints.armed = {}
            try:
                for act in meanwhile:
                    self._others_do(act, account, which)
            except BaseException as problem:  # the portal would take it for a lost answer
                self.wrong.append(repr(problem))
            if dies:
                raise Killed

        self.providers[account].unknown = unknown if step == "hand_off" else ""
        self.paused[point] = others_work
        self._run(step, account, arm={point: others_work})
        self.paused.clear()
        self.providers[account].unknown = ""

    @rule(names=st.lists(st.sampled_from([*REFUSALS]), min_size=1, max_size=3), account=ACCOUNTS)
    def refused(self, names: list[str], account: int) -> None:
        self.providers[account].before = [REFUSALS[name]() for name in names]
        self._run("hand_off", account)
        self.providers[account].before = []

    @rule(account=ACCOUNTS)
    def cannot_be_reached_for_minutes(self, account: int) -> None:
        for _ in range(2):
            self.time_passes(60)
            self.provider_dark("hand_off", account)

    @rule(unknown=st.sampled_from(UNKNOWN), account=ACCOUNTS)
    def answer_lost(self, unknown: str, account: int) -> None:
        self.providers[account].unknown = unknown
        self._run("hand_off", account)
        self.providers[account].unknown = ""

    @rule(account=ACCOUNTS, seconds=st.sampled_from([5, 15]))
    def looked_for_again_and_again(self, account: int, seconds: int) -> None:
        for _ in range(handoff.LOOKS + 1):
            self.time_passes(seconds)
            self._run("hand_off", account)

    @rule(step=st.sampled_from(STEPS), account=ACCOUNTS)
    def provider_dark(self, step: str, account: int) -> None:
        provider = self.providers[account]
        provider.down, provider.before = Unavailable("time-out"), [Unavailable("refused to connect")]
        self._run(step, account)
        provider.down, provider.before = None, []

    @rule(account=ACCOUNTS)
    def leave(self, account: int) -> None:
        """Nobody calls the provider, because it has failed several times."""
        handoff.leave(self.accounts[account].pk)

    @rule(seconds=st.sampled_from([5, 15, 60, 200]))
    def time_passes(self, seconds: int) -> None:
        before = self.written
        self.clock.passed_s += seconds
        shift = timedelta(seconds=seconds)
        for provider in self.providers:
            provider.time_passed(shift)
        handoff.BEGAN -= shift
        Attempt.objects.update(**{name: F(name) - shift for name in INSTANTS_OF_ATTEMPTS})
        Job.objects.update(**{name: F(name) - shift for name in ("started_at", "ended_at")})
        ProviderAccount.objects.update(paused_until=F("paused_until") - shift)
        _move_usage(shift)
        self.written = before  # of what holds nothing is else when all is as much older

    @rule()
    def workers_restart(self) -> None:
        handoff.BEGAN = datetime.now(UTC)

    # --- what happens at the provider

    @rule(end=st.sampled_from(ENDS), account=ACCOUNTS, seconds=st.sampled_from([0, 15, 200]))
    def all_run_and_end(self, end: RemoteState, account: int, seconds: int) -> None:
        provider = self.providers[account]
        for _ in range(2):
            for job in provider.alive:
                self._goes_on(provider, job, end)
            self.time_passes(seconds)
            self._run("track", account)

    @rule(which=st.integers(0, JOBS_MAX - 1), end=st.sampled_from(ENDS), account=ACCOUNTS)
    def goes_on(self, which: int, end: RemoteState, account: int) -> None:
        provider = self.providers[account]
        if alive := provider.alive:
            self._goes_on(provider, alive[which % len(alive)], end)

    def _goes_on(self, provider: WatchfulProvider, job: RemoteJob, end: RemoteState) -> None:
        if job.state is RemoteState.QUEUED:
            provider.becomes(RemoteState.RUNNING, job.remote_id, started_at=datetime.now(UTC))
        else:
            code = 0 if end is RemoteState.SUCCEEDED else 1
            provider.becomes(end, job.remote_id, ended_at=datetime.now(UTC), exit_code=code)

    @rule(account=ACCOUNTS)
    def tells_old_news(self, account: int) -> None:
        provider = self.providers[account]
        true = dict(provider.jobs)
        told = {i: replace(job, state=RemoteState.QUEUED, started_at=None, ended_at=None) for i, job in true.items()}
        provider.jobs = dict(told)
        self._run("track", account)
        # What was ended meanwhile stays ended: only the news was old.
        provider.jobs = {i: true[i] if job is told[i] else job for i, job in provider.jobs.items()}

    @rule(account=ACCOUNTS, seconds=st.sampled_from([1, 60, 200]))
    def does_not_tell_of_jobs_for_a_while(self, account: int, seconds: int) -> None:
        known = Attempt.objects.filter(account=self.accounts[account]).exclude(remote_id="")
        self.providers[account].away = set(known.values_list("remote_id", flat=True))
        self.time_passes(seconds)
        for step in STEPS:
            self._run(step, account)
        self.providers[account].away = set()

    # --- what always holds

    @invariant()
    def every_promise_holds(self) -> None:
        if not hasattr(self, "outer"):
            return
        assert self.wrong == [], "while a worker stood still"
        assert [provider.wrong for provider in self.providers] == [[], []]
        if not self.written:
            return
        self.written = False
        assert verify_jobs() == []
        assert verify_ledger() == []
        assert sum(LedgerEntry.objects.values_list("amount", flat=True)) == 0
        jobs, attempts = self._jobs(), list(Attempt.objects.order_by("pk"))
        assert len(jobs) == self.submitted
        self._no_job_is_there_twice(attempts)
        assert _charged_for_the_same_time() == []
        self._each_way_on_is_audited(jobs, attempts)

    def _no_job_is_there_twice(self, attempts: list[Attempt]) -> None:
        """But for requests that came later than any call lasts: no client prevents those (RELIABILITY, section 1)."""
        job_of = {key_of(attempt): attempt.job_id for attempt in attempts}
        alive: Counter[int] = Counter()
        for account, provider in zip(self.accounts, self.providers, strict=True):
            keys = [job.key for job in provider.jobs.values() if job.key not in provider.late]
            assert len(keys) == len(set(keys)), "a job is at its provider twice"
            here = [job_of[job.key] for job in provider.alive if job.key not in provider.late]
            alive.update(here)
            assert account.concurrent_limit is None or len(here) <= account.concurrent_limit
        assert [job for job, count in alive.items() if count > 1] == [], "two attempts of one job are alive"

    def _each_way_on_is_audited(self, jobs: list[Job], attempts: list[Attempt]) -> None:
        more = Counter(attempt.job_id for attempt in attempts if attempt.number > 1)
        goes_on = Q(act="job.placed_elsewhere") | Q(act="job.moved", detail__reason="tried_again")
        told = Counter(AuditEvent.objects.filter(goes_on).values_list("subject", flat=True))
        assert {f"job:{job.code}": more[job.pk] for job in jobs if more[job.pk]} == told
        for job in jobs:
            mine = [attempt for attempt in attempts if attempt.job_id == job.pk]
            assert sum(attempt.state != AttemptState.ENDED for attempt in mine) <= 1
            assert len(mine) <= 1 + job.retries + len(job.alternatives)

    def _watch(self, execute: Callable[..., object], sql: str, params: object, many: bool, context: object) -> object:
        """What was not written to since the last look is still as it was then."""
        self.written |= sql.lstrip().startswith(("INSERT", "UPDATE", "DELETE", "WITH"))
        return execute(sql, params, many, context)

    def _run(self, step: str, account: int, kill: str = "", arm: dict[str, Callable[[], None]] | None = None) -> None:
        def die() -> None:
            raise Killed

        failpoints.armed = arm or ({kill: die} if kill else {})
        try:
            self._take(step, self.accounts[account])
        except (Killed, ProviderError):
            pass
        finally:
            failpoints.armed = {}

    def _take(self, step: str, account: ProviderAccount) -> None:
        if step == "hand_off":
            handoff.hand_off_due(account)
        elif step == "track":
            tracking.track(account.pk)
            for attempt_id in metering.due(account.pk):
                metering.meter(attempt_id)
        elif step == "orphans":
            orphans.find(account)
        else:
            reconciliation.collect_due(account.pk)

    def _pause(self, point: str) -> None:
        if point in self.paused:
            self.paused[point]()

    def _others_do(self, act: str, account: int, which: int) -> None:
        if act in STEPS:
            self._run(act, account)
        elif act == "leave":
            self.leave(account)
        elif act == "stop":
            self.stop(which)
        elif act == "goes_on":
            self.goes_on(which, RemoteState.SUCCEEDED, account)
        elif act.endswith(" s"):
            self.time_passes(int(act.split()[0]))
        else:
            for _ in range(handoff.LOOKS + 2):
                self.time_passes(60)
                self._run("hand_off", account)
            if act == "they see it run":
                self.goes_on(which, self.end, account)
                self._run("track", account)
            if act == "they bring it to its end":
                self.all_run_and_end(self.end, account, 15)
                self._run("collect", account)

    def _all_ends_well(self) -> None:
        """The last fault is over: every job ends by itself, those that were sent exactly once."""
        for number in range(60):
            self.time_passes(200)
            for account in (0, 1):
                for step in ("orphans", "hand_off", "track", "collect"):
                    self._run(step, account)
                for which in range(len(self.providers[account].jobs)):
                    self.goes_on(which, self.end if number < 8 else RemoteState.SUCCEEDED, account)
            alive = [job for provider in self.providers for job in provider.alive]
            if not alive and all(j.is_final for j in self._jobs()) and not Attempt.objects.unfinished().exists():
                break
        assert [job.state for job in self._jobs() if not job.is_final] == []
        assert [job for provider in self.providers for job in provider.alive] == []
        self.written = True
        self.every_promise_holds()
        assert list(verify_audit()) == []
        held = BillingAccount.objects.filter(organization=self.project.organization).values_list("held", flat=True)
        assert list(held) == [0]
        late = {key for provider in self.providers for key in provider.late}
        sent = {job.key for provider in self.providers for job in provider.jobs.values()}
        adopted = {key_of(attempt) for attempt in Attempt.objects.exclude(remote_id="")}
        assert adopted - late == sent - late
        assert not Attempt.objects.exclude(state=AttemptState.ENDED).exists()

    def _jobs(self) -> list[Job]:
        return list(Job.objects.filter(project=self.project).order_by("pk"))


INSTANTS_OF_ATTEMPTS = (
    "lease_until", "not_before", "created_at", "sent_at", "accepted_at", "seen_at", "stop_asked_at", "started_at",
    "ended_at", "metered_until", "collected_at",
)  # fmt: skip


def _move_usage(shift: timedelta) -> None:
    """Rows that are never changed, and once for each start: so without their trigger, and by way of another century."""
    far = timedelta(days=36_525)
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        for by in (shift + far, -far):
            cursor.execute(
                "UPDATE usage_usagerecord SET started_at = started_at - %s, ended_at = ended_at - %s", [by, by]
            )
        cursor.execute("SET LOCAL session_replication_role = origin")


def _charged_for_the_same_time() -> list[str]:
    """Jobs two attempts of which were charged for the same time; each is charged its first second in full."""
    rows = UsageRecord.objects.order_by("started_at").values_list("job_code", "attempt_code", "started_at", "ended_at")
    until: dict[str, tuple[str, datetime]] = {}
    twice = []
    for job, attempt, started_at, ended_at in rows:
        before, end = until.get(job, (attempt, started_at))
        if before != attempt and end - started_at > timedelta(seconds=1):
            twice.append(job)
        until[job] = (attempt, max(end, ended_at))
    return twice


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


def test_ten_sequences_of_fifty_steps(storage_ready: None) -> None:
    _check(10)


@pytest.mark.faults_full
@pytest.mark.parametrize("part", range(4))
def test_five_hundred_sequences_of_fifty_steps(storage_ready: None, part: int) -> None:
    """Four times: as many processes may share them."""
    _check(500)
