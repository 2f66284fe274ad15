"""Makes answers of v0.0.40 and v0.0.42 from what v0.0.38 answered: `.venv/bin/python -m tests.providers.shape_slurm`.

No server of these versions is here. The shapes are read from SchedMD/slurm's own specification of v0.0.42
(testsuite/python/data/openapi_specs/openapi_spec_v42.json, 296d56f) and, for v0.0.40, from answers that others have
published (rackslab/Slurm-web, slurmweb/tests/assets/slurmrestd/23.11 and 24.11; the Slurm tests of
DiamondLightSource/python-zocalo; all read 2026-11-25). The values are the recorded ones: no text of theirs is copied.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RECORDED = Path(__file__).parent / "slurm_rest" / "recorded"
# How a newer server refuses these no specification says.
NOT_MADE = ("submit_malformed", "token_expired", "token_forged", "version_unknown")
RELEASES = {"v0.0.40": ("23", "11", "10"), "v0.0.42": ("24", "11", "5")}
MADE_FROM = "made from the specification with the values of v0.0.38: no server of this version was asked"

# Became {"set", "infinite", "number"}.
_NUMBERS = (
    "accrue_time", "array_job_id", "array_task_id", "array_max_tasks", "cores_per_socket", "billable_tres",
    "cpus_per_task", "cpu_frequency_minimum", "cpu_frequency_maximum", "cpu_frequency_governor", "deadline",
    "delay_boot", "eligible_time", "end_time", "last_sched_evaluation", "max_cpus", "max_nodes", "tasks_per_core",
    "tasks_per_node", "tasks_per_socket", "tasks_per_board", "cpus", "node_count", "tasks", "het_job_id",
    "het_job_offset", "memory_per_node", "memory_per_cpu", "minimum_cpus_per_node", "minimum_tmp_disk_per_node",
    "preempt_time", "pre_sus_time", "priority", "resize_time", "sockets_per_node", "start_time", "submit_time",
    "suspend_time", "time_limit", "time_minimum", "threads_per_core",
)  # fmt: skip
_NEW_IN_40 = {
    "allocating_node": "node1", "container_id": "", "cron": "", "extra": "", "failed_node": "", "hold": False,
    "job_size_str": [], "mail_type": [], "mail_user": "", "network": "", "power": {"flags": []}, "profile": ["NOT_SET"],
    "scheduled_nodes": "", "selinux_context": "", "shared": [], "maximum_switch_wait_time": 0, "core_spec": 0,
    "thread_spec": 32766, "nice": 0, "standard_input": "/dev/null",
}  # fmt: skip
_ONLY_IN_40 = {"minimum_switches": 0, "exclusive": [], "oversubscribe": True, "show_flags": ["ALL", "DETAIL", "LOCAL"]}
_ONLY_IN_42 = {"required_switches": 0, "priority_by_partition": []}


def main() -> None:
    for version in RELEASES:
        (RECORDED / version).mkdir(exist_ok=True)
        for recorded in sorted((RECORDED / "v0.0.38").glob("*.json")):
            if recorded.stem in NOT_MADE:
                continue
            answer = json.loads(recorded.read_text())
            made = {
                "from": MADE_FROM,
                "status": answer["status"],
                "body": _body(recorded.stem, answer["body"], version),
            }
            (RECORDED / version / recorded.name).write_text(json.dumps(made, ensure_ascii=False) + "\n")


def _body(name: str, old: Mapping[str, Any], version: str) -> dict[str, Any]:
    database = name.startswith("accounted")
    shape = _accounted if database else _job
    body: dict[str, Any] = {}
    if "jobs" in old:
        body["jobs"] = [shape(job, version) for job in old["jobs"]]
    if "jobs" in old and not database:
        body |= {"last_backfill": _number(0), "last_update": _number(0)}
    if "nodes" in old:
        body |= {"nodes": [_node(node) for node in old["nodes"]], "last_update": _number(0)}
    if "pings" in old:
        body["pings"] = [{"hostname": "node1", "pinged": "UP", "latency": 1331, "mode": "primary"}]
    if "job_id" in old:
        body |= {"job_id": old["job_id"], "step_id": "batch", "job_submit_user_msg": ""}
        if version == "v0.0.40":
            result = {"job_id": old["job_id"], "step_id": "batch", "error_code": 0, "error": "No error"}
            body["result"] = {**result, "job_submit_user_msg": ""}
    errors = [
        {
            "description": error.get("description", ""),
            "error_number": error.get("error_number", error.get("error_code")),
            "error": error["error"],
            "source": error.get("source", ""),
        }
        for error in old["errors"]
    ]
    return {**body, "meta": _meta(database, version), "errors": errors, "warnings": []}


def _meta(database: bool, version: str) -> dict[str, Any]:
    major, minor, micro = RELEASES[version]
    plugin = "slurmdbd" if database else "slurmctld"
    return {
        "plugin": {
            "type": f"openapi/{plugin}",
            "name": f"Slurm OpenAPI {plugin}",
            "data_parser": f"data_parser/{version}",
            "accounting_storage": "accounting_storage/slurmdbd",
        },
        "client": {"source": "[127.0.0.1]:5319(fd:9)", "user": "portal", "group": "portal"},
        "command": [],
        "slurm": {
            "version": {"major": major, "micro": micro, "minor": minor},
            "release": f"{major}.{minor}.{micro}",
            "cluster": "alliance",
        },
    }


def _job(old: Mapping[str, Any], version: str) -> dict[str, Any]:
    job = {**old, **_NEW_IN_40, **{name: _number(old.get(name)) for name in (*_NUMBERS, "preemptable_time")}}
    job["tasks_per_tres"] = _number(0)
    job["job_state"] = [old["job_state"]]
    job["exit_code"] = _exit(old["exit_code"])
    job["derived_exit_code"] = _exit(old["derived_exit_code"])
    job["tres_per_node"] = old["tres_per_node"].replace("gres:", "gres/")
    job.pop("show_flags")
    if version == "v0.0.40":
        return {**job, **_ONLY_IN_40}
    if "job_resources" in job:
        job["job_resources"] = _resources(job["job_resources"])
    return {**job, **_ONLY_IN_42}


def _resources(old: Mapping[str, Any]) -> dict[str, Any]:
    allocation = [
        {
            "index": index,
            "name": node["nodename"],
            "cpus": {"count": 1, "used": 0},
            "memory": {"used": 0, "allocated": node["memory_allocated"]},
            "sockets": [{"index": 0, "cores": [{"index": 0, "status": ["ALLOCATED"]}]}],
        }
        for index, node in enumerate(old["allocated_nodes"])
    ]
    nodes = {"count": 1, "select_type": ["AVAILABLE"], "list": old["nodes"], "whole": False, "allocation": allocation}
    return {"select_type": ["CORE", "MEMORY"], "nodes": nodes, "cpus": 1, "threads_per_core": _number(None)}


def _accounted(old: Mapping[str, Any], version: str) -> dict[str, Any]:
    times = {**old["time"], "limit": _number(old["time"]["limit"])}
    job = {
        **old,
        "comment": {"administrator": "", "job": "", "system": ""},
        "array": {**old["array"], "task": "", "task_id": _number(None)},
        "association": {**old["association"], "partition": "", "id": 4},
        "block": "", "container": "", "extra": "", "failed_node": "", "hold": False, "kill_request_user": "",
        "licenses": "", "script": "", "submit_line": "", "used_gres": "",
        "derived_exit_code": _accounted_exit(old["derived_exit_code"]),
        "exit_code": _accounted_exit(old["exit_code"]),
        "het": {"job_id": 0, "job_offset": _number(None)},
        "priority": _number(old["priority"]),
        "required": {"CPUs": 1, "memory_per_cpu": _number(1000), "memory_per_node": _number(None)},
        "reservation": {"id": 0, "name": ""},
        "state": {**old["state"], "current": [old["state"]["current"]]},
        "steps": [],
        "time": times,
        "tres": {kind: [_tres(item) for item in items] for kind, items in old["tres"].items()},
    }  # fmt: skip
    if version == "v0.0.40":
        return job
    start = old["time"]["start"]
    job["time"] = {**times, "planned": _number(start - old["time"]["eligible"] if start else None)}
    paths = {"stdin": "/dev/null", "stdout": f"/work/jobs/{old['name']}.log", "stderr": ""}
    return {
        **job,
        **paths,
        **{f"{name}_expanded": path for name, path in paths.items()},
        "qosreq": "",
        "restart_cnt": 0,
    }


def _tres(old: Mapping[str, Any]) -> dict[str, Any]:
    unknown = -2 if old["count"] is None else old["count"]
    return {"type": old["type"], "name": old["name"] or "", "id": old["id"], "count": unknown}


def _node(old: Mapping[str, Any]) -> dict[str, Any]:
    free = old["free_memory"]
    left_out = ("free_memory", "state_flags", "next_state_after_reboot_flags", "slurmd_version", "idle_cpus")
    return {
        **{name: value for name, value in old.items() if name not in left_out},
        "state": [old["state"].upper(), *old["state_flags"]],
        "next_state_after_reboot": [old["next_state_after_reboot"].upper()],
        "features": [], "active_features": [], "owner": "", "reason_set_by_user": "", "reservation": "",
        "free_mem": _number(free), "alloc_idle_cpus": old["idle_cpus"], "version": "",
        **{name: _number(old[name]) for name in ("boot_time", "last_busy", "reason_changed_at", "slurmd_start_time")},
    }  # fmt: skip


def _number(value: float | None) -> dict[str, Any]:
    return {"set": value is not None, "infinite": False, "number": value or 0}


def _exit(status: int) -> dict[str, Any]:
    """From a wait status."""
    if os.WIFSIGNALED(status):
        return _verbose("SIGNALED", None, os.WTERMSIG(status))
    return _verbose("ERROR" if status else "SUCCESS", os.WEXITSTATUS(status), None)


def _accounted_exit(old: Mapping[str, Any]) -> dict[str, Any]:
    return _verbose(old["status"], old["return_code"], old.get("signal", {}).get("signal_id"))


def _verbose(status: str, code: int | None, number: int | None) -> dict[str, Any]:
    name = signal.Signals(number).name.removeprefix("SIG") if number else ""
    return {"status": [status], "return_code": _number(code), "signal": {"id": _number(number), "name": name}}


if __name__ == "__main__":
    main()
