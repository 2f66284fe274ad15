"""The Adapter of a Slurm cluster behind slurmrestd. No file goes over REST: log and output leave by put addresses."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from portal.providers.architectures import KnownArchitectures, refuse_others
from portal.providers.base import (
    Account,
    Adapter,
    Arrays,
    Availability,
    JobSpec,
    MoreTime,
    RemoteAvailability,
    RemoteJob,
    RemoteUsage,
    UsageStatement,
)
from portal.providers.errors import Misconfigured, NotFound, OutcomeUnknown, Rejected, Unavailable
from portal.providers.http_client import LIST_LIMIT_BYTES
from portal.providers.slurm import RAISES_LIMITS, is_over
from portal.providers.slurm_arrays import age, check_size, checked_id, chosen, element_of, elements_in, with_wholes
from portal.providers.slurm_containers import ContainerRuntime, container_runtime
from portal.providers.slurm_rest.availability import architectures_by_partition, free_by_partition
from portal.providers.slurm_rest.client import VERSIONS, NoSuchPath, SlurmRestClient
from portal.providers.slurm_rest.translation import (
    accounted_jobs,
    new_limit,
    remote_job,
    remote_jobs,
    submission,
    whole,
)


class SlurmRest(Adapter, Arrays, MoreTime, UsageStatement, Availability):
    """Options: `work_dir` (required: an absolute path on the cluster's shared disk that exists), `account`, `qos`,
    `gpu_type` (this cluster's own name of its GPUs; wins over the job's), `container_runtime` (slurm_containers.py),
    `api_version` (else the newest that the server speaks is asked for once), `raises_limits` (slurm.RAISES_LIMITS)."""

    option_names = frozenset({
        "work_dir", "account", "qos", "gpu_type", "container_runtime", "api_version", RAISES_LIMITS,
    })  # fmt: skip
    listing_lag_s = 0.0  # slurmctld answers from memory
    id_variable = "SLURM_JOB_ID"
    shares_disk = True

    def __init__(self, account: Account) -> None:
        self._client = SlurmRestClient(account)
        self._options = account.options
        self._work_dir = account.options.get("work_dir", "").rstrip("/")
        if not self._work_dir.startswith("/"):
            raise Misconfigured("the option work_dir must be an absolute path on the cluster")
        self._runtime = container_runtime(account.options)
        self.runs_images = self._runtime is not ContainerRuntime.NONE
        self._architectures = KnownArchitectures(self._ask_architectures)
        self._version = account.options.get("api_version", "")
        self.gives_time = account.options.get(RAISES_LIMITS) == "true"
        self._has_accounting: bool | None = None  # not known before it was asked
        self._lock = threading.Lock()

    def check(self) -> str:
        """GET /slurm/vX/ping, and the list of jobs, which needs a good token."""
        version = self._newest_version()
        jobs = self._jobs()
        self._architectures.of("")  # so that the first job need not wait for it
        return f"slurmrestd {version}, {len(jobs)} jobs in sight, container runtime: {self._runtime.value}"

    def submit(self, spec: JobSpec) -> RemoteJob:
        """POST /slurm/vX/job/submit. The answer holds the number only: the rest is known from the request."""
        return self._submit(spec, ())

    def submit_array(self, spec: JobSpec, each: Sequence[Mapping[str, str]]) -> RemoteJob:
        """The same with the key `array`."""
        check_size(each)
        return self._submit(spec, each)

    def array_jobs(self, remote_id: str) -> list[RemoteJob]:
        """GET /slurm/vX/job/{id}, where the number of an array brings all of it."""
        if not (elements := elements_in(self._jobs_of(remote_id), remote_id)):
            raise NotFound("Slurm does not know this array")
        return elements

    def _submit(self, spec: JobSpec, each: Sequence[Mapping[str, str]]) -> RemoteJob:
        if spec.architecture:
            refuse_others(spec, self._architectures.of(spec.plan))
        version = self._newest_version()
        spec = replace(spec, gpu_type=self._options.get("gpu_type") or spec.gpu_type)
        body = submission(
            spec, version=version, work_dir=self._work_dir, options=self._options, runtime=self._runtime, each=each
        )
        secrets = tuple(value for variables in (spec.environment, *each) for value in variables.values())
        try:
            answer = self._call(
                "POST", "slurm", "job/submit", version=version, body=body, creates=True, secrets=secrets
            )
        except NotFound as error:
            raise Misconfigured(f"slurmrestd takes no jobs: {error.summary}", code=error.code) from None
        number = whole(answer.get("job_id"))
        if not number:
            raise OutcomeUnknown("the answer holds no job number")
        return remote_job({"job_id": number, "name": spec.key, "job_state": "PENDING"})

    def find(self, key: str) -> list[RemoteJob]:
        """By job name, in the controller's memory (minutes after the end) and in accounting (long after)."""
        told = [*self._accounted({"job_name": key}), *self._jobs()]
        if any(not job.remote_id and element_of(job.key)[0] == key for job in told):
            raise Unavailable("a job of this key has no number")  # it is there: nobody may send it again
        found = {job.remote_id: job for job in told}
        return sorted(with_wholes(list(found.values()), key), key=age)

    def get(self, remote_id: str) -> RemoteJob:
        """GET /slurm/vX/job/{id}; after MinJobAge (300 s) only accounting knows it."""
        return chosen(self._jobs_of(remote_id), remote_id)

    def list_jobs(self, key_prefix: str, *, since: datetime) -> Iterator[RemoteJob]:
        """One call to the controller and one to accounting, whatever the number of jobs."""
        found = {job.remote_id: job for job in self._accounted({"start_time": _epoch(since)})}
        found.update({job.remote_id: job for job in self._jobs()})
        whole_second = since.replace(microsecond=0)  # Slurm counts no finer
        found.pop("", None)
        for job in found.values():
            if job.key.startswith(key_prefix) and (job.created_at is None or job.created_at >= whole_second):
                yield job

    def cancel(self, remote_id: str) -> None:
        """DELETE /slurm/vX/job/{id}: answers 200 for a job that has ended too."""
        try:
            self._call("DELETE", "slurm", f"job/{checked_id(remote_id)}")
        except NotFound:
            return
        except Rejected as error:
            if "2021" not in error.code.split(","):  # ESLURM_ALREADY_DONE
                raise Unavailable(error.summary, code=error.code) from None

    def set_time_limit(self, remote_id: str, *, time_limit_s: int) -> None:
        """POST /slurm/vX/job/{id}. [T] 22.05 takes the fields bare, not in a `job` as a submission has them."""
        body = new_limit(time_limit_s, version=self._newest_version())
        try:
            self._call("POST", "slurm", f"job/{checked_id(remote_id)}", body=body)
        except NoSuchPath:
            raise Unavailable("slurmrestd does not answer for jobs") from None
        except Rejected as error:
            if is_over(error.summary):
                raise NotFound("the job has ended", code=error.code) from None
            raise

    def usage(self, *, since: datetime, until: datetime) -> Iterator[RemoteUsage]:
        """slurmdb: elapsed seconds x allocated GPUs of every job that ended in the time."""
        for job in self._accounted({"start_time": _epoch(since), "end_time": _epoch(until)}):
            if not job.gpu_seconds or not job.started_at or not job.ended_at or not since <= job.ended_at < until:
                continue
            yield RemoteUsage(job.remote_id, job.remote_id, job.key, job.gpu_seconds, job.started_at, job.ended_at)

    def availability(self) -> list[RemoteAvailability]:
        """GET /slurm/vX/nodes: GPUs that are on good nodes and in nobody's hands."""
        nodes, now = self._nodes(), datetime.now(UTC)
        return [
            RemoteAvailability(partition, free, None, now)
            for partition, free in sorted(free_by_partition(nodes).items())
        ]

    def close(self) -> None:
        self._client.close()

    def _newest_version(self) -> str:
        """Asked for once: the first, newest first, whose ping is not 404."""
        with self._lock:
            if not self._version:
                for version in VERSIONS:
                    try:
                        self._client.call("GET", f"/slurm/{version}/ping")
                    except NotFound:
                        continue
                    except Rejected as error:
                        raise Unavailable(error.summary, code=error.code) from None
                    self._version = version
                    break
                else:
                    raise Misconfigured(f"slurmrestd speaks none of {VERSIONS[-1]} to {VERSIONS[0]}")
            return self._version

    def _nodes(self) -> list[dict[str, Any]]:
        return _entries(self._read("GET", "nodes", limit=LIST_LIMIT_BYTES), "nodes")

    def _ask_architectures(self) -> Mapping[str, Collection[str]]:
        return architectures_by_partition(self._nodes())

    def _jobs(self) -> list[RemoteJob]:
        """All that the controller has in memory. [T] 22.05 cannot filter by name here."""
        answer = self._read("GET", "jobs", limit=LIST_LIMIT_BYTES)
        return [job for raw in _entries(answer, "jobs") for job in remote_jobs(raw)]

    def _jobs_of(self, remote_id: str) -> list[RemoteJob]:
        """The job, or all elements of the array. [T] 22.05 finds no element by its own number while it waits."""
        number = checked_id(remote_id).partition("_")[0]
        try:
            answer = self._call("GET", "slurm", f"job/{number}", limit=LIST_LIMIT_BYTES)
        except NoSuchPath:
            raise Unavailable("slurmrestd does not answer for jobs") from None
        except NotFound:
            return self._accounted_by_number(number)
        except Rejected as error:
            raise Unavailable(error.summary, code=error.code) from None
        jobs = [job for raw in _entries(answer, "jobs") for job in remote_jobs(raw)]
        if not elements_in(jobs, number):
            return jobs
        # Elements leave the controller's memory one by one.
        found = {job.remote_id: job for job in self._accounted_by_number(number)}
        return list({**found, **{job.remote_id: job for job in jobs}}.values())

    def _accounted(self, params: Mapping[str, str]) -> list[RemoteJob]:
        return self._ask_accounting("jobs", params)

    def _accounted_by_number(self, remote_id: str) -> list[RemoteJob]:
        return self._ask_accounting(f"job/{remote_id}")

    def _ask_accounting(self, what: str, params: Mapping[str, str] | None = None) -> list[RemoteJob]:
        """What accounting knows; nothing where the cluster has none. Once it has answered, it is there: that its path
        is gone for a moment is no empty list."""
        if self._has_accounting is False:
            return []
        try:
            answer = self._call("GET", "slurmdb", what, params=params, limit=LIST_LIMIT_BYTES)
        except NoSuchPath:
            if self._has_accounting:
                raise Unavailable("slurmrestd does not answer for accounting") from None
            self._has_accounting = False
            return []
        except NotFound:
            return []
        except Rejected as error:
            raise Unavailable(error.summary, code=error.code) from None
        self._has_accounting = True
        return [job for raw in _entries(answer, "jobs") for job in accounted_jobs(raw)]

    def _call(self, method: str, area: str, what: str, *, version: str = "", **given: Any) -> dict[str, Any]:
        """A path that is not there may mean that slurmrestd was upgraded: the next call asks anew what it speaks."""
        try:
            return self._client.call(method, f"/{area}/{version or self._newest_version()}/{what}", **given)
        except NoSuchPath:
            with self._lock:
                self._version = self._options.get("api_version", "")
            raise

    def _read(self, method: str, what: str, *, limit: int) -> dict[str, Any]:
        try:
            return self._call(method, "slurm", what, limit=limit)
        except (NotFound, Rejected) as error:
            raise Unavailable(error.summary, code=error.code) from None


def _entries(answer: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """Raises Unavailable: an answer without the list is not an empty list."""
    entries = answer.get(name)
    if not isinstance(entries, list):
        raise Unavailable(f"the answer holds no {name}")
    return [item for item in entries if isinstance(item, dict)]


def _epoch(at: datetime) -> str:
    """Seconds of the epoch as Slurm's parse_time() knows them. [T] 22.05 refuses a bare number; ISO is local time."""
    return f"uts{int(at.timestamp())}"
