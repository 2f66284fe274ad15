"""Servers whose address the user has given: each is asked once, before anything is started or prepared.

What it answers hardly matters here; an address where nobody does is told with the variable's name.
"""

import os
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any

from portal.launcher.errors import CannotContinue

PATIENCE_S = 5


def try_all(given: Mapping[str, str] = os.environ) -> None:
    """Raises CannotContinue with the name of the first that cannot be used."""
    for name, ask in QUESTIONS.items():
        if url := given.get(name):
            try:
                ask(url)
            except Exception as problem:  # each client has its own kinds of errors, and a wrong address has any
                words = str(problem).strip().splitlines() or [type(problem).__name__]
                raise CannotContinue("server_unusable", name=name, problem=words[0].rstrip(".")) from problem


def _ask_database(url: str) -> None:
    import dj_database_url
    import psycopg

    if not url.startswith(("postgresql://", "postgres://")):
        raise ValueError("it must begin with postgresql://")
    # The address is read as Django will read it.
    parts = dj_database_url.parse(url)
    words = {"host": "HOST", "port": "PORT", "dbname": "NAME", "user": "USER", "password": "PASSWORD"}
    options: dict[str, Any] = {name: parts.get(word) for name, word in words.items()}
    options |= {"connect_timeout": PATIENCE_S, **parts.get("OPTIONS", {})}
    psycopg.connect(**{name: value for name, value in options.items() if value}).close()


def _ask_broker(url: str) -> None:
    from kombu.connection import Connection

    if not url.startswith(("redis://", "rediss://", "redis+socket://", "amqp://", "amqps://")):
        raise ValueError("it must begin with redis://, rediss://, redis+socket://, amqp:// or amqps://")
    with Connection(url, connect_timeout=PATIENCE_S) as connection:  # type: ignore[no-untyped-call]
        connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0, timeout=PATIENCE_S)
        connection.default_channel.close()


def _ask_cache(url: str) -> None:
    import redis

    url = url.replace("redis+socket://", "unix://")
    redis.Redis.from_url(url, socket_connect_timeout=PATIENCE_S, socket_timeout=PATIENCE_S).ping()


def _ask_store(url: str) -> None:
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE_S):
            pass
    except urllib.error.HTTPError:  # it answers: keys and bucket are looked at later
        pass
    except urllib.error.URLError as error:
        raise OSError(error.reason) from error


QUESTIONS: dict[str, Callable[[str], None]] = {
    "DATABASE_URL": _ask_database,
    "BROKER_URL": _ask_broker,
    "CACHE_URL": _ask_cache,
    "S3_ENDPOINT": _ask_store,
}
