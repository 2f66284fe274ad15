"""How long after the end of its last fault all was well again: noted with the test, told at the end of the run.

`ended`: the last job ended as it should. `handed over`: the last of many forms was at its provider. The goal of both is
a p99 of 60 s on a machine that does nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

KINDS = ("ended", "handed over")

noted: list[tuple[str, object]] = []  # of the test that runs; pytest brings them to the process that tells


def note(kind: str, seconds: float) -> None:
    test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition("::")[2].removesuffix(" (call)")
    noted.append((f"recovered: {kind}", f"{seconds} {test}"))


def told(properties: Iterable[tuple[str, object]]) -> list[str]:
    """One line for each kind, of all that tests have noted."""
    pairs = list(properties)
    lines = []
    for kind in KINDS:
        values = [str(value).partition(" ") for name, value in pairs if name == f"recovered: {kind}"]
        took = sorted((float(seconds), test) for seconds, _, test in values)
        if took:
            p50, p99 = (took[min(len(took) * part // 100, len(took) - 1)][0] for part in (50, 99))
            longest, test = took[-1]
            lines.append(
                f"all {kind} after the last fault: n {len(took)}, p50 {p50:.1f} s, p99 {p99:.1f} s,"
                f" max {longest:.1f} s ({test})"
            )
    return lines
