"""DOK's tasks as ours: whole values, and whatever else may come."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.providers.base import JobSpec, RemoteCharge, RemoteJob, RemoteOffering, RemoteState
from portal.providers.errors import Rejected
from portal.providers.sakura_dok.translation import (
    charges,
    create_task,
    gpus_of,
    instant,
    offerings,
    registries_of,
    web_address,
)
from portal.providers.sakura_dok.translation import remote_job as dok_job
from tests.providers.hostile import JSON

SPEC = JobSpec("jga-t-1", "echo", "h100-80gb", 1, 60, image="python:3.11", environment={"A": "1"})
TASK: dict[str, Any] = {
    "id": "0b1f",
    "name": "jga-t-1",
    "created_at": "2026-11-23T09:00:00.000+09:00",
    "updated_at": "2026-11-23T09:10:00.000+09:00",
    "status": "done",
    "tags": ["jga-t-1", "jga"],
    "error_message": "",
    "execution_time_limit_sec": 600,
    "containers": [
        {
            "index": 0,
            "plan": "h100-8gpu-80gb",
            "exit_code": 0,
            "execution_seconds": 61,
            "start_at": "2026-11-23T09:01:00.000+09:00",
            "stop_at": "2026-11-23T09:02:01.000+09:00",
        }
    ],
}


def test_a_task_of_dok_as_ours() -> None:
    assert dok_job(TASK) == RemoteJob(
        remote_id="0b1f",
        key="jga-t-1",
        state=RemoteState.SUCCEEDED,
        exit_code=0,
        created_at=datetime(2026, 11, 23, 0, 0, tzinfo=UTC),
        started_at=datetime(2026, 11, 23, 0, 1, tzinfo=UTC),
        ended_at=datetime(2026, 11, 23, 0, 2, 1, tzinfo=UTC),
        gpu_seconds=488,
    )


@pytest.mark.parametrize(
    ("status", "container", "state"),
    [
        ("waiting", {"exit_code": None}, RemoteState.QUEUED),
        ("running", {"exit_code": None}, RemoteState.RUNNING),
        ("done", {"exit_code": 3}, RemoteState.FAILED),
        ("done", {"exit_code": None}, RemoteState.FAILED),
        ("error", {}, RemoteState.FAILED),
        ("aborted", {}, RemoteState.INTERRUPTED),
        ("aborted", {"execution_seconds": 600}, RemoteState.TIMED_OUT),
        ("canceled", {}, RemoteState.CANCELLED),
        ("canceled", {"execution_seconds": 601}, RemoteState.TIMED_OUT),
        ("a new word", {}, RemoteState.QUEUED),
    ],
)
def test_the_states_of_dok(status: str, container: dict[str, Any], state: RemoteState) -> None:
    task = {**TASK, "status": status, "containers": [{**TASK["containers"][0], **container}]}
    assert dok_job(task).state is state


def test_a_task_of_somebody_else_carries_no_key() -> None:
    assert dok_job({**TASK, "tags": ["mine"]}).key == ""


def test_the_request_to_dok() -> None:
    assert create_task(SPEC) == {
        "name": "jga-t-1",
        "containers": [
            {
                "image": "python:3.11",
                "command": ["-c", "echo"],
                "entrypoint": ["/bin/sh"],
                "plan": "h100-80gb",
                "registry": None,
                "environment": {"A": "1"},
                "http": None,
                "ssh": None,
            }
        ],
        "tags": ["jga-t-1", "jga"],
        "execution_time_limit_sec": 600,
    }


@pytest.mark.parametrize(
    "spec",
    [
        replace(SPEC, environment={"A": "x" * 8191}),
        replace(SPEC, environment={"SAKURA_TASK_ID": "1"}),
        replace(SPEC, time_limit_s=1_728_001),
        replace(SPEC, image=""),
        replace(SPEC, web_port=0),
        replace(SPEC, web_port=65_536),
    ],
    ids=["environment", "reserved name", "21 days", "no image", "port 0", "port 65536"],
)
def test_what_dok_would_refuse_is_refused_before(spec: JobSpec) -> None:
    with pytest.raises(Rejected):
        create_task(spec)


def test_a_web_port_and_a_login_in_the_request_to_dok() -> None:
    (container,) = create_task(replace(SPEC, web_port=8000), registry="r1")["containers"]
    assert (container["http"], container["registry"]) == ({"port": 8000, "path": "/"}, "r1")


BILL: dict[str, Any] = {
    "account": "a-1",
    "bill_close_at": "2026-12-01T00:00:00.000+09:00",
    "last_upload_at": "2026-11-25T16:00:00.000+09:00",
    "details": [
        {"sequence_no": 7, "plan": "h100-80gb", "usage_type": 0, "usage": 3600, "amount": 1008, "description": "11/25"},
        {"plan": "v100-32gb", "usage": "60", "amount": "0.96"},
        {"sequence_no": 9, "plan": "v100-32gb", "usage": -60, "amount": "-0.96", "description": "取消"},
    ],
}
CLOSES, UPLOADED = datetime(2026, 11, 30, 15, tzinfo=UTC), datetime(2026, 11, 25, 7, tzinfo=UTC)


@pytest.mark.parametrize("answer", [[BILL], BILL], ids=["a list of bills", "one bill"])
def test_a_bill_of_dok_as_charges(answer: object) -> None:
    assert charges(answer) == [
        RemoteCharge("a-1", 7, "h100-80gb", 3600, 0, Decimal(1008), "11/25", CLOSES, UPLOADED),
        RemoteCharge("a-1", 2, "v100-32gb", 60, None, Decimal("0.96"), "", CLOSES, UPLOADED),
        RemoteCharge("a-1", 9, "v100-32gb", -60, None, Decimal("-0.96"), "取消", CLOSES, UPLOADED),
    ]


def test_no_bill_has_no_charges() -> None:
    assert charges([]) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"amount": None}, {"amount": "NaN"}, {"amount": float("inf")}, {"amount": 10**5000}, {"amount": True},
        {"usage": 1.5}, {"usage": "a lot"}, {"plan": ""}, {"plan": 7},
    ],
    ids=["no amount", "no number", "infinite", "huge", "a truth", "half a second", "words", "no plan", "7"],
)  # fmt: skip
def test_a_line_of_a_bill_that_cannot_be_read_is_not_left_out(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="line of the bill"):
        charges([{**BILL, "details": [BILL["details"][0], {**BILL["details"][0], **wrong}]}])


@pytest.mark.parametrize("answer", [None, {}, [7], [{"details": None}], [{**BILL, "details": [7]}]])
def test_a_bill_that_cannot_be_read_is_not_an_empty_one(answer: object) -> None:
    with pytest.raises(ValueError):
        charges(answer)


def test_the_logins_of_a_task() -> None:
    task = {"containers": [{"registry": "r1"}, {"registry": None}, {"registry": 7}, {}, 8]}
    assert [registries_of(task), registries_of({}), registries_of({"containers": "x"})] == [["r1"], [], []]


@pytest.mark.parametrize(
    ("status", "uri", "address"),
    [
        ("running", "https://0b1f.container.sakurausercontent.com", "https://0b1f.container.sakurausercontent.com"),
        ("done", "https://0b1f.container.sakurausercontent.com", None),
        ("running", None, None),
        ("running", "javascript:alert(1)", None),
        ("running", "https://a.example\r\nX: 1", None),
        ("running", 7, None),
    ],
)
def test_the_address_of_a_tasks_port(status: str, uri: object, address: str | None) -> None:
    assert web_address({**TASK, "status": status, "http_uri": uri}) == address


NOW = datetime(2026, 11, 23, tzinfo=UTC)
PLAN = {"id": "a", "name": "A", "minimum_execution_seconds": 60}


def test_the_accounts_own_price_wins_and_others_have_their_time() -> None:
    plans = [{"id": "a", "name": "A", "minimum_execution_seconds": 60}, {"id": "b", "name": "B"}]
    prices = [
        {"plan": "a", "price": "0.28", "is_overridden": False, "begin_at": "2026-04-01T00:00:00+09:00", "end_at": None},
        {"plan": "a", "price": "0.25", "is_overridden": True, "begin_at": "2026-10-01T00:00:00+09:00", "end_at": None},
        {"plan": "a", "price": "0.01", "is_overridden": True, "begin_at": "2027-01-01T00:00:00+09:00", "end_at": None},
    ]
    begins_at = datetime(2026, 9, 30, 15, tzinfo=UTC)
    assert offerings(plans, prices, now=NOW) == [
        RemoteOffering("a", "A", Decimal("0.25"), "second", 60, begins_at),
        RemoteOffering("b", "B", None, "second", 0, None),
    ]


@pytest.mark.parametrize(
    "price",
    ["1_0", "０.５", "1e-999999", "1E+30", "-1", "+1", " 1", "1\n", ".5", "NaN", "", "9" * 5000, 0.28, None, True],
)
def test_a_price_that_is_not_written_as_one_is_none(price: object) -> None:
    (offer,) = offerings([PLAN], [{"plan": "a", "price": price}], now=NOW)
    assert offer == RemoteOffering("a", "A", None, "second", 60)


@pytest.mark.parametrize("minimum", [None, -5, 10**30, 1.5, "sixty", True, []])
def test_a_price_without_its_minimum_is_none(minimum: object) -> None:
    plan = {**PLAN, "minimum_execution_seconds": minimum}
    (offer,) = offerings([plan], [{"plan": "a", "price": "0.28"}], now=NOW)
    assert offer == RemoteOffering("a", "A", None, "second")


@pytest.mark.parametrize("plan", ["a\0", "\ud800", "", "a b", "\n", "x" * 61, 7, None])
def test_a_plan_whose_id_nobody_could_store_is_left_out_and_the_others_stay(plan: object) -> None:
    found = offerings([{**PLAN, "id": plan}, PLAN], [{"plan": "a", "price": "0.28"}], now=NOW)
    assert found == [RemoteOffering("a", "A", Decimal("0.28"), "second", 60)]


def test_two_prices_for_one_plan_are_none_unless_they_are_the_same_or_one_is_the_accounts_own() -> None:
    standard, other = {"plan": "a", "price": "0.28"}, {"plan": "a", "price": "0.30"}
    own = {"plan": "a", "price": "0.25", "is_overridden": True}
    found = [
        offerings([PLAN], prices, now=NOW)[0].unit_price
        for prices in ([standard, other], [standard, standard], [standard, own, other], [own, {**own, "price": "1"}])
    ]
    assert found == [None, Decimal("0.28"), Decimal("0.25"), None]


def test_gpus_of_a_plan() -> None:
    assert [gpus_of(plan) for plan in ("v100-32gb", "h100-8gpu-80gb", "")] == [1, 8, 1]


def test_an_instant_without_offset_is_none() -> None:
    assert [instant(value) for value in ("2026-11-23T09:00:00", "", None, 7, "9999-12-31T23:59:59-12:00")] == [None] * 5


@given(st.dictionaries(st.sampled_from([*TASK, "plan", "price"]), JSON))
def test_any_json_from_dok_is_read_without_surprise(raw: dict[str, Any]) -> None:
    dok_job(raw)
    dok_job({**TASK, "containers": [raw]})
    offerings([raw], [raw], now=datetime.now(UTC))
    registries_of(raw)
    registries_of({"containers": [raw]})
    web_address(raw)


@given(st.dictionaries(st.sampled_from([*BILL, *BILL["details"][0]]), JSON), JSON)
def test_any_json_as_a_bill_is_charges_or_cannot_be_read(raw: dict[str, Any], other: object) -> None:
    line = BILL["details"][0]
    for answer in (other, raw, [raw], {**BILL, **raw}, {**BILL, "details": [{**line, **raw}]}):
        with contextlib.suppress(ValueError):
            for charge in charges(answer):
                assert (charge.amount.is_finite(), charge.plan != "") == (True, True)
