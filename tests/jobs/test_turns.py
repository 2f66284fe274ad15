import threading

import pytest

from portal.jobs.turns import Pauses, Turns


def test_no_call_is_lost_while_all_places_are_taken() -> None:
    turns, inside, leave = Turns(1), threading.Event(), threading.Event()
    done: list[str] = []

    def slow() -> None:
        done.append("work")
        inside.set()
        leave.wait(5)

    first = threading.Thread(target=turns.run, args=(7, slow))
    first.start()
    inside.wait(5)
    assert turns.run(7, slow) is False
    assert turns.run(8, lambda: done.append("other account")) is True
    leave.set()
    first.join(5)
    assert done == ["work", "other account", "work"]


def test_a_place_is_given_back_after_an_error() -> None:
    turns = Turns(1)
    with pytest.raises(ZeroDivisionError):
        turns.run(7, lambda: 1 // 0)
    assert turns.run(7, lambda: None) is True


def test_a_pause_ends_by_itself_or_by_success() -> None:
    pauses = Pauses()
    assert pauses.is_paused(7) is False
    pauses.failed(7)
    assert (pauses.is_paused(7), pauses.is_paused(8)) == (True, False)
    pauses.worked(7)
    assert pauses.is_paused(7) is False
