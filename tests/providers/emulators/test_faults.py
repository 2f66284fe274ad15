import pytest

from portal.providers.emulators.faults import Fault, Faults


def armed(*commands: dict[str, object]) -> Faults:
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
    faults = armed({"on": "list", "listing_lag_s": 3}, {"on": "list", "listing_lag_s": 90})
    assert (faults.take("list"), faults.listing_lag_s(), Faults().listing_lag_s()) == (None, 90, 0.0)


def test_a_rate_of_nothing_never_hits() -> None:
    faults = armed({"on": "get", "status": 500, "rate": 0.0})
    assert [faults.take("get") for _ in range(50)] == [None] * 50


@pytest.mark.parametrize("wanted", [{"on": "get", "phase": "during"}, {"on": "get", "nonsense": 1}, {}])
def test_what_is_no_fault_is_refused_and_not_kept(wanted: dict[str, object]) -> None:
    faults = Faults()
    with pytest.raises((TypeError, ValueError)):
        faults.command(wanted)
    assert faults.take("get") is None


def test_slowness_alone_is_no_failure() -> None:
    faults = [Fault("get", latency_s=3), Fault("get", status=500), Fault("get", reset=True)]
    assert [fault.fails for fault in faults] == [False, True, True]
