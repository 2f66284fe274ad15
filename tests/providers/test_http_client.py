from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from portal.providers import http_client
from portal.providers.errors import Misconfigured, OutcomeUnknown, Unavailable
from portal.providers.http_client import HttpClient
from tests.providers.answering import Reply, answering


def test_an_answer_is_read_whole_with_its_status() -> None:
    with answering(Reply(503, {"名": "値"}, {"Retry-After": "7"})) as server:
        answer = HttpClient(server.url + "/", auth=("a", "b")).request(
            "POST", "/x", params={"q": "1 2"}, body={"名": 1}
        )
    assert (answer.status, answer.ok, answer.json(), answer.retry_after_s) == (503, False, {"名": "値"}, 7.0)
    asked = server.asked[0]
    assert (asked.method, asked.path, asked.body.decode()) == ("POST", "/x?q=1+2", '{"名": 1}')


@pytest.mark.parametrize(("creates", "expected"), [(True, OutcomeUnknown), (False, Unavailable)])
@pytest.mark.parametrize(
    ("reply", "code"), [(Reply(200, b"cut", cut=True), "RemoteProtocolError"), (Reply(200, b"x" * 11), "too_large")]
)
def test_a_lost_answer_to_what_creates_may_have_had_its_effect(
    reply: Reply, code: str, creates: bool, expected: type[Exception]
) -> None:
    with answering(reply) as server, pytest.raises(expected) as lost:
        HttpClient(server.url).request("POST", "/x", creates=creates, limit=10)
    assert (type(lost.value), lost.value.code) == (expected, code)  # type: ignore[attr-defined]


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "ftp://127.0.0.1", "http://["])
def test_without_a_connection_certainly_nothing_happened(url: str) -> None:
    with pytest.raises(Unavailable) as away:
        HttpClient(url).request("POST", "/x", creates=True)
    assert str(away.value) == "no connection"


@pytest.mark.parametrize("value", ["鍵", "a\r\nX-Evil: 1", "a\x00"])
def test_credentials_that_no_header_can_carry_are_named_and_not_shown(value: str) -> None:
    with pytest.raises(Misconfigured) as told:
        HttpClient("http://127.0.0.1:9", headers={"X-Token": "canary" + value})
    assert str(told.value) == "the account's credentials hold letters that no header can carry"


def test_credentials_go_nowhere_else() -> None:
    with answering(Reply(body=b"there")) as store, answering(Reply(302, b"", {"Location": store.url})) as server:
        client = HttpClient(server.url, headers={"X-Token": "canary"})
        assert client.request("GET", "/x").status == 302  # not followed
        assert store.asked == []
        assert b"".join(client.download(store.url + "/signed?sig=1") or []) == b"there"
        client.close()
        client.close()
    assert "canary" not in str(store.asked[0].headers)


def test_a_download_that_is_not_there_is_none_and_a_refused_one_can_be_tried_again() -> None:
    with answering(Reply(404), Reply(403), Reply(200, b"cut", cut=True)) as server:
        client = HttpClient("http://127.0.0.1:9")
        assert client.download(server.url) is None
        with pytest.raises(Unavailable, match="refused"):
            client.download(server.url)
        with pytest.raises(Unavailable):
            list(client.download(server.url) or [])
        with pytest.raises(Unavailable, match="not an http"):
            client.download("file:///etc/passwd")


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 999, b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 999]
)
def test_an_answer_that_drips_ends_in_time(monkeypatch: pytest.MonkeyPatch, answer: bytes) -> None:
    monkeypatch.setattr(http_client, "ANSWER_TIMEOUT_S", 0.5)
    began = time.monotonic()
    with dripping(answer) as url, pytest.raises(OutcomeUnknown, match="in time"):
        HttpClient(url).request("POST", "/x", creates=True)
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\nX-Long: ", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_a_download_that_drips_ends_in_time(monkeypatch: pytest.MonkeyPatch, head: bytes) -> None:
    monkeypatch.setattr(http_client, "ANSWER_TIMEOUT_S", 0.5)
    began = time.monotonic()
    with dripping(head + b"x" * 999) as url, pytest.raises(Unavailable, match="in time"):
        list(HttpClient("http://127.0.0.1:9").download(url) or [])
    assert time.monotonic() - began < 3


def test_a_secret_that_the_cut_would_halve_is_gone_whole() -> None:
    with answering(Reply(400, b"x " * 95 + b"canary-token of yours")) as server:
        line = HttpClient(server.url).request("GET", "/x").one_line(["canary-token"])
    assert line == "x " * 95 + "[…] of you"


@pytest.mark.parametrize(
    ("body", "line"),
    [(b"a\n  b", "a b"), (b"<HTML><body>x", "an HTML page"), (b"\xff", "\ufffd"), (b"x" * 999, "x" * 200), (b"", "")],
)
def test_a_refusal_is_one_line_for_operators(body: bytes, line: str) -> None:
    with answering(Reply(400, body)) as server:
        assert HttpClient(server.url).request("GET", "/x").one_line(()) == line


@pytest.mark.parametrize("value", ["soon", "-1", "1.5", "", "99999999"])
def test_a_wait_that_is_no_number_of_seconds_is_none(value: str) -> None:
    with answering(Reply(429, b"", {"Retry-After": value})) as server:
        assert HttpClient(server.url).request("GET", "/x").retry_after_s is None


@pytest.mark.parametrize("body", [b"", b"{", b"[" * 100_000, b"\xff\xfe", b"9" * 5000])
def test_what_is_no_json_is_one_kind_of_error(body: bytes) -> None:
    with answering(Reply(200, body)) as server:
        answer = HttpClient(server.url).request("GET", "/x")
    with pytest.raises(ValueError):
        answer.json()
    assert "body" not in repr(answer)


@contextlib.contextmanager
def dripping(answer: bytes) -> Iterator[str]:
    """A server that sends it byte by byte, each well within the time of a read."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            client, _address = listener.accept()
            with client, contextlib.suppress(OSError):
                for place in range(len(answer)):
                    client.sendall(answer[place : place + 1])
                    time.sleep(0.02)

        threading.Thread(target=drip, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
