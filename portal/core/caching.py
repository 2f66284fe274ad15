"""The cache holds JSON, never pickles: whoever can write to the cache must not be able to run code here."""

import json
import time
from collections.abc import Callable, Hashable
from typing import Any, TypeVar, cast

import structlog
from django.core.cache import cache
from redis.exceptions import RedisError

log = structlog.get_logger(__name__)

T = TypeVar("T")


def keep(key: str, seconds: int, make: Callable[[], T]) -> T:
    """What `make` answers, JSON and never None, remembered for so long. A cache that is away is an empty one."""
    try:
        known: T | None = cache.get(key)
    except RedisError as away:
        log.warning("cache cannot be read", reason=str(away))
        return make()
    if known is None:
        known = make()
        try:
            cache.set(key, known, seconds)
        except RedisError as away:
            log.warning("cache cannot be written", reason=str(away))
    return known


class Briefly:
    """Answers kept in this process for a few seconds, as they are: many ask for what changes by the month.

    Whoever gets one shares it with other threads and leaves it unchanged. What decides an act is read again.
    """

    def __init__(self, seconds: float, *, most: int = 500) -> None:
        self._seconds, self._most = seconds, most
        self._known: dict[Hashable, tuple[float, Any]] = {}

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        now = time.monotonic()
        until, answer = self._known.get(key, (0.0, None))
        if now >= until:
            answer = make()
            if len(self._known) >= self._most:
                self._known.clear()
            self._known[key] = (now + self._seconds, answer)
        return cast(T, answer)

    def clear(self) -> None:
        self._known.clear()


class JSONSerializer:
    def dumps(self, obj: Any) -> bytes | int:
        # Whole numbers stay bare so that the server can count them up.
        if type(obj) is int:
            return obj
        return json.dumps(obj, separators=(",", ":")).encode()

    def loads(self, data: bytes) -> Any:
        return json.loads(data)
