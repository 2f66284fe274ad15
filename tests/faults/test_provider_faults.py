"""The faults of RELIABILITY.md section 3 that a provider can have, at each emulated provider: nothing lost, none twice.

Each fault hits some jobs for several rounds, while time passes in the rows; then it ends, and everything must come to
its end by itself. Every run tries each fault at one provider; all at all: `python3 manage.py test
tests/faults/test_provider_faults.py -m faults_full`, where the time after a fault passes by the clock and is told.
"""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
import time_machine
from django.db.models import F
from django.utils import timezone

from portal.billing.models import Hold
from portal.billing.verification import verify as verify_ledger
from portal.catalog.models import Offering, ProviderAccount
from portal.catalog.provider_accounts import adapter_of
from portal.core.periods import day_of
from portal.datasets import storage
from portal.jobs import metering, statements, tracking
from portal.jobs.keys import key_of
from portal.jobs.models import Attempt, Job, JobEvent
from portal.jobs.verification import verify as verify_jobs
from portal.jobs.verification import verify_at_providers
from portal.providers.base import RemoteState
from tests.factories import DataFileFactory
from tests.faults.dying import COMMAND
from tests.faults.rig import place
from tests.faults.scene import Scene
from tests.jobs.conftest import Steps
from tests.providers.emulated import KINDS, Emulator
from tests.providers.emulated import emulator as emulator_process

pytestmark = [pytest.mark.faults, pytest.mark.django_db(transaction=True), pytest.mark.timeout(0)]

PAGE = "<!DOCTYPE html><html><body><h1>Bad Gateway</h1></body></html>\n"
SLOW = f"sleep 6; {COMMAND}"
VERY_SLOW = f"sleep 300; {COMMAND}"


Act = Callable[[Scene], None]
FAULTS: dict[str, Act] = {}


def fault(act: Act) -> Act:
    FAULTS[act.__name__] = act
    return act


@fault
def submits_are_answered_with_errors_before_their_effect(scene: Scene) -> None:
    _answered_with_errors(scene, "before")
    assert {state for _, state in scene.states()} == {"unknown"}
    scene.ends_well()


@fault
def submits_are_answered_with_errors_after_their_effect(scene: Scene) -> None:
    _answered_with_errors(scene, "after")
    scene.ends_well()


def _answered_with_errors(scene: Scene, phase: str) -> None:
    """Each of eight submits with another one. Over SSH sbatch fails and prints the same."""
    kinds = [(status, body) for status in (500, 502, 503, 504) for body in ("", PAGE)]
    scene.emulator.faults(
        *({"on": "submit", "status": status, "body": body, "phase": phase, "times": 1} for status, body in kinds)
    )
    scene.send(len(kinds))
    scene.rounds(1)
    lost = JobEvent.objects.filter(kind="handoff", reason="answer_lost")
    assert lost.values("job").distinct().count() == len(kinds)


@fault
def too_many_requests_and_when_to_come_again(scene: Scene) -> None:
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
def too_many_requests_for_half_an_hour(scene: Scene) -> None:
    scene.emulator.fault(on="submit", status=429)
    scene.send(3)
    scene.rounds(8, passing_s=240)
    told = list(Job.objects.values_list("state", "waiting_reason"))
    assert told == [("submitted", "quota")] * 3
    # Nobody says when to come again. One asks, at last once a minute, and the others wait for what it is told.
    assert list(Attempt.objects.order_by("pk").values_list("tries", flat=True)) == [8, 0, 0]
    assert Attempt.objects.get(tries=8).not_before > timezone.now() + timedelta(seconds=50)
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
def our_clock_jumps_ten_minutes(scene: Scene) -> None:
    scene.emulator.fault(on="submit", status=503, phase="after", times=1)
    scene.send(2, SLOW)
    for minutes in (10, -10):
        with time_machine.travel(timezone.now() + timedelta(minutes=minutes)):
            scene.rounds(2)
    scene.ends_well()
    # What ran for seconds is not charged for minutes, nor is it a gift.
    assert [0 < job.gpu_seconds < 120 * job.gpus for job in Job.objects.all()] == [True, True]


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


@fault
def the_provider_is_dark_for_two_hours(scene: Scene) -> None:
    scene.send(2, SLOW)
    scene.until(scene.at_work)
    with scene.dark():
        scene.send(6)
        for _ in range(24):
            scene.rounds(1, passing_s=300)
            Steps(scene.account.pk).hand_off()  # the round ends at its first call
        told = Job.objects.order_by("pk").values_list("state", "waiting_reason")
        assert list(told) == [("running", "")] * 2 + [("submitted", "unreachable")] * 6
        assert Hold.objects.filter(released_at=None).count() == 8
    scene.ends_well()


@fault
def the_store_has_other_bytes_than_were_checked(scene: Scene) -> None:
    """The machine reads what it was given before anything runs on it."""
    key = f"t/test/{scene.project.code}"
    file = DataFileFactory(dataset__project=scene.project, dataset__name="d", storage_key=key)
    for stored, failure in {b"words": "", b"w0rds": "data_missing", b"word": "data_missing"}.items():
        storage.put_bytes(key, stored)
        scene.send(1, 'cp "$PORTAL_DATA_DIR/d"/* "$PORTAL_OUTPUT_DIR/"', inputs=(file,))
        scene.until(lambda: not Attempt.objects.unfinished().exists())
        assert (job := Job.objects.latest("pk")).failure == failure
        assert [found.sha256 for found in job.artifacts.all()] == ([] if failure else [file.sha256])
    scene.ends_well(but=dict(Job.objects.filter(failure="data_missing").values_list("code", "failure")))


@fault
def the_accounts_tell_each_job_twice(scene: Scene) -> None:
    _accounts(scene, usage_duplicated=True)


@fault
def the_accounts_are_45_days_late(scene: Scene) -> None:
    _accounts(scene, usage_late_s=45 * 86_400)


@fault
def the_accounts_are_corrected(scene: Scene) -> None:
    _accounts(scene, usage_corrected_by_s=-60)


@fault
def the_accounts_are_negative(scene: Scene) -> None:
    _accounts(scene, usage_negative=True)


def _accounts(scene: Scene, **wrong: object) -> None:
    """What is charged is what was seen of the job, once, whatever the provider's own accounts say of it: they are read,
    and what differs is written down for a person."""
    scene.emulator.fault(**wrong)
    # Looked for by its key, as after a lost answer: told twice it is still one job.
    scene.emulator.fault(on="submit", status=503, phase="after", times=1)
    scene.send(2)
    scene.until(lambda: not Attempt.objects.unfinished().exists(), passing_s=3)
    assert {state for state, _ in scene.states()} == {"succeeded"}
    charged = scene.charged()
    day = day_of(Attempt.objects.latest("ended_at").ended_at)
    statements.check(scene.account, day)
    # The same accounts with other numbers, a day later.
    scene.emulator.fault(usage_corrected_by_s=3600)
    told = statements.check(scene.account, day)
    assert told.compared > 0 and (told.differing > 0 or "usage_late_s" in wrong)  # what is late says nothing yet
    for attempt in Attempt.objects.all():
        assert (metering.meter(attempt.pk), metering.settle(attempt)) == (0, False)
    scene.rounds(2, passing_s=86_400)
    scene.ends_well()
    assert scene.charged() == charged


# --- the runs --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def processes() -> Iterator[dict[str, Emulator]]:
    with contextlib.ExitStack() as stack:
        yield {kind: stack.enter_context(emulator_process(kind, "--running", "8")) for kind in KINDS}


def under(
    name: str, kind: str, processes: dict[str, Emulator], offerings: dict[str, Offering], *, waits: bool = False
) -> None:
    emulator = processes[kind]
    emulator.fault(clear=True)
    try:
        FAULTS[name](Scene(emulator, *place(offerings[kind], emulator.account), waits=waits))
    finally:
        emulator.fault(clear=True)


# SSH knows no 429, and slurmrestd shows no log.
NOT_AT = {
    ("too_many_requests_and_when_to_come_again", "slurm_ssh"),
    ("too_many_requests_for_half_an_hour", "slurm_ssh"),
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
    under(name, kind, processes, offerings, waits=True)
