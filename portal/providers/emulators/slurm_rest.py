"""A double of slurmrestd in front of a GB200 cluster: 18 nodes of 4 GPUs in the partition "gb200".

Ours, written from what Debian 12's Slurm answered when asked (v0.0.38), and from SchedMD's documents for v0.0.39 to
v0.0.45. As there, no file goes over REST, nothing makes a submission idempotent, job names need not be unique, an ended
job leaves the controller's memory after 300 s, and most refusals are HTTP 500 with a number in errors[]. What waits of
an array is one record; an element that is ended before it starts leaves none.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jwt

from portal.providers.emulators import access
from portal.providers.emulators.faults import Faults
from portal.providers.emulators.http_server import Answer, Request, serve
from portal.providers.emulators.machine import Job, Machine
from portal.providers.emulators.sandbox import Launch, base_environment, is_sandboxed
from portal.providers.emulators.settings import Settings

USER = "jga"
PARTITION, GPU_TYPE, NODES, GPUS_PER_NODE = "gb200", "gb200", 18, 4
GPUS = NODES * GPUS_PER_NODE
VERSIONS = tuple(f"v0.0.{number}" for number in range(38, 46))
MEMORY_S = 300  # MinJobAge
TOKEN_FOR_S = 10 * 365 * 86400

_KEYS = {"name", "partition", "account", "qos", "tasks", "cpus_per_task", "nodes", "time_limit", "environment"}
_KEYS |= {"current_working_directory", "standard_output", "standard_error", "comment", "dependency", "array"}
_KEYS |= {"memory_per_node", "container", "requeue", "constraints", "hold"}
_OLD_KEYS = _KEYS | {"gpus_per_node", "gres", "gpus"}
_NEW_KEYS = _KEYS | {"tres_per_node", "tres_per_job", "script", "minimum_nodes"}


def start(settings: Settings) -> Callable[[], None]:
    """Answer on the port; returns what ends it."""
    kept = access.read_or_make(settings.state, lambda: _new_access(settings.state))
    faults = Faults()
    service = SlurmRestd(settings, kept["private"]["jwt_key"], faults)
    server = serve(service, faults, port=settings.port, control_token=kept["control"]["token"])
    origin = f"http://127.0.0.1:{server.server_address[1]}"
    access.write(settings.state, "slurm_rest", origin, f"{origin}/_emulator/fault", kept)
    return service.close


def _new_access(state: Path) -> dict[str, Any]:
    key, now = secrets.token_hex(32), int(time.time())
    token = jwt.encode({"sun": USER, "iat": now, "exp": now + TOKEN_FOR_S}, key, algorithm="HS256")
    return {
        "credentials": {"user": USER, "token": token},
        "options": {"work_dir": str(state / "home"), "gpu_type": GPU_TYPE, "raises_limits": "true"},
        "control": {"token": secrets.token_urlsafe(24)},
        "private": {"jwt_key": key},
    }


class SlurmRestd:
    def __init__(self, settings: Settings, jwt_key: str, faults: Faults) -> None:
        self._jwt_key = jwt_key
        self._faults = faults
        self._versions = settings.versions or VERSIONS
        self._home, self._disk = settings.state / "home", settings.state / "disk"
        self._home.mkdir(exist_ok=True)
        self._machine = Machine(
            settings.state,
            gpus=GPUS,
            running_limit=settings.running_limit or GPUS,
            prepare=self._prepare,
            collect=_collect,
            time_scale=settings.time_scale,
            defect=settings.defect,
        )

    def close(self) -> None:
        self._machine.close()

    def operation(self, request: Request) -> str:
        if request.path.endswith("/job/submit"):
            return "submit"
        if request.path.endswith("/jobs"):
            return "find" if "job_name" in request.query else "list"
        if "/job/" in request.path:
            return {"DELETE": "cancel", "POST": "update"}.get(request.method, "get")
        return "check"

    def answer(self, request: Request) -> Answer:
        name, token = request.headers.get("x-slurm-user-name"), request.headers.get("x-slurm-user-token")
        if status := self._faults.refusal():
            return Answer(status, "Authentication failure")
        if not name or not token:
            return Answer(401, "Authentication failure")
        plugin, version, *rest = [*request.path.strip("/").split("/"), ""]
        if plugin not in ("slurm", "slurmdb") or version not in self._versions:
            return Answer(404, "Unable find requested URL.")
        try:
            claims = jwt.decode(token, self._jwt_key, algorithms=["HS256"], options={"require": ["exp", "sun"]})
        except jwt.InvalidTokenError:
            claims = {}
        if claims.get("sun") != name:
            return _errors(500, (-1, "slurmctld config is unable to load"), (-1, "Failed while looking for jobs"))
        match plugin, request.method, [part for part in rest if part]:
            case "slurm", "GET", ["ping"]:
                return _fine(pings=[{"hostname": "ctl", "ping": "UP", "status": 0, "mode": "primary"}])
            case "slurm", "GET", ["nodes"]:
                return _fine(nodes=self._show_nodes())
            case "slurm", "GET", ["jobs"]:
                return _fine(jobs=_show_all(self._remembered(), version, self._machine))
            case "slurm", "POST", ["job", "submit"]:
                return self._submit(request, version)
            case "slurm", "POST", ["job", number]:
                return self._update(request, number, version)
            case "slurm", "GET" | "DELETE", ["job", number]:
                return self._job(request, number, version)
            case "slurmdb", "GET", ["jobs"]:
                return self._accounting(request, version)
            case "slurmdb", "GET", ["job", number]:
                return self._accounted(self._faults.shown(self._machine.called(number)), version)
        return Answer(404, "Unable find requested URL.")

    def _remembered(self) -> list[Job]:
        return self._faults.listed(filter(_is_in_memory, self._machine.jobs()))

    def _submit(self, request: Request, version: str) -> Answer:
        try:
            body = request.json()
            job = body["job"]
            script = body.get("script") or job.get("script")
            environment = _environment(job.get("environment"))
        except (ValueError, KeyError, TypeError, AttributeError):
            return Answer(400, "Unable to parse query.")
        old = version == "v0.0.38"
        if unknown := sorted(set(job) - (_OLD_KEYS if old else _NEW_KEYS)):
            return _errors(400, (9001, f"Unknown key {unknown[0]}"))
        if not environment:
            return _errors(400, (9001, "environment must be set"), (2127, "Batch job environment is empty"))
        if not isinstance(script, str):
            return _errors(500, (2009, "Job script missing"))
        if job.get("partition", PARTITION) != PARTITION:
            return _errors(500, (2000, "Invalid partition name specified"))
        nodes, gpus = _nodes(job.get("nodes")), _gpus(job)
        if nodes > NODES or gpus is None or gpus > GPUS_PER_NODE:
            return _errors(500, (2014, "Requested node configuration is not available"))
        limit = _plain(job.get("time_limit"))
        name, total, limit_s = str(job.get("name", "")), gpus * nodes, limit * 60 if limit else None
        content = {"script": script, "environment": environment, "nodes": nodes}
        if array := job.get("array"):
            match = re.fullmatch(r"0-(\d{1,3})", str(array))
            if not match:
                return _errors(500, (2081, "Invalid job array specification"))
            size = int(match[1]) + 1
            submitted = self._machine.submit_array(size, name=name, gpus=total, time_limit_s=limit_s, request=content)[
                0
            ]
        else:
            submitted = self._machine.submit("", name=name, gpus=total, time_limit_s=limit_s, request=content)
        before = [other.number for other in self._machine.jobs() if other.number < submitted.number]
        number = before[-1] if before and self._faults.takes_same_id() else submitted.number
        return _fine(job_id=number, step_id="BATCH", job_submit_user_msg="")

    def _job(self, request: Request, number: str, version: str) -> Answer:
        called = list(filter(_is_in_memory, self._machine.called(number)))
        jobs = [job for job in called if self._faults.knows(job)]
        if request.method == "GET":
            jobs = self._faults.listed(called)
        if not jobs:
            return _errors(500, (2017, "Invalid job id specified"))
        if request.method == "DELETE":
            for job in jobs:
                waited = job.state == "waiting"
                self._machine.stop(job)
                if waited and job.id == number and "_" in number:
                    self._machine.forget(job)
            return _fine()
        return _fine(jobs=_show_all(jobs, version, self._machine))

    def _update(self, request: Request, number: str, version: str) -> Answer:
        """Its time limit, as the fields of a job without a `job` around them."""
        try:
            body = request.json()
            unknown, given = sorted(set(body) - {"time_limit"}), body.get("time_limit")
        except (ValueError, TypeError, AttributeError):
            return Answer(400, "Unable to parse query.")
        if unknown or isinstance(given, dict) is (version == "v0.0.38") or not (limit := _plain(given)):
            return _errors(200, (9001, f"Unknown key {(unknown or ['time_limit'])[0]}"))
        jobs = [job for job in filter(_is_in_memory, self._machine.called(number)) if self._faults.knows(job)]
        if not jobs:
            return _errors(500, (2017, "Invalid job id specified"))
        changed = [self._machine.set_time_limit(job, limit * 60) for job in jobs]
        if not all(changed):
            return _errors(500, (2084, "Job has already finished"))
        return _fine()

    def _accounting(self, request: Request, version: str) -> Answer:
        jobs, query = self._faults.listed(self._machine.jobs()), request.query
        if names := query.get("job_name"):
            jobs = [job for job in jobs if job.name in names.split(",")]
        times = {name: re.fullmatch(r"uts(\d+)", query[name]) for name in ("start_time", "end_time") if query.get(name)}
        if not all(times.values()):
            return _errors(500, (9000, "Unable to parse time format"))
        if since := times.get("start_time"):
            jobs = [job for job in jobs if job.ended_at is None or job.ended_at >= int(since[1])]
        if until := times.get("end_time"):
            jobs = [job for job in jobs if job.created_at < int(until[1])]
        return self._accounted(jobs, version)

    def _accounted(self, jobs: list[Job], version: str) -> Answer:
        wrong = self._faults.of_usage()
        jobs = wrong.told(jobs, ended_at=lambda job: job.ended_at, now=self._faults.now())
        if not jobs:
            return _errors(200, (9003, "Nothing found"), jobs=[])
        records = _account_all(jobs, version, self._machine)
        for record in records:
            record["time"]["elapsed"] = wrong.seconds(record["time"]["elapsed"])
        return _fine(jobs=wrong.repeated(records))

    def _show_nodes(self) -> list[dict[str, Any]]:
        used = GPUS - self._machine.free_gpus()
        shown = []
        for index in range(NODES):
            taken = min(GPUS_PER_NODE, used)
            used -= taken
            state = "idle" if not taken else "allocated" if taken == GPUS_PER_NODE else "mixed"
            name = f"gb{index + 1:02}"
            gres = f"gpu:{GPU_TYPE}:{GPUS_PER_NODE}", f"gpu:{GPU_TYPE}:{taken}(IDX:N/A)"
            shown.append(
                {
                    "name": name,
                    "architecture": "aarch64",
                    "state": state,
                    "partitions": [PARTITION],
                    "gres": gres[0],
                    "gres_used": gres[1],
                }
            )
        return shown

    def _prepare(self, job: Job, folder: Path) -> Launch:
        """Jobs of one name see the shared home with their own things in it; without a sandbox, all of it.

        The disk outlives the job, as a cluster's does: a late copy finds that it was there before.
        """
        spool = folder / "spool"
        spool.mkdir(exist_ok=True)
        script = spool / "slurm_script"
        script.write_text(job.request["script"])
        script.chmod(0o700)
        given: Mapping[str, str] = job.request["environment"]
        home = str(self._home)
        environment = {
            **base_environment(home=home),
            **given,
            "SLURM_JOB_ID": str(job.number),
            "SLURM_JOB_NAME": job.name,
            "SLURM_JOB_PARTITION": PARTITION,
        }
        if array := job.request.get("array"):
            environment |= {"SLURM_ARRAY_JOB_ID": str(array["number"]), "SLURM_ARRAY_TASK_ID": str(array["index"])}
        python, _, rest = base_environment(home=home)["PATH"].partition(":")
        environment["PATH"] = f"{python}:{given.get('PATH') or rest}"
        if not job.request["script"].startswith("#!"):
            return Launch(["/bin/sh", "-c", "exit 8"], environment, home if not is_sandboxed() else "/", {})
        if not is_sandboxed():
            return Launch([str(script)], environment, home, {})
        own = self._disk / hashlib.sha256(job.name.encode()).hexdigest()[:24]
        own.mkdir(parents=True, exist_ok=True)
        inside = f"/var/spool/slurmd/job{job.number:05}"
        return Launch([f"{inside}/slurm_script"], environment, home, {inside: spool, home: own})


def _collect(job: Job, folder: Path) -> None:
    shutil.rmtree(folder / "spool", ignore_errors=True)


def _is_in_memory(job: Job) -> bool:
    return job.ended_at is None or job.ended_at > time.time() - MEMORY_S


def _state(job: Job) -> str:
    if job.state == "waiting":
        return "PENDING"
    if job.state == "running":
        return "COMPLETING" if job.stop_asked_at is not None else "RUNNING"
    if job.outcome == "exited":
        return "COMPLETED" if job.exit_code == 0 else "FAILED"
    return {"stopped": "CANCELLED", "timeout": "TIMEOUT"}.get(job.outcome, "NODE_FAIL")


def _reason(job: Job) -> str:
    return {"PENDING": "Resources", "FAILED": "NonZeroExitCode", "TIMEOUT": "TimeLimit"}.get(_state(job), "None")


def _show_all(jobs: list[Job], version: str, machine: Machine) -> list[dict[str, Any]]:
    """One record a job; one for all elements of an array that wait."""
    shown = [_show(job, version, machine) for job in jobs if not _waits_in_array(job)]
    for waiting in _waiting_arrays(jobs):
        indexes = [job.request["array"]["index"] for job in waiting]
        contiguous = indexes == list(range(indexes[0], indexes[-1] + 1))
        words = f"{indexes[0]}-{indexes[-1]}" if contiguous and len(indexes) > 1 else ",".join(map(str, indexes))
        number = waiting[0].request["array"]["number"]
        record = {"job_id": number, "array_task_id": None, "array_task_string": words}
        shown.append({**_show(waiting[0], version, machine), **record})
    return shown


def _account_all(jobs: list[Job], version: str, machine: Machine) -> list[dict[str, Any]]:
    """The same in accounting, where the indexes that wait are a mask."""
    shown = [_account(job, version, machine) for job in jobs if not _waits_in_array(job)]
    for waiting in _waiting_arrays(jobs):
        number = waiting[0].request["array"]["number"]
        mask = sum(1 << job.request["array"]["index"] for job in waiting)
        array = {"job_id": number, "task": f"0x{mask:X}", "task_id": None}
        shown.append({**_account(waiting[0], version, machine), "job_id": number, "array": array})
    return shown


def _waits_in_array(job: Job) -> bool:
    return job.state == "waiting" and "array" in job.request


def _waiting_arrays(jobs: list[Job]) -> list[list[Job]]:
    arrays: dict[int, list[Job]] = {}
    for job in filter(_waits_in_array, jobs):
        arrays.setdefault(job.request["array"]["number"], []).append(job)
    return list(arrays.values())


def _show(job: Job, version: str, machine: Machine) -> dict[str, Any]:
    states = {"COMPLETING": ["RUNNING", "COMPLETING"]}.get(_state(job), [_state(job)])
    since_40 = version >= "v0.0.40"
    forecast = int((job.started_at or 0) + (job.time_limit_s or 0))
    array = job.request.get("array")
    return {
        "job_id": job.number,
        "array_job_id": _count(array["number"] if array else 0, since_40),
        "array_task_id": _count(array["index"], since_40) if array else None,
        "array_task_string": "",
        "name": job.name,
        "partition": PARTITION,
        "user_name": USER,
        "job_state": states if since_40 else _state(job),
        "state_reason": _reason(job),
        "exit_code": _exit_status(job, version),
        "submit_time": _count(int(job.created_at), since_40),
        # A job that was cancelled while it waited: its end is its start.
        "start_time": _count(int(job.started_at or job.ended_at or 0), since_40),
        "end_time": _count(int(job.ended_at or forecast), since_40),
        "time_limit": _count((job.time_limit_s or 0) // 60, version != "v0.0.38"),
        "tres_alloc_str": f"cpu=1,node={job.request['nodes']},gres/gpu={job.gpus},gres/gpu:{GPU_TYPE}={job.gpus}"
        if job.started_at
        else "",
        "comment": "",
    }


def _account(job: Job, version: str, machine: Machine) -> dict[str, Any]:
    allocated = [{"type": "cpu", "name": "", "id": 1, "count": 1}] if job.started_at else []
    if job.started_at and job.gpus:
        allocated += [
            {"type": "gres", "name": "gpu", "id": 1001, "count": job.gpus},
            {"type": "gres", "name": f"gpu:{GPU_TYPE}", "id": 1002, "count": job.gpus},
        ]
    # 22.05 says SUCCESS for a job that failed with 3; what later versions say is their wait status.
    code: object = {"status": "SUCCESS", "return_code": 0} if version == "v0.0.38" else _exit_status(job, "v0.0.40")
    array = job.request.get("array")
    return {
        "job_id": job.number,
        "array": {
            "job_id": array["number"] if array else 0,
            "task": None,
            "task_id": _count(array["index"], version >= "v0.0.40") if array else None,
        },
        "name": job.name,
        "partition": PARTITION,
        "user": USER,
        "comment": {"administrator": None, "job": None, "system": None},
        "state": {"current": [_state(job)] if version >= "v0.0.40" else _state(job), "reason": _reason(job)},
        "exit_code": code,
        "time": {
            "submission": int(job.created_at),
            "start": int(job.started_at or job.ended_at or 0),
            "end": int(job.ended_at or 0),
            "elapsed": int(job.ended_at or machine.now(job)) - int(job.started_at) if job.started_at else 0,
            "limit": _count((job.time_limit_s or 0) // 60, version >= "v0.0.39"),
        },
        "tres": {"allocated": allocated, "requested": allocated},
    }


def _exit_status(job: Job, version: str) -> object:
    code = job.exit_code or 0
    signal = 15 if job.outcome == "stopped" and job.started_at else max(0, code - 128)
    if version < "v0.0.40":
        status = signal if signal else code << 8
        return status if version == "v0.0.38" else {"set": True, "infinite": False, "number": status}
    return {
        "status": ["SIGNALED" if signal else "SUCCESS" if code == 0 else "ERROR"],
        "return_code": {"set": not signal, "infinite": False, "number": 0 if signal else code},
        "signal": {"id": {"set": bool(signal), "infinite": False, "number": signal}, "name": ""},
    }


def _count(value: int, wrapped: bool) -> object:
    return {"set": True, "infinite": False, "number": value} if wrapped else value


def _plain(value: object) -> int:
    if isinstance(value, dict):
        value = value.get("number")
    return value if isinstance(value, int) else 0


def _environment(value: object) -> dict[str, str]:
    if isinstance(value, dict):
        return {str(name): str(text) for name, text in value.items()}
    if isinstance(value, list):
        return dict(item.split("=", 1) for item in value)
    return {}


def _nodes(value: object) -> int:
    if isinstance(value, list) and value:
        return int(value[0])
    return int(value) if isinstance(value, str | int) and value else 1


def _gpus(job: Mapping[str, Any]) -> int | None:
    """GPUs per node of "gb200:2", "gpu:gb200:2" or "gres/gpu:gb200:2"; None: no such GPU here."""
    asked = job.get("gpus_per_node") or job.get("gres") or job.get("gpus") or job.get("tres_per_node") or ""
    words = str(asked).removeprefix("gres/").removeprefix("gpu:").split(":")
    if words == [""]:
        return 0
    if not words[-1].isdigit() or words[:-1] not in ([], [GPU_TYPE]):
        return None
    return int(words[-1])


def _fine(**content: object) -> Answer:
    return Answer(200, {"meta": {"plugin": {"name": "emulator"}}, "errors": [], **content})


def _errors(status: int, *errors: tuple[int, str], **content: object) -> Answer:
    """22.05 calls the number error_code in some answers and error_number in others."""
    name = "error_number" if errors[0][0] in (-1, 2017) else "error_code"
    listed = [{"error": text, "description": "", name: number} for number, text in errors]
    return Answer(status, {"meta": {}, "errors": listed, **content})
