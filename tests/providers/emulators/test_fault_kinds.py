import time

from portal.providers.emulators.fault_kinds import Fault, UsageFault, Vanished


def test_slowness_alone_is_no_failure() -> None:
    faults = [Fault("get", latency_s=3), Fault("get", status=500), Fault("get", reset=True)]
    faults += [Fault("get", reset_in_body=True), Fault("get", malformed="empty")]
    assert [fault.fails for fault in faults] == [False, True, True, True, True]


def test_what_vanished_for_a_time_comes_back_after_it() -> None:
    for_good, for_long, for_a_moment = Vanished("7"), Vanished("7", 3600), Vanished("7", 0.001)
    time.sleep(0.002)
    assert [fault.lasts for fault in (for_good, for_long, for_a_moment)] == [True, True, False]


def test_late_usage_is_that_of_which_the_end_is_not_long_ago() -> None:
    uses = [("old", 100.0), ("new", 180.0), ("runs", None)]
    told = UsageFault(usage_late_s=50).told(uses, ended_at=lambda use: use[1], now=200)
    assert (told, UsageFault().told(uses, ended_at=lambda use: use[1], now=0)) == ([uses[0], uses[2]], uses)


def test_usage_is_corrected_before_it_is_negative() -> None:
    faults = [UsageFault(), UsageFault(usage_corrected_by_s=-3), UsageFault(usage_negative=True)]
    faults += [UsageFault(usage_corrected_by_s=5, usage_negative=True)]
    assert [fault.seconds(60) for fault in faults] == [60, 57, -60, -65]


def test_duplicated_lines_stand_beside_each_other() -> None:
    assert UsageFault(usage_duplicated=True).repeated(["a", "b"]) == ["a", "a", "b", "b"]
