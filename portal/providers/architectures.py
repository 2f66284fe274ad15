"""What processors a plan's machines have: a job that is built for others is refused before anything is sent.

The catalog says what an offering is sold as (JobSpec.architecture), the provider what its machines are. A provider that
does not say is believed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping

from portal.providers.base import JobSpec
from portal.providers.errors import ProviderError, Rejected

KEEP_S = 600.0  # machines are exchanged in weeks, and every submit looks here
ASK_AGAIN_S = 60.0  # after a provider that did not answer

_NAMES = {"x86_64": "amd64", "aarch64": "arm64"}  # as uname(1) and Slurm say, and as container images say


def architecture(word: str) -> str:
    """The catalog's name of what uname calls a machine."""
    return _NAMES.get(word.lower(), word.lower())


def refuse_others(spec: JobSpec, there: Collection[str]) -> None:
    """Raises Rejected where the plan's machines are known, and none is what the job was sold as."""
    if spec.architecture and there and spec.architecture not in there:
        machines = " and ".join(sorted(there))
        raise Rejected(f"the job is for {spec.architecture}, and the machines of {spec.plan} are {machines}")


class KnownArchitectures:
    """By plan, as `ask` tells them, and asked once in a while. Thread-safe."""

    def __init__(self, ask: Callable[[], Mapping[str, Collection[str]]]) -> None:
        self._ask = ask
        self._known: Mapping[str, Collection[str]] = {}
        self._good_until = 0.0  # time.monotonic
        self._lock = threading.Lock()

    def of(self, plan: str) -> Collection[str]:
        """Empty: the provider does not say, or cannot be asked now. Then its own answer to the job has to do."""
        with self._lock:
            if time.monotonic() >= self._good_until:
                try:
                    self._known, kept_s = self._ask(), KEEP_S
                except ProviderError:
                    kept_s = ASK_AGAIN_S
                self._good_until = time.monotonic() + kept_s
            return self._known.get(plan, ())
