"""What promises are tried with: an adapter, the account behind it, a store, and the sample jobs they share."""

from __future__ import annotations

import contextlib
import io
import secrets
import tarfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, TypeVar

from portal.providers.base import (
    Account,
    Adapter,
    Arrays,
    Artifacts,
    Deletion,
    FinalLog,
    JobSpec,
    RemoteJob,
    RemoteState,
    element_key,
)
from portal.providers.bootstrap import Manifest, bootstrap_script, render_manifest
from portal.providers.conformance.kit import Broken, NotOffered
from portal.providers.conformance.samples import SAMPLES, Sample
from portal.providers.conformance.wire import Wire
from portal.providers.errors import NotFound, ProviderError
from portal.providers.redaction import without

POLL_S = 0.3
WAIT_S = 180.0

Ability = TypeVar("Ability")
Made = TypeVar("Made")


class Store(Protocol):
    """Where the provider's machines fetch from and put to, by address alone."""

    def put(self, path: str, data: bytes) -> str:
        """Keeps the bytes and returns the address that GET has them at."""

    def put_url(self, path: str) -> str:
        """The address that takes a PUT."""

    def claim_url(self, path: str) -> str:
        """The address that takes a POST and lets the first copy that asks run; empty: there is nobody to ask."""

    def get(self, path: str) -> bytes | None:
        """What was put; None: nothing."""


@dataclass(frozen=True)
class Target:
    """The offering that the samples run on, each with `gpus`, the fewest it sells, unless a promise says more."""

    plan: str
    gpus: int = 1
    gpu_type: str = ""
    image: str = ""
    gpus_max: int = 1
    gpus_step: int = 1
    gpus_per_node: int = 8
    architecture: str = ""  # "amd64", "arm64"; "": the catalog does not know
    time_limit_s: int = 600

    @property
    def gpus_next(self) -> int | None:
        """The next number of GPUs that the plan is sold with; None: there is but one."""
        following = self.gpus + self.gpus_step
        return following if following <= self.gpus_max else None

    def nodes_for(self, gpus: int) -> int:
        return -(-gpus // self.gpus_per_node)


@dataclass(frozen=True)
class Ended:
    """A job that has ended, with all that it left."""

    job: RemoteJob
    log: bytes = field(repr=False)
    output: Mapping[str, bytes] | None = field(repr=False)  # by path; None: it left nothing


class Bench:
    def __init__(
        self,
        account: Account,
        make: Callable[[Account], Adapter],
        target: Target,
        store: Store,
        *,
        wait_s: float = WAIT_S,
    ) -> None:
        self.account, self.make, self.target, self.store = account, make, target, store
        self.adapter = make(account)
        self._wait_s = wait_s
        self._prefix = f"jga-check-{secrets.token_hex(4)}"
        self._numbers = 0
        self._lock = threading.RLock()
        self.since = datetime.now(UTC) - timedelta(minutes=30)  # before any job of this bench, by any clock
        self._samples: dict[str, RemoteJob] = {}
        self._ended: dict[str, Ended] = {}
        self._once: dict[str, Any] = {}
        self._begun: dict[str, Future[str]] = {}
        self._beside = ThreadPoolExecutor(8, thread_name_prefix="conformance")

    # --- what a promise asks for ------------------------------------------------------------------------------------

    @property
    def is_http(self) -> bool:
        return self.account.endpoint.startswith(("http://", "https://"))

    @property
    def prefix(self) -> str:
        """Every key of this bench begins so."""
        return self._prefix

    def start_act(self, name: str, act: Callable[[Bench], str]) -> None:
        self._begun[name] = self._beside.submit(act, self)

    def act(self, name: str, act: Callable[[Bench], str]) -> str:
        """What it returns or raises, begun before or not."""
        begun = self._begun.get(name)
        return act(self) if begun is None else begun.result()

    def ability(self, kind: type[Ability]) -> Ability:
        """The adapter as one that can do this. Raises NotOffered."""
        if not isinstance(self.adapter, kind):
            raise NotOffered(f"the adapter does not claim {kind.__name__}")
        return self.adapter

    def once(self, name: str, make: Callable[[], Made]) -> Made:
        """What several promises look at, made for the first of them."""
        if name not in self._once:
            self._once[name] = make()
        made: Made = self._once[name]
        return made

    def key(self) -> str:
        with self._lock:
            self._numbers += 1
            return f"{self._prefix}-{self._numbers}"

    def spec(self, command: str, *, key: str = "", **changes: Any) -> JobSpec:
        """`command` as the portal would send it: through the bootstrap, with its manifest in the store."""
        return self._spec(key or self.key(), Sample(command), **changes)

    def submit(self, command: str, *, key: str = "", **changes: Any) -> RemoteJob:
        return self.adapter.submit(self.spec(command, key=key, **changes))

    def submit_array(self, command: str, size: int) -> RemoteJob:
        """Each element with a manifest of its own. Raises NotOffered."""
        adapter, key = self.ability(Arrays), self.key()
        spec = replace(self.spec(command, key=key), environment={})
        each = [self._environment(element_key(key, index), Sample(command)) for index in range(size)]
        return adapter.submit_array(spec, each)

    def start_samples(self) -> None:
        """All at once, so that they run beside each other where the provider lets them."""
        for name in SAMPLES:
            self.sample_job(name)

    def sample_job(self, name: str) -> RemoteJob:
        """The sample as it was submitted; the same job for all who ask."""
        with self._lock:
            if name not in self._samples:
                self._samples[name] = self.adapter.submit(self._spec(self.key(), SAMPLES[name]))
            return self._samples[name]

    def sample(self, name: str) -> Ended:
        """The sample at its end, fetched once."""
        if name not in self._ended:
            job = self.wait(self.sample_job(name))
            self._ended[name] = Ended(job, self.log_of(job), self.output_of(job))
        return self._ended[name]

    def wait(self, job: RemoteJob, *, until: Callable[[RemoteJob], bool] = lambda job: job.state.is_final) -> RemoteJob:
        """The job when it has come so far. Raises Broken when it takes longer than the bench waits."""
        deadline = time.monotonic() + self._wait_s
        while True:
            try:
                now = self.adapter.get(job.remote_id)
            except NotFound:
                now = job  # accounting may lag behind
            if until(now):
                return now
            if time.monotonic() > deadline:
                raise Broken(f"after {self._wait_s:g} s the job is still {now.state.value} {now.reason}")
            time.sleep(POLL_S)

    def wait_until_running(self, job: RemoteJob) -> RemoteJob:
        return self.wait(job, until=lambda now: now.state is not RemoteState.QUEUED)

    def log_of(self, job: RemoteJob) -> bytes:
        """As the collector gets it: from the adapter, or from the store where the bootstrap sent it."""
        if not isinstance(self.adapter, FinalLog):
            return self.store.get(f"{job.key}/log") or b""
        try:
            return b"".join(self.adapter.fetch_log(job))
        except NotFound:
            return b""

    def output_of(self, job: RemoteJob) -> dict[str, bytes] | None:
        if isinstance(self.adapter, Artifacts):
            pieces = self.adapter.fetch_artifacts(job)
            data = None if pieces is None else b"".join(pieces)
        else:
            data = self.store.get(f"{job.key}/output")
        return None if data is None else _unpacked(data)

    def other_adapter(self, **changes: Any) -> contextlib.closing[Adapter]:
        """One more, on a changed account; closed at the end of the with block."""
        return contextlib.closing(self.make(replace(self.account, **changes)))

    @contextlib.contextmanager
    def over_a_bad_wire(self) -> Iterator[tuple[Adapter, Wire]]:
        """An adapter whose bytes pass through our hands, and the wire that spoils them. Raises NotOffered for TLS."""
        if self.account.endpoint.startswith("https://"):
            raise NotOffered("the wire cannot be spoilt inside TLS")
        with Wire(self.account) as wire, contextlib.closing(self.make(wire.account)) as adapter:
            yield adapter, wire

    def without_secrets(self, text: str) -> str:
        return without(text, self.account.credentials.values())

    def close(self) -> None:
        """End what may still run, delete our jobs where that is possible, and give the connections back."""
        self._beside.shutdown(cancel_futures=True)
        with contextlib.suppress(ProviderError):
            jobs = list(self.adapter.list_jobs(self._prefix, since=self.since))
            for job in jobs:
                if not job.state.is_final:
                    self.adapter.cancel(job.remote_id)
            if isinstance(self.adapter, Deletion):
                self._delete(jobs, self.adapter)
        self.adapter.close()

    # --- inside -----------------------------------------------------------------------------------------------------

    def _delete(self, jobs: Iterable[RemoteJob], adapter: Deletion) -> None:
        """As many as will go: one that does not end, or is not let go, keeps none of the others."""
        for job in jobs:
            with contextlib.suppress(ProviderError, Broken):
                adapter.delete((job if job.state.is_final else self.wait(job)).remote_id)

    def _spec(self, key: str, sample: Sample, **changes: Any) -> JobSpec:
        spec = JobSpec(
            key=key,
            script=bootstrap_script(),
            plan=self.target.plan,
            gpus=sample.gpus or self.target.gpus,
            time_limit_s=self.target.time_limit_s,
            image=self.target.image,
            environment=self._environment(key, sample),
            gpu_type=self.target.gpu_type,
            architecture=self.target.architecture,
        )
        spec = replace(spec, **changes)
        return spec if "nodes" in changes else replace(spec, nodes=self.target.nodes_for(spec.gpus))

    def _environment(self, key: str, sample: Sample) -> dict[str, str]:
        manifest = Manifest(
            job=key,
            command=sample.command,
            inputs=tuple(item.stored(self.store, key) for item in sample.inputs),
            environment=sample.environment,
            claim_url="" if self.adapter.shares_disk else self.store.claim_url(f"{key}/claim"),
            # Output and log go the way that the provider offers.
            put_output_url="" if isinstance(self.adapter, Artifacts) else self.store.put_url(f"{key}/output"),
            put_log_url="" if isinstance(self.adapter, FinalLog) else self.store.put_url(f"{key}/log"),
            log_every_s=1,
        )
        address = self.store.put(f"{key}/manifest", render_manifest(manifest).encode())
        return {"PORTAL_MANIFEST_URL": address}


def _unpacked(data: bytes) -> dict[str, bytes]:
    """Plain files by path. Links are left out, as the portal's collector does."""
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        members = ((member, archive.extractfile(member)) for member in archive if member.isfile())
        return {member.name.removeprefix("./"): stream.read() for member, stream in members if stream}
