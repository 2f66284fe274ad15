from __future__ import annotations

import pytest

from portal.accounts.access import NotPermitted
from portal.audit.models import AuditEvent
from portal.jobs import sweep_stops
from portal.jobs.models import Attempt, Job, Stop, Sweep
from portal.jobs.states import JobState
from portal.jobs.sweep_stops import ask_stop_of, carry_out_stops
from portal.jobs.sweeps import submit_sweep


@pytest.fixture
def sweep(funded, member, account, request_for) -> Sweep:
    return submit_sweep(funded, request=request_for(), points=[{"N": str(n)} for n in range(5)], key="k", by=member)


def states(sweep: Sweep) -> list[str]:
    return list(Job.objects.filter(task__sweep=sweep).order_by("pk").values_list("state", flat=True))


def carried_out() -> int:
    rounds = 1
    while carry_out_stops():
        rounds += 1
    return rounds


def running(sweep: Sweep, number: int) -> Job:
    job = sweep.tasks.get(number=number).job
    Attempt.objects.filter(job=job).update(state="running", remote_id="r-1")
    job.move_to(JobState.RUNNING, by="portal:test")
    return job


def test_what_waits_is_stopped_and_what_runs_goes_on(sweep, member, monkeypatch) -> None:
    monkeypatch.setattr(sweep_stops, "STOPPED_AT_ONCE", 2)
    job = running(sweep, 2)
    ask_stop_of(sweep, Stop.WAITING, by=member)
    assert carried_out() == 3  # two, two, and a look that finds none
    assert states(sweep) == ["cancelled", "running", "cancelled", "cancelled", "cancelled"]
    job.refresh_from_db()
    sweep.refresh_from_db()
    assert (job.stop_requested_at, sweep.stop_wanted, sweep.stop_wanted_by) == (None, "", None)


def test_all_are_stopped_by_the_one_who_asked(sweep, member) -> None:
    job = running(sweep, 2)
    ask_stop_of(sweep, Stop.ALL, by=member)
    carried_out()
    job.refresh_from_db()
    assert (states(sweep), job.stop_requested_by) == (["cancelled", "running", *["cancelled"] * 3], member)
    assert AuditEvent.objects.filter(act="sweep.stop_requested").values_list("subject", "detail").get() == (
        f"sweep:{sweep.code}", {"what": "all"},
    )  # fmt: skip


def test_all_outweighs_what_waits_and_nothing_outweighs_all(sweep, member) -> None:
    ask_stop_of(sweep, Stop.WAITING, by=member)
    ask_stop_of(sweep, Stop.ALL, by=member)
    ask_stop_of(sweep, Stop.WAITING, by=member)
    assert Sweep.objects.get().stop_wanted == Stop.ALL


def test_nothing_left_is_no_wish(sweep, member) -> None:
    ask_stop_of(sweep, Stop.ALL, by=member)
    carried_out()
    ask_stop_of(sweep, Stop.ALL, by=member)
    assert Sweep.objects.get().stop_wanted == ""


def test_whoever_may_not_stop_others_jobs_does_not(sweep, viewer) -> None:
    with pytest.raises(NotPermitted):
        ask_stop_of(sweep, Stop.ALL, by=viewer)
    assert Sweep.objects.get().stop_wanted == ""
