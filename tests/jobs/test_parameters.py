from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError
from django.utils import translation

from portal.jobs.parameters import TASKS_MAX, Way, environment_of, tasks_of


def test_a_grid_is_every_combination_the_last_name_fastest() -> None:
    assert tasks_of("LR = 0.1, 0.01\n\nSEED=1..3\n", Way.GRID) == [
        {"LR": lr, "SEED": seed} for lr in ("0.1", "0.01") for seed in ("1", "2", "3")
    ]


def test_a_list_is_a_task_for_each_line_below_the_names() -> None:
    assert tasks_of('LR, PROMPT\n0.1, "a, b"\n0.01,東京\n', Way.LIST) == [
        {"LR": "0.1", "PROMPT": "a, b"},
        {"LR": "0.01", "PROMPT": "東京"},
    ]


@pytest.mark.parametrize("way", Way)
def test_nothing_typed_is_no_sweep(way: Way) -> None:
    assert tasks_of(" \n\n", way) == []


def test_a_range_of_the_most_tasks_is_taken_and_one_more_is_not() -> None:
    tasks = tasks_of(f"N = 1..{TASKS_MAX}", Way.GRID)
    assert (len(tasks), tasks[0], tasks[-1]) == (TASKS_MAX, {"N": "1"}, {"N": str(TASKS_MAX)})
    with (
        pytest.raises(ValidationError, match=r"10,001 tasks; a sweep can have up to 10,000"),
        translation.override("en"),
    ):
        tasks_of(f"N = 0..{TASKS_MAX}", Way.GRID)
    with pytest.raises(ValidationError, match=r"100,000,000 tasks"), translation.override("en"):
        tasks_of("\n".join(f"N{i} = 1..10" for i in range(8)), Way.GRID)


@pytest.mark.parametrize(
    ("text", "way", "sentence"),
    [
        ("LR 0.1", Way.GRID, "Parameters, line 1: write NAME = value, value, … or NAME = 1..100."),
        ("A = 1\n2B = 1", Way.GRID, "line 2: a name has letters, digits and underscores and no digit first."),
        ("A = 1\nA = 2", Way.GRID, "line 2: A is there twice."),
        ("PORTAL_X = 1", Way.GRID, "line 1: PORTAL_X is a name that the portal sets itself. Choose another."),
        ("TASK_NUMBER = 1", Way.GRID, "line 1: TASK_NUMBER is a name that the portal sets itself. Choose another."),
        ("A =", Way.GRID, "line 1: there is no value."),
        ("A = 1,,2", Way.GRID, "line 1: a value is empty. Take the comma out, or fill it in."),
        ("A = 9..1", Way.GRID, "line 1: a range goes upwards, for example 1..100."),
        ('A = "x', Way.GRID, 'line 1: a quotation mark is not closed. Write "a, b" or leave it out.'),
        ("A = " + "x" * 1001, Way.GRID, "line 1: a value can have up to 1,000 letters. Pass more as a file."),
        ("\n".join(f"A{i} = 1" for i in range(21)), Way.GRID, "There can be up to 20 parameters."),
        ("A, B", Way.LIST, "below the line of names, write one line of values for each task."),
        ("A, B\n1\n", Way.LIST, "line 2: it has 1 values, and there are 2 names."),
        ("A = \0", Way.GRID, "The parameters contain a NUL character"),
    ],
)
def test_what_cannot_be_read_is_said_with_its_line(text: str, way: Way, sentence: str) -> None:
    with translation.override("en"), pytest.raises(ValidationError) as raised:
        tasks_of(text, way)
    assert sentence in raised.value.messages[0]


def test_a_task_is_told_its_parameters_and_its_place() -> None:
    assert environment_of({"LR": "0.1"}, number=2, count=9) == {"LR": "0.1", "TASK_NUMBER": "2", "TASK_COUNT": "9"}
