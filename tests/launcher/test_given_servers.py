"""Servers that the user has given are asked once, before anything starts."""

import os
import socket

import pytest

from portal.launcher import given_servers
from portal.launcher.errors import CannotContinue
from portal.launcher.messages import sentence
from portal.launcher.ports import may_listen

REFUSED = "[Errno 111] Connection refused"


@pytest.mark.parametrize(
    ("name", "url", "problem"),
    [
        (
            "DATABASE_URL",
            "postgresql://x@127.0.0.1:1/x",
            'connection failed: connection to server at "127.0.0.1", port 1 failed: Connection refused',
        ),
        ("DATABASE_URL", "nonsense", "it must begin with postgresql://"),
        ("BROKER_URL", "redis://127.0.0.1:1/0", "Error 111 connecting to 127.0.0.1:1. Connection refused"),
        ("BROKER_URL", "amqp://127.0.0.1:1//", REFUSED),
        (
            "BROKER_URL",
            "nonsense",
            "it must begin with redis://, rediss://, redis+socket://, amqp:// or amqps://",
        ),
        ("CACHE_URL", "redis://127.0.0.1:1/0", "Error 111 connecting to 127.0.0.1:1. Connection refused"),
        ("S3_ENDPOINT", "http://127.0.0.1:1", REFUSED),
        ("S3_ENDPOINT", "nonsense", "unknown url type: 'nonsense'"),
    ],
)
def test_one_that_cannot_be_used_is_named(name, url, problem):
    with pytest.raises(CannotContinue) as refused:
        given_servers.try_all({name: url})

    assert str(refused.value) == sentence("server_unusable", name=name, problem=problem)


def test_those_that_answer_pass():
    names = ("DATABASE_URL", "BROKER_URL", "CACHE_URL", "S3_ENDPOINT")
    given_servers.try_all({name: os.environ[name] for name in names})


def test_a_port_of_root_is_not_a_taken_one(monkeypatch):
    def refuse(self, address):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refuse)
    assert may_listen(80) is False
    monkeypatch.undo()
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert may_listen(server.getsockname()[1]) is True
