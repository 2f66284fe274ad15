"""Promises, and how they are tried: each ends as held, broken or not offered, with one line of evidence."""

from __future__ import annotations

import enum
import importlib
import pkgutil
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from portal.providers.errors import ProviderError

if TYPE_CHECKING:
    from portal.providers.conformance.bench import Bench


class Result(enum.Enum):
    HELD = "held"
    BROKEN = "broken"
    NOT_OFFERED = "not offered"


class Broken(Exception):
    """The promise does not hold; its text says what was seen instead."""


class NotOffered(Exception):
    """The provider has no such ability, and its adapter does not claim it; or it cannot be tried here."""


@dataclass(frozen=True)
class Promise:
    area: str  # the file in promises/
    name: str  # the function's
    act: Callable[[Bench], str]
    slow: bool = False  # needs minutes: a time limit to pass
    patient: bool = False  # waits for seconds with nothing to do: runs beside the others

    @property
    def sentence(self) -> str:
        words = self.name.replace("_", " ")
        return words[0].upper() + words[1:] + "."


@dataclass(frozen=True)
class Finding:
    promise: Promise
    result: Result
    evidence: str  # one line, without secrets
    seconds: float


_promises: list[Promise] = []


def promise(act: Callable[[Bench], str]) -> Callable[[Bench], str]:
    """Makes a function one of the kit's promises: its name is the sentence, what it returns the evidence."""
    return _added(act)


def patient_promise(act: Callable[[Bench], str]) -> Callable[[Bench], str]:
    """One that mostly waits: it begins when the bench does."""
    return _added(act, patient=True)


def slow_promise(act: Callable[[Bench], str]) -> Callable[[Bench], str]:
    """One that waits for minutes; left out unless asked for."""
    return _added(act, slow=True)


def _added(act: Callable[[Bench], str], **how: bool) -> Callable[[Bench], str]:
    _promises.append(Promise(act.__module__.rpartition(".")[2], act.__name__, act, **how))
    return act


def all_promises() -> tuple[Promise, ...]:
    from portal.providers.conformance import promises

    for module in pkgutil.iter_modules(promises.__path__):
        importlib.import_module(f"{promises.__name__}.{module.name}")
    return tuple(_promises)


def begin(bench: Bench, promises: Iterable[Promise]) -> None:
    """Submit the sample jobs, and start what takes long, so that all of it runs beside the rest."""
    bench.start_samples()
    for one in promises:
        if one.patient:
            bench.start_act(one.name, one.act)


def examine(bench: Bench, promises: Iterable[Promise]) -> Iterator[Finding]:
    """One finding after the other, as they come in."""
    for one in promises:
        began = time.monotonic()
        try:
            result, evidence = Result.HELD, bench.act(one.name, one.act)
        except NotOffered as reason:
            result, evidence = Result.NOT_OFFERED, str(reason)
        except Broken as seen:
            result, evidence = Result.BROKEN, str(seen)
        except ProviderError as error:
            result, evidence = Result.BROKEN, f"{type(error).__name__}: {error.summary}"
        except Exception as error:  # an adapter that lets a library's error through breaks its first promise
            result, evidence = (
                Result.BROKEN,
                f"{type(error).__name__} came through instead of one of the adapter's errors",
            )
        yield Finding(one, result, bench.without_secrets(" ".join(evidence.split())[:300]), time.monotonic() - began)


def hold(condition: object, seen: str) -> None:
    """Raises Broken with what was seen unless the condition is true."""
    if not condition:
        raise Broken(seen)


def equal(actual: object, expected: object, what: str) -> None:
    if actual != expected:
        raise Broken(f"{what}: {_short(actual)} instead of {_short(expected)}")


def raises(expected: type[ProviderError] | tuple[type[ProviderError], ...], act: Callable[[], object]) -> ProviderError:
    """The error that came; Broken where none came, or another."""
    wanted = expected if isinstance(expected, tuple) else (expected,)
    names = " or ".join(kind.__name__ for kind in wanted)
    try:
        answer = act()
    except wanted as error:
        return error
    except ProviderError as error:
        raise Broken(f"{type(error).__name__} ({error.summary}) instead of {names}") from None
    raise Broken(f"{_short(answer)} instead of {names}")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:110]}… ({len(text)} characters)"
