"""The parameters of a sweep, as a person types them -> one set of environment variables for each task.

Every combination (a grid):        Line by line (a list):
    LR   = 0.1, 0.01                   LR, SEED
    SEED = 1..100                      0.1, 1
                                       0.01, 7

An array is a grid of one range. Values with a comma stand in double quotes, as in CSV.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from itertools import product
from math import prod

from django.core.exceptions import ValidationError
from django.db import models
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

TASKS_MAX = 10_000
NAMES_MAX = 20
VALUE_MAX = 1_000
TEXT_MAX_BYTES = 256 * 1024
NUMBER, COUNT = "TASK_NUMBER", "TASK_COUNT"  # every task is told which of how many it is
OURS = (NUMBER, COUNT)

VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
RESERVED = ("PORTAL_", "SAKURA_", "SLURM_")  # the providers' and our own
_RANGE = re.compile(r"(-?[0-9]{1,9})\.\.(-?[0-9]{1,9})")

Parameters = Mapping[str, str]


class Way(models.TextChoices):
    GRID = "grid", gettext_lazy("Every combination")
    LIST = "list", gettext_lazy("Line by line")


def tasks_of(text: str, way: Way) -> list[dict[str, str]]:
    """One dict of parameters for each task, in the order that was typed (of a grid the last name goes fastest). Empty
    text: []. Raises ValidationError with a sentence that names line, name or number."""
    if "\0" in text:
        raise ValidationError(_("The parameters contain a NUL character (\\0). Type them again."))
    lines = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    if not lines:
        return []
    return _grid(lines) if way is Way.GRID else _list(lines)


def environment_of(parameters: Parameters, *, number: int, count: int) -> dict[str, str]:
    """What a task sees of its place in the sweep."""
    return {**parameters, NUMBER: str(number), COUNT: str(count)}


def _grid(lines: Sequence[tuple[int, str]]) -> list[dict[str, str]]:
    columns: dict[str, list[str]] = {}
    for number, line in lines:
        name, equals, rest = line.partition("=")
        if not equals:
            raise ValidationError(
                _("Parameters, line %(number)s: write NAME = value, value, … or NAME = 1..100.") % {"number": number}
            )
        name = _name(name, number, taken=columns)
        columns[name] = _values(rest, number)
    _check_count(prod(len(values) for values in columns.values()))
    return [dict(zip(columns, values, strict=True)) for values in product(*columns.values())]


def _list(lines: Sequence[tuple[int, str]]) -> list[dict[str, str]]:
    (first, head), *rows = lines
    names: list[str] = []
    for text in _cells(head, first):
        names.append(_name(text, first, taken=names))
    if not rows:
        raise ValidationError(_("Parameters: below the line of names, write one line of values for each task."))
    _check_count(len(rows))
    tasks = []
    for number, line in rows:
        values = [_value(text, number) for text in _cells(line, number)]
        if len(values) != len(names):
            raise ValidationError(
                _("Parameters, line %(number)s: it has %(found)s values, and there are %(wanted)s names.")
                % {"number": number, "found": len(values), "wanted": len(names)}
            )
        tasks.append(dict(zip(names, values, strict=True)))
    return tasks


def _name(text: str, number: int, *, taken: Sequence[str] | Mapping[str, object]) -> str:
    name = text.strip()
    if not VARIABLE.fullmatch(name):
        raise ValidationError(
            _("Parameters, line %(number)s: a name has letters, digits and underscores and no digit first.")
            % {"number": number}
        )
    if name.upper().startswith(RESERVED) or name in OURS:
        raise ValidationError(
            _("Parameters, line %(number)s: %(name)s is a name that the portal sets itself. Choose another.")
            % {"number": number, "name": name}
        )
    if name in taken:
        raise ValidationError(
            _("Parameters, line %(number)s: %(name)s is there twice.") % {"number": number, "name": name}
        )
    if len(taken) >= NAMES_MAX:
        raise ValidationError(_("There can be up to %(most)s parameters.") % {"most": NAMES_MAX})
    return name


def _values(text: str, number: int) -> list[str]:
    if found := _RANGE.fullmatch(text.strip()):
        first, last = int(found[1]), int(found[2])
        if last < first:
            raise ValidationError(
                _("Parameters, line %(number)s: a range goes upwards, for example 1..100.") % {"number": number}
            )
        _check_count(last - first + 1)
        return [str(value) for value in range(first, last + 1)]
    return [_value(cell, number) for cell in _cells(text, number)]


def _cells(line: str, number: int) -> list[str]:
    try:
        cells = next(csv.reader([line.strip()], skipinitialspace=True, strict=True), [])
    except csv.Error:
        raise ValidationError(
            _('Parameters, line %(number)s: a quotation mark is not closed. Write "a, b" or leave it out.')
            % {"number": number}
        ) from None
    if not cells:
        raise ValidationError(_("Parameters, line %(number)s: there is no value.") % {"number": number})
    return [cell.strip() for cell in cells]


def _value(text: str, number: int) -> str:
    if not text:
        raise ValidationError(
            _("Parameters, line %(number)s: a value is empty. Take the comma out, or fill it in.") % {"number": number}
        )
    if len(text) > VALUE_MAX:
        raise ValidationError(
            _("Parameters, line %(number)s: a value can have up to %(most)s letters. Pass more as a file.")
            % {"number": number, "most": f"{VALUE_MAX:,}"}
        )
    return text


def _check_count(count: int) -> None:
    if count > TASKS_MAX:
        raise ValidationError(
            _("These parameters make %(count)s tasks; a sweep can have up to %(most)s. Take values out.")
            % {"count": f"{count:,}", "most": f"{TASKS_MAX:,}"}
        )
