"""What slurmrestd answers, as the errors that the caller decides by."""

from __future__ import annotations

import time

import jwt
import pytest

from portal.providers.base import Account
from portal.providers.errors import Misconfigured, NotFound, OutcomeUnknown, Rejected, Unavailable
from portal.providers.slurm_rest.client import NoSuchPath, SlurmRestClient, classify
from tests.providers.answering import Reply, answering

TOKEN = "canary-token"


def client_of(url: str, token: str = TOKEN) -> SlurmRestClient:
    return SlurmRestClient(Account("slurm_rest", url, {"user": "portal", "token": token}))


def test_who_asks_stands_in_both_headers() -> None:
    with answering(Reply(body={"jobs": [], "errors": []})) as server:
        assert client_of(server.url).call("GET", "/slurm/v0.0.40/jobs") == {"jobs": [], "errors": []}
    sent = {name.lower(): value for name, value in server.asked[0].headers.items()}
    assert (sent["x-slurm-user-name"], sent["x-slurm-user-token"]) == ("portal", TOKEN)


@pytest.mark.parametrize(
    ("reply", "expected", "summary"),
    [
        (Reply(401, b"no canary-token"), Misconfigured, "slurmrestd refuses the credentials: no […]"),
        (Reply(403, b""), Misconfigured, "slurmrestd refuses the credentials: "),
        (Reply(404, b"nothing"), NoSuchPath, "slurmrestd does not know the path"),
        (Reply(400, b"bad"), Rejected, "slurmrestd cannot read the request: bad"),
        (Reply(429, b"slow"), Unavailable, "the gateway asks to slow down"),
        (Reply(502, b"<html>"), OutcomeUnknown, "slurmrestd answered 502 without a readable body"),
        (Reply(200, b"not json"), OutcomeUnknown, "slurmrestd answered 200 without a readable body"),
        (Reply(200, b"[]"), OutcomeUnknown, "slurmrestd answered 200 without a readable body"),
        (Reply(500, {}), OutcomeUnknown, "slurmrestd answered 500"),
        (
            Reply(401, {"message": "no canary-token"}),
            Misconfigured,
            'slurmrestd refuses the credentials: {"message": "no […]"}',
        ),
        (Reply(403, {"errors": [{"message": "no"}]}), Misconfigured, None),
        (Reply(404, {"message": "no route"}), NoSuchPath, "slurmrestd does not know the path"),
        (Reply(429, {"message": "slow"}), Unavailable, "the gateway asks to slow down"),
        (Reply(429, {"errors": []}), Unavailable, "the gateway asks to slow down"),
        (Reply(400, {"message": "bad"}), OutcomeUnknown, "slurmrestd answered 400"),
        (Reply(502, {"message": "bad gateway"}), OutcomeUnknown, "slurmrestd answered 502"),
        (Reply(504, {"message": "timeout"}), OutcomeUnknown, "slurmrestd answered 504"),
        (Reply(404, {"errors": [{"error_number": 2017}]}), NotFound, "Slurm does not know this job"),
        (
            Reply(500, {"errors": [{"error_number": 2017, "error": "Invalid job id specified"}]}),
            NotFound,
            "Slurm does not know this job",
        ),
        (
            Reply(200, {"errors": [{"error_code": 2000, "description": "partition x of canary-token"}]}),
            Misconfigured,
            "Slurm refuses this account: partition x of […]",
        ),
        (Reply(200, {"errors": [7, {"error": "secret-env"}]}), OutcomeUnknown, None),
    ],
)
def test_each_answer_that_is_none(reply: Reply, expected: type[Exception], summary: str | None) -> None:
    with answering(reply) as server, pytest.raises(expected) as told:
        client_of(server.url).call("POST", "/x", body={}, creates=True, secrets=("secret-env",))
    assert type(told.value) is expected
    assert "canary" not in str(told.value)
    assert "secret-env" not in str(told.value)
    assert summary in (None, str(told.value))


@pytest.mark.parametrize("body", [b"", {"message": "slow"}])
def test_a_gateway_that_asks_to_slow_down_says_for_how_long(body: object) -> None:
    with answering(Reply(429, body, {"Retry-After": "17"})) as server, pytest.raises(Unavailable) as told:
        client_of(server.url).call("POST", "/x", body={}, creates=True)
    assert told.value.retry_after_s == 17


def test_a_lost_read_may_be_repeated() -> None:
    with answering(Reply(502, b"")) as server, pytest.raises(Unavailable):
        client_of(server.url).call("GET", "/x")


def test_an_expired_token_is_not_even_sent() -> None:
    expired = jwt.encode({"exp": int(time.time()) - 1, "sun": "portal"}, "k" * 32, algorithm="HS256")
    valid = jwt.encode({"exp": int("9" * 400), "sun": "portal"}, "k" * 32, algorithm="HS256")
    with answering(Reply(body={"pings": []})) as server:
        with pytest.raises(Misconfigured) as told:
            client_of(server.url, expired).call("GET", "/x")
        assert client_of(server.url, valid).call("GET", "/x") == {"pings": []}
    assert (told.value.code, len(server.asked)) == ("token_expired", 1)


@pytest.mark.parametrize("missing", ["user", "token"])
def test_credentials_that_lack_something_are_named(missing: str) -> None:
    credentials = {name: "x" for name in ("user", "token") if name != missing}
    with pytest.raises(Misconfigured) as told:
        SlurmRestClient(Account("slurm_rest", "http://127.0.0.1:9", credentials))
    assert str(told.value) == f"the account's credentials lack '{missing}'"


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ([2017], NotFound),
        ([9003], NotFound),
        ([2000], Misconfigured),
        ([2014], Rejected),
        ([9001, 2127], Rejected),
        ([-1, -1], OutcomeUnknown),
        ([5004], OutcomeUnknown),
        ([1001], OutcomeUnknown),
    ],
)
def test_errors_are_told_apart_by_number(numbers: list[int], expected: type[Exception]) -> None:
    assert type(classify(numbers, "Requested node configuration is not available", OutcomeUnknown)) is expected
    if expected is OutcomeUnknown:
        assert type(classify(numbers, "", Unavailable)) is Unavailable
