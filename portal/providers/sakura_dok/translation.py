"""DOK's words to ours and back: pure functions. Fields: API document 1.0.0, CreateTask and Task (read 2026-11-23)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from portal.providers.base import JobSpec, RemoteCharge, RemoteJob, RemoteOffering, RemoteState
from portal.providers.errors import Rejected

TAG = "jga"  # marks every task of the portal, of whatever installation
ENVIRONMENT_LIMIT = 8192  # characters of names and values together
TIME_LIMIT_S = (600, 1_728_000)


def create_task(spec: JobSpec, *, registry: str | None = None) -> dict[str, Any]:
    """The body of POST /tasks/; `registry` is the id of a login there.

    Raises Rejected for what DOK would refuse, before anything is sent.
    """
    if sum(len(name) + len(value) for name, value in spec.environment.items()) >= ENVIRONMENT_LIMIT:
        raise Rejected(f"the environment is longer than {ENVIRONMENT_LIMIT} characters")
    if reserved := [name for name in spec.environment if name.startswith("SAKURA_")]:
        raise Rejected(f"names that begin with SAKURA_ are DOK's own: {', '.join(sorted(reserved))}")
    if spec.time_limit_s > TIME_LIMIT_S[1]:
        raise Rejected("DOK runs a task for 20 days at most")
    if not spec.image:
        raise Rejected("DOK needs a container image", failure="image")
    if spec.web_port is not None and not 1 <= spec.web_port <= 65_535:
        raise Rejected(f"{spec.web_port} is not a port")
    container = {
        "image": spec.image,
        "command": ["-c", spec.script],
        "entrypoint": ["/bin/sh"],
        "plan": spec.plan,
        "registry": registry,
        "environment": dict(spec.environment),
        "http": None if spec.web_port is None else {"port": spec.web_port, "path": "/"},
        "ssh": None,
    }
    return {
        "name": spec.key,
        "containers": [container],
        "tags": [spec.key, TAG],
        "execution_time_limit_sec": max(TIME_LIMIT_S[0], spec.time_limit_s),
    }


def remote_job(task: Mapping[str, Any]) -> RemoteJob:
    """A Task as ours. Fields that are missing, null or of another type are taken as not said."""
    containers = [item for item in _list(task.get("containers")) if isinstance(item, dict)]
    state = _state(task, containers)
    seconds = [whole(item.get("execution_seconds")) for item in containers]
    counted = [
        value * gpus_of(_text(item.get("plan")))
        for value, item in zip(seconds, containers, strict=True)
        if value is not None
    ]
    codes = [code for item in containers if (code := whole(item.get("exit_code"))) is not None]
    name, tags = _text(task.get("name")), _list(task.get("tags"))
    return RemoteJob(
        remote_id=task_id(task),
        key=name if name and name in tags and TAG in tags else "",
        state=state,
        reason=" ".join(_text(task.get("error_message")).split())[:200],
        exit_code=next((code for code in codes if code), codes[0] if codes else None) if state.is_final else None,
        created_at=instant(task.get("created_at")),
        started_at=min((at for item in containers if (at := instant(item.get("start_at")))), default=None),
        ended_at=_ended_at(task, containers) if state.is_final else None,
        gpu_seconds=sum(counted) if counted else None,
    )


def task_id(task: Mapping[str, Any]) -> str:
    """A uuid by the document; "" for what nobody could store or ask for again."""
    found = _text(task.get("id"))
    return found if re.fullmatch(r"[!-~]{1,100}", found) else ""


def offerings(plans: object, prices: object, *, now: datetime) -> list[RemoteOffering]:
    """/plans/ with the price of /unit_prices/ that holds now: yen per second of the whole plan, tax included.

    An account's own price ("overridden") beats the standard one. A price that cannot be read, has no minimum beside
    it, or contradicts another one of the same plan is None; a plan whose id nobody could store is left out.
    """
    rows = [row for row in _list(prices) if isinstance(row, dict) and _holds(row, now)]
    found = []
    for plan in _list(plans):
        if not isinstance(plan, dict) or not (plan_id := _plan_id(plan.get("id"))):
            continue
        standing = _standing([row for row in rows if row.get("plan") == plan_id])
        minimum = whole(plan.get("minimum_execution_seconds"))
        is_whole = minimum is not None and minimum >= 0
        amounts = {_decimal(row.get("price")) for row in standing}
        found.append(
            RemoteOffering(
                plan=plan_id,
                name=_text(plan.get("name")) or plan_id,
                unit_price=amounts.pop() if is_whole and len(amounts) == 1 else None,
                unit="second",
                minimum_s=minimum if minimum is not None and is_whole else 0,
                begins_at=instant(standing[-1].get("begin_at")) if standing else None,
            )
        )
    return found


def charges(answer: object) -> list[RemoteCharge]:
    """/billing_infos/: the lines of every bill in it. Raises ValueError where one cannot be read.

    The document shows a list of bills; a client of 2026 reads a single one: both are taken.
    """
    found = []
    for bill in answer if isinstance(answer, list) else [answer]:
        if not isinstance(bill, dict) or not isinstance(bill.get("details"), list):
            raise ValueError("a bill cannot be read")
        found += [_charge(bill, line, place) for place, line in enumerate(bill["details"], start=1)]
    return found


def registries_of(task: Mapping[str, Any]) -> list[str]:
    """Ids of the logins that its containers were made with."""
    containers = [item for item in _list(task.get("containers")) if isinstance(item, dict)]
    return [found for item in containers if (found := _text(item.get("registry")))]


def web_address(task: Mapping[str, Any]) -> str | None:
    """http_uri, while the task has not ended."""
    address = _text(task.get("http_uri"))
    usable = address.startswith(("https://", "http://")) and address.isprintable()
    return address if usable and not remote_job(task).state.is_final else None


def gpus_of(plan: str) -> int:
    """h100-8gpu-80gb has eight; a plan that does not say has one."""
    found = re.search(r"-(\d{1,3})gpu\b", plan)
    return int(found[1]) if found else 1


def instant(value: object) -> datetime | None:
    """ISO 8601 with offset; without one it is no instant."""
    try:
        at = datetime.fromisoformat(value) if isinstance(value, str) else None
        return at.astimezone(UTC) if at is not None and at.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None


def _state(task: Mapping[str, Any], containers: list[dict[str, Any]]) -> RemoteState:
    """The specification names six states and explains none; the readings are in the project's provider notes, 1.4."""
    match task.get("status"):
        case "waiting":
            return RemoteState.QUEUED
        case "running":
            return RemoteState.RUNNING
        case "done":
            good = bool(containers) and all(whole(item.get("exit_code")) == 0 for item in containers)
            return RemoteState.SUCCEEDED if good else RemoteState.FAILED
        case "canceled":
            return RemoteState.TIMED_OUT if _reached_limit(task, containers) else RemoteState.CANCELLED
        case "aborted":
            return RemoteState.TIMED_OUT if _reached_limit(task, containers) else RemoteState.INTERRUPTED
        case "error":
            return RemoteState.FAILED
    # A word that is new to us: not final, so that nothing is settled on a guess.
    return RemoteState.QUEUED


def _reached_limit(task: Mapping[str, Any], containers: Iterable[Mapping[str, Any]]) -> bool:
    limit = whole(task.get("execution_time_limit_sec"))
    return limit is not None and any((whole(item.get("execution_seconds")) or 0) >= limit for item in containers)


def _ended_at(task: Mapping[str, Any], containers: list[dict[str, Any]]) -> datetime | None:
    stops = [at for item in containers if (at := instant(item.get("stop_at")))]
    return max(stops) if stops else instant(task.get("canceled_at")) or instant(task.get("updated_at"))


def _holds(row: Mapping[str, Any], now: datetime) -> bool:
    begin, end = instant(row.get("begin_at")), instant(row.get("end_at"))
    return (begin is None or begin <= now) and (end is None or now < end)


def _standing(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The account's own where it has any, else the standard ones."""
    return [row for row in rows if row.get("is_overridden") is True] or rows


def _charge(bill: Mapping[str, Any], line: object, place: int) -> RemoteCharge:
    """Usage and amount are whole numbers at a client of 2026; the document names no type. Both may be negative: a
    line that takes back an earlier one is told as it stands."""
    if not isinstance(line, dict):
        raise ValueError("a line of the bill cannot be read")
    plan, usage, amount = _text(line.get("plan")), _number(line.get("usage")), _number(line.get("amount"))
    if not plan or usage is None or usage != usage.to_integral_value() or amount is None:
        raise ValueError("a line of the bill cannot be read")
    return RemoteCharge(
        account=_text(bill.get("account")),
        number=whole(line.get("sequence_no")) or place,
        plan=plan,
        usage=int(usage),
        usage_type=whole(line.get("usage_type")),
        amount=amount,
        description=" ".join(_text(line.get("description")).split())[:200],
        closed_at=instant(bill.get("bill_close_at")),
        last_upload_at=instant(bill.get("last_upload_at")),
    )


def _number(value: object) -> Decimal | None:
    """A number as it was written, whether JSON has it as a number or as text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, int) and abs(value) >= 10**12:  # before it is written out: that may take for ever
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() and abs(number) < 10**12 else None


def _decimal(value: object) -> Decimal | None:
    """Digits and a point, as the document shows it: of the other ways to write a number Python knows too many."""
    written = isinstance(value, str) and re.fullmatch(r"[0-9]{1,30}(\.[0-9]{1,30})?", value)
    return Decimal(written[0]) if written else None


def _plan_id(value: object) -> str:
    """ "h100-80gb"; "" for what nobody could store or ask for again."""
    return value if isinstance(value, str) and re.fullmatch(r"[!-~]{1,60}", value) else ""


def whole(value: object) -> int | None:
    """Also in digits; anything else is not said."""
    if isinstance(value, str):
        return int(value) if re.fullmatch(r"[0-9]{1,12}", value) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**12 else None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
