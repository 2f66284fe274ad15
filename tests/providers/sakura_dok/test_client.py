"""What DOK answers, as the errors that the caller decides by."""

from __future__ import annotations

import pytest

from portal.providers.base import Account
from portal.providers.errors import Misconfigured, NotFound, OutcomeUnknown, Rejected, Unavailable
from portal.providers.sakura_dok.client import DokClient, Forbidden, segment
from tests.providers.answering import Reply, answering


def client_of(url: str) -> DokClient:
    return DokClient(Account("sakura_dok", url, {"token": "canary-token", "secret": "canary-secret"}))


@pytest.mark.parametrize(
    ("reply", "expected", "summary"),
    [
        (Reply(401, b"no canary-secret"), Misconfigured, "DOK refuses the credentials: no […]"),
        (Reply(403, b""), Misconfigured, "DOK refuses the credentials: "),
        (Reply(400, b"A=users-secret"), Rejected, "DOK refuses the task: A=[…]"),
        (Reply(429, b""), Unavailable, "DOK asks to slow down"),
        (Reply(500, b""), OutcomeUnknown, "DOK answered 500"),
        (Reply(302, b""), OutcomeUnknown, "DOK answered 302"),
        (Reply(200, b"not json"), OutcomeUnknown, "the answer holds no task"),
        (Reply(201, {"id": ""}), OutcomeUnknown, "the answer holds no task"),
        (Reply(201, {"id": 7}), OutcomeUnknown, "the answer holds no task"),
    ],
)
def test_a_task_that_was_not_made_or_may_have_been(reply: Reply, expected: type[Exception], summary: str) -> None:
    with answering(reply) as server, pytest.raises(expected) as told:
        client_of(server.url).create_task({"name": "x"}, secrets=("users-secret",))
    assert (type(told.value), str(told.value)) == (expected, summary)


def test_a_refusal_about_the_image_says_so() -> None:
    with answering(Reply(422, b"image not found"), Reply(422, b"plan not found")) as server:
        failures = []
        for _ in range(2):
            with pytest.raises(Rejected) as told:
                client_of(server.url).create_task({}, secrets=())
            failures.append(told.value.failure)
    assert failures == ["image", "portal_fault"]


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Reply(404), NotFound),
        (Reply(401), Misconfigured),
        (Reply(403), Forbidden),
        (Reply(400), Rejected),
        (Reply(429), Unavailable),
        (Reply(500), Unavailable),
        (Reply(200, b"{"), Unavailable),
    ],
)
def test_a_question_that_got_no_answer(reply: Reply, expected: type[Exception]) -> None:
    with answering(reply) as server, pytest.raises(expected) as told:
        client_of(server.url).get("/tasks/x/")
    assert type(told.value) is expected


def test_pages_are_read_to_the_last_and_shifted_rows_once() -> None:
    first = Reply(body={"results": [{"id": "a"}, {"id": "b"}, 7], "meta": {"total_pages": 2}})
    second = Reply(body={"results": [{"id": "b"}, {"id": "c"}], "meta": {"total_pages": 2}})
    with answering(first, second) as server:
        found = list(client_of(server.url).pages("/tasks/", {"tag": "jga"}))
    assert [item["id"] for item in found] == ["a", "b", "c"]
    assert [asked.path for asked in server.asked] == [
        "/tasks/?tag=jga&page=1&page_size=100",
        "/tasks/?tag=jga&page=2&page_size=100",
    ]


@pytest.mark.parametrize("meta", [{"total_pages": "3"}, {"total_pages": None}, {"total_pages": 3.0}, None])
def test_a_list_goes_on_where_it_does_not_say_how_long_it_is(meta: object) -> None:
    pages = [[{"id": f"{page}-{number}"} for number in range(size)] for page, size in enumerate((100, 100, 7))]
    replies = [Reply(body={"results": page, "meta": meta}) for page in pages]
    with answering(*replies) as server:
        assert len(list(client_of(server.url).pages("/tasks/", {}))) == 207


def test_a_list_that_gives_the_same_page_for_ever_ends() -> None:
    page = Reply(body={"results": [{"id": str(number)} for number in range(100)]})
    with answering(to=lambda asked: page) as server:
        assert len(list(client_of(server.url).pages("/tasks/", {}))) == 100
        assert len(server.asked) == 2


def test_a_list_that_cannot_be_read_is_not_an_empty_one() -> None:
    with answering(Reply(body={"results": None})) as server, pytest.raises(Unavailable):
        list(client_of(server.url).pages("/tasks/", {}))


def test_an_answer_without_a_body_is_fine() -> None:
    with answering(Reply(204), Reply(200)) as server:
        client = client_of(server.url)
        assert [client.post("/tasks/x/cancel/"), client.get("/x")] == [None, None]


@pytest.mark.parametrize("missing", ["token", "secret"])
def test_credentials_that_lack_something_are_named(missing: str) -> None:
    credentials = {name: "x" for name in ("token", "secret") if name != missing}
    with pytest.raises(Misconfigured) as told:
        DokClient(Account("sakura_dok", "http://127.0.0.1:9", credentials))
    assert str(told.value) == f"the account's credentials lack '{missing}'"


def test_a_value_is_one_part_of_a_path() -> None:
    assert segment("../a b/?x=1") == "..%2Fa%20b%2F%3Fx%3D1"
