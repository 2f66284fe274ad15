"""The faults of RELIABILITY.md section 3 that a provider can have, at each emulated provider: nothing lost, none twice.

Each fault hits some jobs for several rounds, while time passes in the rows; then it ends, and everything must come to
its end by itself. Every run tries each fault at one provider; all at all: `python3 manage.py test
tests/faults/test_provider_faults.py -m faults_full`.
"""

from __future__ import annotations

import contextlib
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta

import pytest
from django.db.models import F
from django.utils import timezone

from portal.accounts.models import Project, User
from portal.billing.models import BillingAccount, Hold
from portal.billing.verification import verify as verify_ledger
from portal.catalog.models import Offering, ProviderAccount
from portal.catalog.provider_accounts import adapter_of
from portal.jobs import tracking
from portal.jobs.keys import key_of
from portal.jobs.models import Attempt, Job
from portal.jobs.reconciliation import reconcile
from portal.jobs.verification import verify as verify_jobs
from portal.jobs.verification import verify_at_providers
from portal.providers.base import RemoteState
from tests.faults.dying import COMMAND, send
from tests.faults.rig import not_once_at_their_provider, place
from tests.jobs.conftest import Steps
from tests.providers.emulated import KINDS, Emulator
from tests.providers.emulated import emulator as emulator_process

pytestmark = [pytest.mark.faults, pytest.mark.django_db(transaction=True), pytest.mark.timeout(0)]

ENDS_WITHIN_S = 120
SLOW = f"sleep 6; {COMMAND}"
VERY_SLOW = f"sleep 300; {COMMAND}"


@dataclass
class Scene:
    """One organization's own account at one emulated provider."""

    emulator: Emulator
    project: Project
    offering: Offering
    person: User
    account: ProviderAccount

    def send(self, count: int, command: str = COMMAND) -> None:
        for _ in range(count):
            number = Job.objects.count()
            send(self.project, self.offering, self.person, key=f"form-{number}", command=command)

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
        self.until(lambda: not Attempt.objects.unfinished().exists(), passing_s=5)
        failed = dict(Job.objects.exclude(state="succeeded").values_list("code", "failure"))
        assert failed == (but or {})
        assert not_once_at_their_provider() == []
        assert (verify_jobs(), verify_ledger(), verify_at_providers()) == ([], [], ([], []))
        assert not BillingAccount.objects.exclude(held=0).exists()

    def states(self) -> list[tuple[str, str]]:
        return list(Attempt.objects.order_by("pk").values_list("job__state", "state"))

    def at_work(self) -> bool:
        return {state for _job, state in self.states()} == {"running"}


Act = Callable[[Scene], None]
FAULTS: dict[str, Act] = {}


def fault(act: Act) -> Act:
    FAULTS[act.__name__] = act
    return act


@fault
def a_submit_is_answered_with_503_before_its_effect(scene: Scene) -> None:
    scene.emulator.fault(on="submit", fault="503:1:before")
    scene.send(3)
    scene.rounds(4, passing_s=4)
    assert {state for _, state in scene.states()} <= {"unknown", "intended"}
    scene.ends_well()


@fault
def a_submit_is_answered_with_503_after_its_effect(scene: Scene) -> None:
    scene.emulator.fault(on="submit", fault="503:1:after")
    scene.send(3)
    scene.rounds(4, passing_s=4)
    scene.ends_well()


@fault
def too_many_requests(scene: Scene) -> None:
    scene.emulator.fault(on="submit", status=429, headers={"Retry-After": "1800"})
    scene.send(3)
    scene.rounds(4, passing_s=4)
    # Half an hour was asked for, and for half an hour none of them is sent again.
    late = timezone.now() + timedelta(minutes=29)
    assert scene.states() == [("submitted", "intended")] * 3
    assert Attempt.objects.filter(tries=1, not_before__gt=late).count() == 3
    Attempt.objects.update(not_before=None)
    scene.ends_well()


@fault
def a_submit_is_taken_and_never_answered(scene: Scene) -> None:
    scene.emulator.fault(on="submit", latency_s=40, phase="after", times=1, status=200)
    scene.send(1)
    scene.rounds(2)
    scene.ends_well()


@fault
def the_connection_breaks_in_the_middle_of_the_answer(scene: Scene) -> None:
    scene.emulator.fault(on="submit", reset_in_body=True, phase="after")
    scene.send(2)
    scene.rounds(3, passing_s=3)
    scene.ends_well()


@fault
def answers_that_cannot_be_read(scene: Scene) -> None:
    for kind in ("empty", "html", "invalid_utf8", "wrong_type", "missing_id", "20_mb"):
        scene.emulator.fault(on="submit", malformed=kind, phase="after", times=1)
        scene.send(1)
        scene.rounds(1)
        for on in ("get", "list", "find"):
            if kind != "missing_id":
                scene.emulator.fault(on=on, malformed=kind, phase="after", times=1)
        scene.rounds(2, passing_s=2)
    scene.ends_well()


@fault
def two_submits_get_one_id(scene: Scene) -> None:
    scene.send(1, SLOW)
    scene.until(scene.at_work)
    scene.emulator.fault(same_id=True, times=1)
    scene.send(1, SLOW)
    scene.rounds(2)
    ids = list(Attempt.objects.exclude(remote_id="").values_list("remote_id", flat=True))
    assert len(set(ids)) == len(ids)
    scene.ends_well()


@fault
def jobs_vanish_and_come_back(scene: Scene) -> None:
    scene.send(2, SLOW)
    scene.until(scene.at_work)
    scene.emulator.fault(vanished="*")
    scene.rounds(2, passing_s=300)
    assert scene.states() == [("running", "unknown")] * 2
    assert [hold.released_at for hold in Hold.objects.all()] == [None, None]
    scene.ends_well()


@fault
def a_job_vanishes_for_good(scene: Scene) -> None:
    scene.send(1, VERY_SLOW)
    scene.until(scene.at_work)
    scene.emulator.fault(vanished="*")
    scene.rounds(1, passing_s=600)
    Attempt.objects.update(started_at=F("started_at") - timedelta(hours=25))
    scene.rounds(2, passing_s=25 * 3600)
    job, attempt = Job.objects.get(), Attempt.objects.get()
    assert (job.state, job.failure, Hold.objects.get().left) == ("failed", "interrupted", 0), attempt.last_error
    # It comes back after all: nobody pays for it any more, so it is ended there.
    scene.emulator.fault(clear=True)
    Attempt.objects.update(collected_at=F("collected_at") - timedelta(minutes=3))
    adapter = adapter_of(scene.account)
    assert [remote.state.is_final for remote in adapter.find(key_of(attempt))] == [False]
    scene.until(lambda: adapter.find(key_of(attempt))[0].state == RemoteState.CANCELLED)
    assert (verify_jobs(), verify_ledger(), verify_at_providers()) == ([], [], ([], []))


@fault
def states_go_backwards(scene: Scene) -> None:
    scene.send(2)
    scene.emulator.fault(backwards="*", times=100)
    scene.rounds(15)
    scene.ends_well()


@fault
def the_providers_clock_is_fast(scene: Scene) -> None:
    _clock(scene, 900)


@fault
def the_providers_clock_is_slow(scene: Scene) -> None:
    _clock(scene, -900)


def _clock(scene: Scene, skew_s: int) -> None:
    scene.emulator.fault(clock_skew_s=skew_s)
    scene.send(2)
    scene.until(lambda: not Attempt.objects.unfinished().exists())
    # A quarter of an hour is neither given away nor charged.
    assert [job.cost < 40 and 0 < job.gpu_seconds < 120 * job.gpus for job in Job.objects.all()] == [True, True]
    scene.ends_well()


@fault
def a_log_is_garbled_and_cut(scene: Scene) -> None:
    scene.emulator.fault(log_garbled=True, log_cut_every_s=1)
    scene.send(1, SLOW)
    scene.until(scene.at_work)
    for _ in range(3):
        with contextlib.suppress(Exception):
            tracking.follow_logs(scene.account.pk)
        scene.rounds(1)
    scene.ends_well()


@fault
def a_log_bursts(scene: Scene) -> None:
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    scene.emulator.fault(log_burst_mb=200)
    scene.send(1, SLOW)
    scene.until(scene.at_work)
    with contextlib.suppress(Exception):
        tracking.follow_logs(scene.account.pk)
    grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb) / 1024
    print(f"\n{scene.emulator.kind}: memory grew by {grown_mb:.0f} MB while a log of 200 MB was followed")
    assert grown_mb < 50
    scene.ends_well()


@fault
def the_credentials_are_revoked_while_jobs_run(scene: Scene) -> None:
    scene.send(2, SLOW)
    scene.until(scene.at_work)
    scene.emulator.fault(revoked=401)
    scene.send(1)
    scene.rounds(3, passing_s=120)
    assert [job for job, _ in scene.states()] == ["running", "running", "submitted"]
    assert ProviderAccount.objects.get(pk=scene.account.pk).failing_since is not None
    Attempt.objects.update(not_before=None)
    scene.ends_well()


# --- the runs --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def processes() -> Iterator[dict[str, Emulator]]:
    with contextlib.ExitStack() as stack:
        yield {kind: stack.enter_context(emulator_process(kind, "--running", "8")) for kind in KINDS}


def under(name: str, kind: str, processes: dict[str, Emulator], offerings: dict[str, Offering]) -> None:
    emulator = processes[kind]
    emulator.fault(clear=True)
    try:
        FAULTS[name](Scene(emulator, *place(offerings[kind], emulator.account)))
    finally:
        emulator.fault(clear=True)


# SSH knows no 429, and slurmrestd shows no log.
NOT_AT = {
    ("too_many_requests", "slurm_ssh"),
    ("a_log_is_garbled_and_cut", "slurm_rest"),
    ("a_log_bursts", "slurm_rest"),
}
ALL = [(name, kind) for name in FAULTS for kind in KINDS if (name, kind) not in NOT_AT]


def _each_at_one() -> Iterator[tuple[str, str]]:
    for position, name in enumerate(FAULTS):
        turns = (KINDS[(position + turn) % len(KINDS)] for turn in range(len(KINDS)))
        yield next((name, kind) for kind in turns if (name, kind) not in NOT_AT)


@pytest.mark.parametrize(("name", "kind"), list(_each_at_one()))
def test_a_fault_at_one_provider(
    name: str, kind: str, processes: dict[str, Emulator], offerings: dict[str, Offering], storage_ready: None
) -> None:
    under(name, kind, processes, offerings)


@pytest.mark.faults_full
@pytest.mark.parametrize(("name", "kind"), ALL)
def test_a_fault_at_each_provider(
    name: str, kind: str, processes: dict[str, Emulator], offerings: dict[str, Offering], storage_ready: None
) -> None:
    under(name, kind, processes, offerings)
