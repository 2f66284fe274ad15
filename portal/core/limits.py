"""How often one person may do what costs us work: counted in the cache, a minute at a time (settings.LIMITS).

Not allauth's limiter, which guards signing in: that one cannot count a batch as its parts, holds a lock over four trips
to the cache, does not say when to try again, and answers with a fault while the cache is away. Here a cache that is
away limits nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import wraps
from typing import Any

import structlog
from django.conf import settings
from django.core.cache import cache
from django.http import HttpRequest, HttpResponseBase
from redis.exceptions import RedisError

from portal.core.error_pages import too_many_requests

log = structlog.get_logger(__name__)

MINUTE_S = 60
View = Callable[..., HttpResponseBase]


def wait_for(request: HttpRequest, action: str, amount: int = 1) -> int:
    """Counts `amount` more of `action` for the signed-in person: 0, or the seconds after which they may again."""
    now = int(time.time())
    key = f"limit:{action}:{request.user.pk}:{now // MINUTE_S}"
    try:
        cache.add(key, 0, 2 * MINUTE_S)
        count = cache.incr(key, amount)
    except (RedisError, ValueError) as away:  # ValueError: the cache let the counter go in between
        log.warning("not counted", action=action, reason=str(away))
        return 0
    return MINUTE_S - now % MINUTE_S if count > settings.LIMITS[action] else 0


def limited(action: str, *, method: str | None = None) -> Callable[[View], View]:
    """For views of the signed-in; `method`: only requests of that method count."""

    def decorate(view: View) -> View:
        @wraps(view)
        def wrapped(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if method in (None, request.method) and (wait_s := wait_for(request, action)):
                return too_many_requests(request, wait_s=wait_s)
            return view(request, *args, **kwargs)

        return wrapped

    return decorate
