"""The cache holds JSON, never pickles: whoever can write to the cache must not be able to run code here."""

import json
from collections.abc import Callable
from typing import Any, TypeVar

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


class JSONSerializer:
    def dumps(self, obj: Any) -> bytes | int:
        # Whole numbers stay bare so that the server can count them up.
        if type(obj) is int:
            return obj
        return json.dumps(obj, separators=(",", ":")).encode()

    def loads(self, data: bytes) -> Any:
        return json.loads(data)
