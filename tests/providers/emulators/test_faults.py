from dataclasses import replace

import pytest

from portal.providers.emulators.fault_kinds import UsageFault
from portal.providers.emulators.faults import Faults
from portal.providers.emulators.machine import Job

JOB = Job("12", 12, "jga-a", created_at=100.0, gpus=1, time_limit_s=60, request={}, started_at=110.0, state="running")
ENDED = replace(
    JOB,
    id="13",
    number=13,
    name="jga-b",
    state="ended",
    outcome="exited",
    exit_code=3,
    ended_at=120.0,
    stop_asked_at=119.0,
    extra={"artifact": {"id": "a", "at": 121.0}},
)
ELEMENT = replace(JOB, id="12_3", number=15)


def armed(*commands: object) -> Faults:
    faults = Faults()
    for command in commands:
        faults.command(command)
    return faults


def test_a_fault_hits_what_it_is_on_as_often_as_it_says() -> None:
    faults = armed({"on": "submit", "status": 503, "times": 2})
    taken = [faults.take(name) for name in ("get", "submit", "submit", "submit")]
    assert [fault and fault.status for fault in taken] == [None, 503, 503, None]


def test_a_star_hits_everything_until_it_is_cleared() -> None:
    faults = armed({"on": "*", "reset": True})
    before = [faults.take(name) is not None for name in ("get", "list", "get")]
    faults.command({"clear": True})
    assert (before, faults.take("get")) == ([True] * 3, None)


def test_a_lag_of_lists_is_no_failing_call_and_the_longest_counts() -> None:
    faults = armed({"on": "list", "listing_lag_s": 90}, {"on": "list", "listing_lag_s": 3})
    assert (faults.take("list"), faults.listing_lag_s(), Faults().listing_lag_s()) == (None, 90, 0.0)


def test_a_rate_of_nothing_never_hits_and_the_word_has_a_rate() -> None:
    faults = armed({"on": "get", "fault": "500:0:before"}, {"on": "list", "fault": "500:0.5:before"})
    assert [faults.take("get") for _ in range(50)] == [None] * 50
    assert {faults.take("list") is None for _ in range(200)} == {True, False}


def test_of_a_list_with_one_that_is_no_fault_none_holds() -> None:
    faults = Faults()
    with pytest.raises(ValueError, match="Nothing goes wrong by this"):
        faults.command([{"on": "get", "status": 500}, {"revoked": 401}, {"on": "get"}])
    assert (faults.take("get"), faults.refusal()) == (None, 0)


def test_without_a_fault_jobs_are_shown_as_they_are() -> None:
    shown = Faults().shown([JOB, ENDED])
    assert [one is job for one, job in zip(shown, [JOB, ENDED], strict=True)] == [True, True]


@pytest.mark.parametrize(
    ("named", "left"),
    [
        ("13", [JOB, ELEMENT]),
        ("12", [ENDED]),
        ("12_3", [JOB, ENDED]),
        ("jga-b", [JOB, ELEMENT]),
        ("*", []),
        ("1", [JOB, ENDED, ELEMENT]),
    ],
)
def test_a_job_vanishes_by_its_id_its_arrays_number_or_its_name(named: str, left: list[Job]) -> None:
    jobs = [JOB, ENDED, ELEMENT]
    faults = armed({"vanished": named, "for_s": 3600})
    known = [job for job in jobs if faults.knows(job)]
    assert (faults.shown(jobs), known) == ([job for job in jobs if job in left],) * 2


def test_what_has_ended_is_shown_running_again_in_so_many_answers() -> None:
    faults = armed({"backwards": "*", "times": 2})
    again = replace(ENDED, state="running", outcome="", exit_code=None, ended_at=None, stop_asked_at=None, extra={})
    assert faults.shown([JOB]) == [JOB]  # nothing that could go backwards: not counted
    answers = [faults.shown([JOB, ENDED]) for _ in range(3)]
    assert answers == [[JOB, again], [JOB, again], [JOB, ENDED]]


def test_all_times_move_with_the_clock_and_the_newest_skew_counts() -> None:
    faults = armed({"clock_skew_s": 900}, {"clock_skew_s": -50})
    moved = replace(
        ENDED,
        created_at=50.0,
        started_at=60.0,
        ended_at=70.0,
        stop_asked_at=69.0,
        extra={"artifact": {"id": "a", "at": 71.0}},
    )
    assert (faults.shown([ENDED]), faults.skew_s(), ENDED.created_at) == ([moved], -50, 100.0)


def test_a_lists_lag_is_by_the_clock_that_the_jobs_are_shown_at() -> None:
    now = Faults().now()
    old, new = replace(JOB, created_at=now - 100), replace(JOB, created_at=now)
    faults = armed({"clock_skew_s": -900}, {"on": "list", "listing_lag_s": 50})
    assert [job.created_at for job in faults.listed([old, new])] == [now - 1000]


def test_an_id_is_given_twice_as_often_as_it_says() -> None:
    faults = armed({"same_id": True, "times": 1})
    assert [faults.takes_same_id(), faults.takes_same_id()] == [True, False]


def test_of_a_kind_the_newest_counts() -> None:
    faults = armed({"usage_negative": True}, {"usage_duplicated": True}, {"revoked": 401}, {"revoked": 403})
    assert (faults.of_usage(), faults.refusal()) == (UsageFault(usage_duplicated=True), 403)


def test_whoever_waits_hears_of_every_change() -> None:
    faults, heard = Faults(), []
    faults.when_changed = lambda: heard.append(faults.refusal())
    faults.command({"revoked": 401})
    faults.command({"clear": True})
    assert heard == [401, 0]
