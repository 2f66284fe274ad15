"""Named places where a test may end or interrupt the process. Inert unless a test arms one.

In a process of its own a test arms one by PORTAL_FAILPOINT=<name>, and the process dies there as by kill -9.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

armed: dict[str, Callable[[], None]] = {}


def failpoint(name: str) -> None:
    if armed and name in armed:
        armed[name]()


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if os.environ.get("PORTAL_MODE") == "test" and os.environ.get("PORTAL_FAILPOINT"):
    armed[os.environ["PORTAL_FAILPOINT"]] = _die
