"""Reads what is asked for as a fault, and says in a sentence what is wrong with it. faults.py has the vocabulary."""

from __future__ import annotations

import re
from dataclasses import MISSING, fields
from typing import Any, get_type_hints

from portal.providers.emulators.fault_kinds import (
    Backwards,
    Clear,
    ClockSkew,
    Fault,
    Kind,
    ListingLag,
    LogFault,
    Revoked,
    SameId,
    UsageFault,
    Vanished,
)
from portal.providers.emulators.malformed_bodies import MALFORMED

OPERATIONS = ("submit", "find", "get", "list", "cancel", "update", "log", "artifact", "check", "file", "*")
LARGEST = 10**9  # of any number: 30 years in seconds

_WORD = re.compile(r"(\d{1,3}):(\d?\.?\d{1,9}):(before|after)", re.ASCII)
_SIGNED = ("clock_skew_s", "usage_corrected_by_s")

# The first of these words that a request has says what it is.
_KIND_BY_WORD: dict[str, type[Kind]] = {
    "clear": Clear,
    "listing_lag_s": ListingLag,
    "on": Fault,
    "vanished": Vanished,
    "backwards": Backwards,
    "clock_skew_s": ClockSkew,
    "revoked": Revoked,
    "same_id": SameId,
    **{item.name: LogFault for item in fields(LogFault)},
    **{item.name: UsageFault for item in fields(UsageFault)},
}


def read(wanted: object) -> list[Kind]:
    """The faults that an object, or each of a list, asks for. Raises ValueError: one sentence about what is wrong."""
    if isinstance(wanted, list) and not wanted:
        raise ValueError("An empty list asks for nothing.")
    return [_read(one) for one in (wanted if isinstance(wanted, list) else [wanted])]


def _read(wanted: object) -> Kind:
    if not isinstance(wanted, dict):
        raise ValueError("A fault is a JSON object, or a list of them.")
    word = next((word for word in _KIND_BY_WORD if word in wanted), None)
    if word is None:
        raise ValueError(f"A fault has one of these fields: {', '.join(_KIND_BY_WORD)}.")
    kind, given = _KIND_BY_WORD[word], _with_fields(wanted)
    types = get_type_hints(kind)
    known = {item.name: item for item in fields(kind) if item.init}
    for name, value in given.items():
        if name not in known:
            raise ValueError(f"The field {name!r} is unknown here; known are {', '.join(known)}.")
        if sentence := _wrong_with(name, value, types[name]):
            raise ValueError(sentence)
    for name, item in known.items():
        if name not in given and item.default is MISSING and item.default_factory is MISSING:
            raise ValueError(f"The field {name!r} is missing.")
    if kind is not ClockSkew and not any(given.get(one) for one, named in _KIND_BY_WORD.items() if named is kind):
        raise ValueError(f"{word} asks for nothing.")
    fault = kind(**given)
    if sentence := _wrong_with_call(fault) if isinstance(fault, Fault) else _wrong_with_rest(fault):
        raise ValueError(sentence)
    return fault


def _with_fields(wanted: dict[str, Any]) -> dict[str, Any]:
    """The word STATUS:RATE:before|after as the three fields that it stands for."""
    if "on" not in wanted or "fault" not in wanted:
        return wanted
    match = _WORD.fullmatch(wanted["fault"]) if isinstance(wanted["fault"], str) else None
    if match is None:
        raise ValueError("fault is a text STATUS:RATE:before|after, such as 503:0.1:after.")
    if doubled := sorted({"status", "rate", "phase"} & set(wanted)):
        raise ValueError(f"fault and {doubled[0]} say the same: only one of them may be given.")
    rest = {name: value for name, value in wanted.items() if name != "fault"}
    return {**rest, "status": int(match[1]), "rate": float(match[2]), "phase": match[3]}


def _wrong_with(name: str, value: object, kind: object) -> str:
    """Whether the field has its type, and a number its range. Empty: it has."""
    if kind is bool or kind is str:
        return "" if isinstance(value, kind) else f"{name} must be {'true or false' if kind is bool else 'a text'}."
    if kind is int or kind is float:
        if isinstance(value, bool) or not isinstance(value, int if kind is int else int | float):
            return f"{name} must be a {'whole ' if kind is int else ''}number."
        least = {"times": -1}.get(name, -LARGEST if name in _SIGNED else 0)
        good = least <= value <= LARGEST and (name, value) != ("times", 0)
        return "" if good else f"{name} is out of range."
    good = isinstance(value, dict) and all(_is_printable(one) for pair in value.items() for one in pair)
    return "" if good else f"{name} must be an object of printable texts."


def _is_printable(value: object) -> bool:
    return isinstance(value, str) and value.isascii() and value.isprintable()


def _wrong_with_call(fault: Fault) -> str:
    if fault.on not in OPERATIONS:
        return f"on must be one of {', '.join(OPERATIONS)}."
    if fault.phase not in ("before", "after"):
        return "phase must be before or after."
    if fault.status > 599:
        return "status must be at most 599."
    if fault.rate > 1:
        return "rate must be between 0 and 1."
    if fault.malformed and fault.malformed not in MALFORMED:
        return f"malformed must be one of {', '.join(MALFORMED)}."
    if fault.malformed and fault.body:
        return "body and malformed say the same: only one of them may be given."
    if (fault.body or fault.headers) and not fault.fails:
        return "A body or headers need a status."
    return "" if fault.fails or fault.latency_s else "Nothing goes wrong by this."


def _wrong_with_rest(fault: Kind) -> str:
    if isinstance(fault, Revoked) and fault.revoked not in (401, 403):
        return "revoked must be 401 or 403."
    if isinstance(fault, ListingLag) and fault.on != "list":
        return "Only lists lag behind: on must be list."
    return ""
