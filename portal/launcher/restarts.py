"""When a child that died starts again: at once, then later and later, and not at all when it keeps dying."""

from collections import deque

DEATHS_ALLOWED, WINDOW_S = 5, 60.0
DELAYS_S = (0.0, 0.3, 0.7, 1.5)  # after the first, second, third and fourth death within the window


class KeepsDying(Exception):
    """It died DEATHS_ALLOWED times within WINDOW_S seconds."""


class Restarts:
    """Times are seconds of one clock, given by the caller."""

    def __init__(self) -> None:
        self._deaths: dict[str, deque[float]] = {}

    def due_after_death(self, name: str, *, at: float) -> float:
        """The time at which to start it again. Raises KeepsDying."""
        deaths = self._deaths.setdefault(name, deque())
        deaths.append(at)
        while at - deaths[0] >= WINDOW_S:
            deaths.popleft()
        if len(deaths) >= DEATHS_ALLOWED:
            raise KeepsDying
        return at + DELAYS_S[len(deaths) - 1]
