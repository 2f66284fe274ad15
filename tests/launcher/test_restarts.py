import pytest

from portal.launcher.restarts import KeepsDying, Restarts


def test_comes_back_at_once_then_later_and_later():
    restarts = Restarts()

    assert [restarts.due_after_death("web", at=at) for at in (100, 101, 102, 103)] == [100, 101.3, 102.7, 104.5]


def test_fifth_death_within_a_minute_is_the_last():
    restarts = Restarts()
    for at in (0, 10, 20, 30):
        restarts.due_after_death("web", at=at)

    with pytest.raises(KeepsDying):
        restarts.due_after_death("web", at=59.9)


def test_deaths_far_apart_are_forgiven():
    restarts = Restarts()

    assert [restarts.due_after_death("web", at=at) for at in (0, 60, 120, 180, 240, 300)] == [0, 60, 120, 180, 240, 300]


def test_each_child_has_its_own_count():
    restarts = Restarts()
    for at in (0, 1, 2, 3):
        restarts.due_after_death("web", at=at)

    assert restarts.due_after_death("beat", at=4) == 4
