from __future__ import annotations

import pickle
import time
from typing import Any

import pytest
from django.conf import settings
from django.core.cache import cache
from django.test import override_settings

from portal.core.caching import Briefly, JSONSerializer, keep


@pytest.fixture
def made() -> list[int]:
    return []


def make(made: list[int]) -> dict[str, int]:
    made.append(1)
    return {"times": len(made)}


def test_an_answer_is_made_once_and_then_remembered(made: list[int]) -> None:
    assert [keep("a", 60, lambda: make(made)) for _ in range(3)] == [{"times": 1}] * 3
    assert keep("b", 60, lambda: make(made)) == {"times": 2}
    cache.delete("a")
    assert keep("a", 60, lambda: make(made)) == {"times": 3}


def test_what_counts_as_false_is_remembered_too(made: list[int]) -> None:
    assert [keep("zero", 60, lambda: made.append(1) or 0) for _ in range(2)] == [0, 0]
    assert [keep("empty", 60, lambda: [*made]) for _ in range(2)] == [[1], [1]]


def test_a_cache_that_is_away_is_an_empty_one(made: list[int]) -> None:
    away = {**settings.CACHES["default"], "LOCATION": "redis://127.0.0.1:9/0"}
    with override_settings(CACHES={"default": away}):
        assert [keep("a", 60, lambda: make(made)) for _ in range(2)] == [{"times": 1}, {"times": 2}]


def test_briefly_is_as_long_as_it_says(made: list[int]) -> None:
    known = Briefly(1)
    first = [known.get("a", lambda: make(made)) for _ in range(2)]
    time.sleep(1.1)
    assert (first, known.get("a", lambda: make(made))) == ([{"times": 1}] * 2, {"times": 2})


def test_briefly_forgets_on_demand_and_never_grows_beyond_its_most(made: list[int]) -> None:
    known = Briefly(60, most=2)
    for key in ("a", "b", "a", "c"):
        known.get(key, lambda: make(made))
    assert len(made) == 3  # "c" found it full: all was forgotten
    assert known.get("a", lambda: make(made)) == {"times": 4}
    known.clear()
    assert known.get("a", lambda: make(made)) == {"times": 5}


def test_an_answer_that_could_not_be_made_is_not_remembered(made: list[int]) -> None:
    known = Briefly(60)
    with pytest.raises(ZeroDivisionError):
        known.get("a", lambda: 1 // 0)
    assert known.get("a", lambda: make(made)) == {"times": 1}


@pytest.mark.parametrize("value", [0, -7, 2**40, True, None, "学習", 1.5, [1, {"a": []}]])
def test_values_come_back_as_they_were(value: Any) -> None:
    stored = JSONSerializer().dumps(value)
    back = JSONSerializer().loads(str(stored).encode() if isinstance(stored, int) else stored)
    assert (back, type(back)) == (value, type(value))


def test_whole_numbers_stay_countable_by_the_server() -> None:
    cache.set("counted", 41)
    assert (cache.incr("counted"), cache.get("counted")) == (42, 42)


def test_a_pickle_in_the_cache_is_not_opened() -> None:
    with pytest.raises(ValueError):
        JSONSerializer().loads(pickle.dumps({"a": 1}))
