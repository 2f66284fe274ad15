"""How long after the end of its last fault all was well again: noted with the test, told at the end of the run.

`ended`: the last job ended as it should. `handed over`: the last of many forms was at its provider. The goal of both is
a p99 of 60 s on a machine that does nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable

KINDS = ("ended", "handed over")

noted: list[tuple[str, object]] = []  # of the test that runs; pytest brings them to the process that tells


def note(kind: str, seconds: float) -> None:
    noted.append((f"recovered: {kind}", seconds))


def told(properties: Iterable[tuple[str, object]]) -> list[str]:
    """One line for each kind, of all that tests have noted."""
    pairs = list(properties)
    lines = []
    for kind in KINDS:
        seconds = sorted(float(str(value)) for name, value in pairs if name == f"recovered: {kind}")
        if seconds:
            p50, p99 = (seconds[min(len(seconds) * part // 100, len(seconds) - 1)] for part in (50, 99))
            lines.append(
                f"all {kind} after the last fault: n {len(seconds)}, p50 {p50:.1f} s, p99 {p99:.1f} s,"
                f" max {seconds[-1]:.1f} s"
            )
    return lines
