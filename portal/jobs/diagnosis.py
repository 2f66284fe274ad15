"""Why a job failed: from what the provider says of its end and the last lines of its log, by failure_rules. Pure.

The provider is believed where it is sure. A log refines what the provider calls a program's error, and nothing else: it
is written by the customer's program, and neither metering nor charging ever reads what is found here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from portal.core.plain_text import one_line
from portal.jobs.failure_rules import (
    AFTERMATH,
    CAUSES_OF_CODES,
    CAUSES_OF_OUTCOMES,
    NAMES,
    PROVIDER_RULES,
    RULES,
    Cause,
)
from portal.jobs.states import FailureClass

TAIL_LINES = 200
TAIL_LETTERS = 64 * 1024  # of the lines together
LINE_LETTERS = 2000  # of one line; what is behind it is not looked at
SHOWN_MAX = 5
SHOWN_LETTERS = 300
NAME_LETTERS = 120
ABOVE_LINES = 4

# What launchers and servers write before the line of the program: "[rank3]: ", "(EngineCore pid=2) ",
# "ERROR 10-25 13:08:43 [core.py:708] ". Each part begins with a sign of its own, so that it is read once.
_PREFIX = re.compile(
    r"(?:\[[\w.-]{1,40}\]:? ?|\([^()]{1,80}\) ?|[A-Z]{4,8} [\d-]{5,10} [\d:.,]{5,15} (?:\[[^\]]{1,80}\] ?)?){0,4}"
)
_EXCEPTION = re.compile(r"((?:[A-Za-z_]\w{0,79}\.){0,12}[A-Z]\w{0,79})(?::(?: |$)|$)")
_ENDINGS = ("Error", "Exception", "Failure", "Interrupt", "Exit", "Timeout", "Expired", "Iteration")
_ESCAPE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b")
_BEGINNING = "traceback (most recent call last)"


@dataclass(frozen=True)
class Line:
    """A line of the log and its number there, from 1."""

    number: int
    text: str


@dataclass(frozen=True)
class Evidence:
    """All that is known of an end. `outcome` and `reason` are what portal.jobs.outcomes makes of the provider's word;
    `log` are the last lines, oldest first: as many of them as TAIL_LINES and TAIL_LETTERS allow are looked at."""

    outcome: FailureClass
    reason: str
    provider_reason: str = ""
    exit_code: int | None = None
    log: Sequence[Line] = ()


@dataclass(frozen=True)
class Diagnosis:
    """`name`: the exception, module or file that the cause is about; "" where it has none. `lines` show the cause, at
    most five. Both are the log's own words: text for a page to escape."""

    failure: FailureClass
    cause: Cause
    name: str = ""
    lines: tuple[Line, ...] = ()

    def stored(self) -> dict[str, Any]:
        """As Job.diagnosis keeps it."""
        return {"cause": self.cause.value, "name": self.name, "lines": [[one.number, one.text] for one in self.lines]}


def stored_of(kept: Mapping[str, Any], failure: str) -> Diagnosis | None:
    """What `stored` has written; None: the job was never diagnosed."""
    if not kept or not failure:
        return None
    lines = tuple(Line(number, text) for number, text in kept["lines"])
    return Diagnosis(FailureClass(failure), Cause(kept["cause"]), kept["name"], lines)


def diagnose(evidence: Evidence) -> Diagnosis:
    """The first of these that says something: the portal's own exit codes, the provider, the log, the exit code."""
    log = _tail(evidence.log)
    if own := CAUSES_OF_OUTCOMES.get(evidence.reason):
        return Diagnosis(evidence.outcome, own, lines=_shown([one for one in log if one.text.startswith("portal: ")]))
    if evidence.outcome not in (FailureClass.PROGRAM, FailureClass.IMAGE):
        return _by_provider(evidence, log)
    if evidence.outcome == FailureClass.IMAGE:
        return _of_image(evidence.provider_reason)
    return _by_log(log, evidence.exit_code) or _by_code(log, evidence.exit_code)


def _tail(log: Sequence[Line]) -> list[Line]:
    """Bounded, oldest first, without colours, and of a line that was drawn anew its last drawing."""
    kept: list[Line] = []
    letters = 0
    for line in reversed(log[-TAIL_LINES:]):
        text = _ESCAPE.sub("", line.text[:LINE_LETTERS]).rstrip("\r").rpartition("\r")[2]
        letters += len(text)
        if letters > TAIL_LETTERS:
            break
        kept.append(Line(line.number, text))
    return kept[::-1]


def _by_provider(evidence: Evidence, log: Sequence[Line]) -> Diagnosis:
    reason = evidence.provider_reason.lower()
    for rule in PROVIDER_RULES:
        if rule.of != evidence.outcome:
            continue
        if not rule.reasons or any(word in reason for word in rule.reasons):
            found = _also_shown(log, rule.cause)
            return Diagnosis(rule.failure, rule.cause, lines=_shown(found))
        if found := [one for one in log if _has_one(one.text.lower(), rule.also_log)]:
            return Diagnosis(rule.failure, rule.cause, lines=_shown(found))
    return Diagnosis(evidence.outcome, Cause.PROGRAM_ERROR)


def _also_shown(log: Sequence[Line], cause: Cause) -> list[Line]:
    """Lines that tell the same as the provider; they decide nothing."""
    signs = [sign for rule in RULES if rule.cause == cause for sign in rule.signs if rule.exit is None]
    return [one for one in log if _has_one(one.text.lower(), signs)]


def _of_image(reason: str) -> Diagnosis:
    low = reason.lower()
    for rule in RULES:
        if rule.failure == FailureClass.IMAGE and _has_one(low, rule.signs):
            return Diagnosis(FailureClass.IMAGE, rule.cause)
    return Diagnosis(FailureClass.IMAGE, Cause.IMAGE_UNUSABLE)


def _by_log(log: Sequence[Line], exit_code: int | None) -> Diagnosis | None:
    low = [one.text.lower() for one in log]
    matched = {
        at: rank
        for at in range(len(log))
        if not _is_source(log, at)
        and (rank := _rank_of(low, at, exit_code)) is not None
        and not _has_one(low[at], AFTERMATH)
    }
    raised = [(at, name) for at in range(len(log)) if (name := _exception(log, at))]
    ends = [(at, name) for at, name in raised if not _has_one(low[at], AFTERMATH) and not _is_echo(matched.get(at))]
    if ends:
        # The program went on to this exception: what was said before it began is not why the job ended.
        since = _beginning(low, ends[-1][0])
        matched = {at: rank for at, rank in matched.items() if at >= since or RULES[rank].lasting}
    chosen = min(matched.values(), default=None)
    if ends and (chosen is None or RULES[chosen].echo):
        at, name = ends[-1]
        frame = [one for one in log[max(0, at - 2) : at] if one.text.startswith(" ")]
        return Diagnosis(FailureClass.PROGRAM, Cause.PYTHON_TRACEBACK, _name(name), _shown([*frame, log[at]]))
    if chosen is None:
        return None
    rule = RULES[chosen]
    lines = [log[at] for at, rank in matched.items() if rank == chosen]
    return Diagnosis(rule.failure, rule.cause, _named(rule.cause, lines[-1].text), _shown(lines))


def _rank_of(low: Sequence[str], at: int, exit_code: int | None) -> int | None:
    """The first of the rules that has a sign in that line."""
    for rank, rule in enumerate(RULES):
        if rule.exit is not None and rule.exit != exit_code:
            continue
        if not _has_one(low[at], rule.signs):
            continue
        if not rule.above or any(rule.above in one for one in low[max(0, at - ABOVE_LINES) : at]):
            return rank
    return None


def _is_source(log: Sequence[Line], at: int) -> bool:
    """A line of the program that a traceback quotes: what stands there has not happened."""
    return at > 0 and '  File "' in log[at - 1].text and "    " in log[at].text


def _is_echo(rank: int | None) -> bool:
    return rank is not None and RULES[rank].echo


def _has_one(line: str, signs: Sequence[str]) -> bool:
    return any(_has(line, sign) for sign in signs)


def _has(line: str, sign: str) -> bool:
    """The sign's parts one after another, each looked for once."""
    at = 0
    for part in sign.split(" … "):
        at = line.find(part, at)
        if at < 0:
            return False
        at += len(part)
    return True


def _exception(log: Sequence[Line], at: int) -> str:
    """The name of the exception that this line tells of; "" where it tells of none."""
    text = log[at].text
    prefix = _PREFIX.match(text)
    begins = prefix.end() if prefix else 0
    found = _EXCEPTION.match(text, begins)
    if found is None:
        return ""
    name = found[1]
    last = name.rpartition(".")[2]
    after_a_frame = at > 0 and log[at - 1].text[begins : begins + 2] == "  " and "." in name
    return name if last.endswith(_ENDINGS) or after_a_frame else ""


def _beginning(low: Sequence[str], end: int) -> int:
    """Where the traceback that ends there begins; 0 where the tail has no beginning: all of it may belong to it."""
    return next((at for at in range(end, -1, -1) if _BEGINNING in low[at]), 0)


def _by_code(log: Sequence[Line], exit_code: int | None) -> Diagnosis:
    cause = CAUSES_OF_CODES.get(exit_code, Cause.PROGRAM_ERROR) if exit_code is not None else Cause.PROGRAM_ERROR
    return Diagnosis(FailureClass.PROGRAM, cause, lines=_shown([one for one in log if one.text.strip()][-2:]))


def _named(cause: Cause, text: str) -> str:
    found = NAMES[cause].search(text) if cause in NAMES else None
    return _name(found[1]) if found else ""


def _name(text: str) -> str:
    return one_line(text, NAME_LETTERS)


def _shown(lines: Sequence[Line]) -> tuple[Line, ...]:
    """The last of them, as one line of harmless text each."""
    return tuple(Line(one.number, one_line(one.text, SHOWN_LETTERS)) for one in lines[-SHOWN_MAX:])
