"""slurmrestd's words to ours and back, v0.0.38 to v0.0.45: pure functions.

The versions differ in shape, not in meaning: numbers became {set, infinite, number}, states became lists, the script
moved into the job. Reading takes either shape; only writing asks for the version. Sources: v0.0.38 tried by hand; the
others from SchedMD's release tags and test specifications (read 2026-11-23).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from portal.providers.base import JobSpec, RemoteJob, RemoteState
from portal.providers.slurm import (
    batch_script,
    code_of_wait_status,
    enter,
    gpus_in,
    gpus_per_node,
    instant,
    is_whole,
    minutes,
    one_reason,
    remote_state,
)
from portal.providers.slurm_arrays import array_lines, as_element, indexes, own_variables
from portal.providers.slurm_containers import ContainerRuntime, work_of

DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"


def submission(
    spec: JobSpec,
    *,
    version: str,
    work_dir: str,
    options: Mapping[str, str],
    runtime: ContainerRuntime = ContainerRuntime.NONE,
    each: Sequence[Mapping[str, str]] = (),
) -> dict[str, Any]:
    """The body of POST /slurm/vX/job/submit. The job's directory is `work_dir`/key, made by the script itself.

    An array with `each`: a directory in that one for each element, whose own variables are in the script.
    """
    old = version == "v0.0.38"
    # 22.05 refuses a job without environment.
    environment = {"PATH": DEFAULT_PATH, **spec.environment, "PORTAL_CLEAN_UP": "1"}
    job: dict[str, Any] = {
        "name": spec.key,
        "partition": spec.plan,
        "current_working_directory": work_dir,
        "standard_output": f"{work_dir}/{spec.key}{'.%a' if each else ''}.log",
        "time_limit": minutes(spec.time_limit_s) if old else _number(minutes(spec.time_limit_s)),
        "requeue": False,  # a second run is the portal's decision
        "environment": environment if old else [f"{name}={value}" for name, value in environment.items()],
    }
    for name in ("account", "qos"):
        if options.get(name):
            job[name] = options[name]
    if each:
        job["array"] = f"0-{len(each) - 1}"
    if spec.nodes > 1:
        job["nodes"] = [spec.nodes, spec.nodes] if old else str(spec.nodes)
    if spec.gpus:
        kind = f"{spec.gpu_type}:" if spec.gpu_type else ""
        if old:
            job["gpus_per_node"] = f"{kind}{gpus_per_node(spec)}"
        else:
            job["tres_per_node"] = f"gres/gpu:{kind}{gpus_per_node(spec)}"
    preparation = [enter(f"{work_dir}/{spec.key}", of_element=bool(each))]
    if each:
        preparation += [*array_lines(len(each)), *own_variables(each)]
    script = batch_script(preparation, work_of(spec, runtime))
    return {"job": job, "script": script} if old else {"job": {**job, "script": script}}


def new_limit(time_limit_s: int, *, version: str) -> dict[str, Any]:
    """The body of POST /slurm/vX/job/{id}: what is to change, alone."""
    limit = minutes(time_limit_s)
    return {"time_limit": limit if version == "v0.0.38" else _number(limit)}


def remote_jobs(raw: Mapping[str, Any]) -> list[RemoteJob]:
    """What a record of /slurm/vX/jobs stands for: a job, an array's element, or all its elements that wait."""
    return _elements(remote_job(raw), raw.get("array_job_id"), raw.get("array_task_id"), raw.get("array_task_string"))


def accounted_jobs(raw: Mapping[str, Any]) -> list[RemoteJob]:
    """The same of a record of /slurmdb/vX/jobs; nothing before it is whole."""
    if not is_whole(_text(raw.get("name"))):
        return []
    array = _dict(raw.get("array"))
    return _elements(accounted_job(raw), array.get("job_id"), array.get("task_id"), array.get("task"))


def remote_job(raw: Mapping[str, Any]) -> RemoteJob:
    """A job of /slurm/vX/jobs. A waiting job's start and a running job's end are forecasts: left out."""
    state = remote_state(_words(raw.get("job_state")))
    # [T] A job that was cancelled while it waited has its end as its start, and nothing allocated.
    never_ran = state is RemoteState.QUEUED or raw.get("tres_alloc_str") == ""
    started = None if never_ran else instant(whole(raw.get("start_time")))
    ended = instant(whole(raw.get("end_time"))) if state.is_final else None
    gpus = gpus_in(_text(raw.get("tres_alloc_str")))
    return RemoteJob(
        remote_id=str(whole(raw.get("job_id")) or ""),
        key=_text(raw.get("name")),
        state=state,
        reason=one_reason(_text(raw.get("state_reason"))),
        exit_code=_exit_code(raw.get("exit_code"), state),
        created_at=instant(whole(raw.get("submit_time"))),
        started_at=started,
        ended_at=ended,
        gpu_seconds=int((ended - started).total_seconds()) * gpus if started and ended and ended >= started else None,
    )


def accounted_job(raw: Mapping[str, Any]) -> RemoteJob:
    """A job of /slurmdb/vX/jobs. The state decides: 22.05 shows exit code 0 for jobs that failed with another."""
    state = remote_state(_words(_dict(raw.get("state")).get("current")))
    times = _dict(raw.get("time"))
    elapsed, gpus = whole(times.get("elapsed")), _allocated_gpus(raw)
    never_ran = state is RemoteState.QUEUED or (state.is_final and _dict(raw.get("tres")).get("allocated") == [])
    started = None if never_ran else instant(whole(times.get("start")))
    return RemoteJob(
        remote_id=str(whole(raw.get("job_id")) or ""),
        key=_text(raw.get("name")),
        state=state,
        reason=one_reason(_text(_dict(raw.get("state")).get("reason"))),
        exit_code=_exit_code(raw.get("exit_code"), state),
        created_at=instant(whole(times.get("submission"))),
        started_at=started,
        ended_at=instant(whole(times.get("end"))) if state.is_final else None,
        gpu_seconds=elapsed * gpus if state.is_final and elapsed is not None else None,
    )


def whole(value: object) -> int | None:
    """7, "7", or {"set": true, "infinite": false, "number": 7}; anything else is not said."""
    if isinstance(value, dict):
        number = value.get("number")
        said = value.get("set") and not value.get("infinite") and not isinstance(number, dict)
        return whole(number) if said else None
    if isinstance(value, str):
        return int(value) if re.fullmatch(r"[0-9]{1,15}", value) else None
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53:
        return value
    return None


def _elements(job: RemoteJob, array: object, index: object, waiting: object) -> list[RemoteJob]:
    number, own = whole(array), whole(index)
    if not number:
        return [job]
    return [as_element(job, number, one) for one in (indexes(_text(waiting)) if own is None else [own])]


def _number(value: int) -> dict[str, Any]:
    return {"set": True, "infinite": False, "number": value}


def _exit_code(value: object, state: RemoteState) -> int | None:
    """A wait status; or a dict of status, return_code and signal. Only what ended has one."""
    if not state.is_final:
        return None
    code: int | None
    if isinstance(value, dict) and "return_code" in value:
        signal = _dict(value.get("signal"))
        number = whole(signal.get("id")) if "id" in signal else whole(signal.get("signal_id"))
        code = 128 + number if number else whole(value.get("return_code"))
    else:
        status = whole(value)
        code = None if status is None else code_of_wait_status(status)
    if state is not RemoteState.SUCCEEDED and code == 0:
        return None  # [T] accounting of 22.05 says so of every bad end: better nothing than wrong
    return code


def _allocated_gpus(raw: Mapping[str, Any]) -> int:
    allocated = _dict(raw.get("tres")).get("allocated")
    entries = []
    for item in allocated if isinstance(allocated, list) else []:
        if isinstance(item, dict) and item.get("type") == "gres":
            entries.append(f"gres/{_text(item.get('name'))}={whole(item.get('count')) or 0}")
    return gpus_in(",".join(entries))


def _words(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [word for word in value if isinstance(word, str)] if isinstance(value, list) else []


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
