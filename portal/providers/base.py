"""The one interface behind which every provider stands, and the values that cross it.

An adapter is a translation: it holds no state of ours and knows no database. All instants are aware UTC. Every call
is bounded in time and in bytes read, and ends in one of three ways: an answer, a refusal (`Rejected`, `NotFound`,
`Misconfigured`, `Unavailable`: certainly nothing happened), or `OutcomeUnknown`.
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal


@dataclass(frozen=True)
class Account:
    """How to reach one account at one provider. `credentials` are secrets: never in a repr, a log or an error."""

    kind: str  # "sakura_dok", "slurm_rest", "slurm_ssh"
    endpoint: str  # base URL, or "host:port" for SSH
    credentials: Mapping[str, str] = field(repr=False)
    options: Mapping[str, str] = field(default_factory=dict)  # by Adapter.option_names


@dataclass(frozen=True)
class RegistryLogin:
    """Who fetches private images from one registry. `hostname` is as it stands in an image's name, with its port."""

    hostname: str
    username: str
    password: str = field(repr=False)


@dataclass(frozen=True)
class JobSpec:
    """One piece of work as every provider can be given it."""

    key: str  # "jga-<installation>-<attempt code>": client token, job name and label, [a-z0-9-], at most 64 characters
    script: str  # POSIX sh: the bootstrap that stages data and runs the user's command (portal.providers.bootstrap)
    plan: str  # the provider's own id of the offering: DOK plan, Slurm partition
    gpus: int  # in all, not per node
    time_limit_s: int
    image: str = ""  # container image; not used where the account runs none
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)  # may hold the user's secrets
    nodes: int = 1
    gpu_type: str = ""  # Slurm's gres type, "gb200"
    registry: RegistryLogin | None = None  # given to adapters with PrivateImages alone
    web_port: int | None = None  # where the program answers HTTP; given to adapters with WebAccess alone
    architecture: str = ""  # of the machines that the plan is sold with, "amd64" or "arm64"; "": not known


class RemoteState(enum.Enum):
    QUEUED = "queued"  # the provider has it, it does not run yet, nothing is charged
    RUNNING = "running"
    SUCCEEDED = "succeeded"  # ended, and every exit code is 0
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"
    INTERRUPTED = "interrupted"  # ended by the provider: machine lost, preempted, aborted
    OUT_OF_MEMORY = "out_of_memory"

    @property
    def is_final(self) -> bool:
        return self not in (RemoteState.QUEUED, RemoteState.RUNNING)


@dataclass(frozen=True)
class RemoteJob:
    """A job as the provider shows it now."""

    remote_id: str
    key: str  # ours, or "" where the job is not ours
    state: RemoteState
    reason: str = ""  # the provider's own word for why it waits or failed, one line
    exit_code: int | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None  # charging starts here
    ended_at: datetime | None = None
    gpu_seconds: int | None = None  # where the provider counts them itself


@dataclass(frozen=True)
class LogPiece:
    data: bytes  # may cut a character or a line in two
    next_offset: int  # give it to the next call


@dataclass(frozen=True)
class RemoteOffering:
    """A plan with its price as the provider publishes it. `unit_price` is None where it publishes none."""

    plan: str
    name: str
    unit_price: Decimal | None
    unit: str  # "second" | "gpu_minute"
    minimum_s: int = 0
    begins_at: datetime | None = None


@dataclass(frozen=True)
class RemoteAvailability:
    plan: str
    free_gpus: int | None  # None: the provider does not say
    queued_jobs: int | None
    observed_at: datetime


@dataclass(frozen=True)
class RemoteUsage:
    """One line of the provider's own statement."""

    line_id: str
    remote_id: str
    key: str
    gpu_seconds: int
    started_at: datetime
    ended_at: datetime


@dataclass(frozen=True)
class RemoteCharge:
    """One line of the provider's own bill: what it asks for the use of one plan."""

    account: str
    number: int  # of the line in its bill
    plan: str
    usage: int  # in the provider's unit; DOK: seconds
    usage_type: int | None  # the provider's own kind of usage; DOK: 0 or 1, which nobody explains
    amount: Decimal  # yen, with or without tax as the provider bills
    description: str = ""
    closed_at: datetime | None = None  # the closing day of its bill
    last_upload_at: datetime | None = None  # when the provider last brought the bill up to date


class Adapter(ABC):
    """What every provider can do. Abilities that not all have are the classes below: ask with isinstance."""

    #: what may stand in an account's options, each explained in the class's docstring
    option_names: frozenset[str] = frozenset()
    #: how long a new job may be missing from `find` and `list_jobs` after it was accepted
    listing_lag_s: float = 0.0
    #: the variable in a job's environment that holds its `remote_id`, which bootstrap.sh sends with the claim; "": none
    id_variable: str = ""
    #: False where the account runs no containers, and a job's image is not used
    runs_images: bool = True
    #: True where all copies of a job begin in one directory: the bootstrap's mkdir lets one of them run
    shares_disk: bool = False

    @abstractmethod
    def check(self) -> str:
        """Prove that the credentials work and say as whom, in one line. Raises Misconfigured, Unavailable."""

    @abstractmethod
    def submit(self, spec: JobSpec) -> RemoteJob:
        """Hand the job over once. Raises Rejected, Unavailable (certainly not received), Misconfigured, OutcomeUnknown.

        Never repeats a request by itself: the caller looks with `find` first. Of a key that was handed over before
        nothing is promised but that one copy runs: the first job, a second one, or Rejected (its name is taken).
        """

    @abstractmethod
    def find(self, key: str) -> list[RemoteJob]:
        """Every job that carries this key, oldest first; none: empty. Raises Unavailable, Misconfigured."""

    @abstractmethod
    def get(self, remote_id: str) -> RemoteJob:
        """The job as it is now. Raises NotFound, Unavailable, Misconfigured."""

    @abstractmethod
    def list_jobs(self, key_prefix: str, *, since: datetime) -> Iterator[RemoteJob]:
        """All jobs of the account created since then whose key begins so, page by page: one call tracks them all."""

    @abstractmethod
    def cancel(self, remote_id: str) -> None:
        """Ask for the job's end. Already ended, or unknown there: return quietly. Raises Unavailable: ask again later.

        The job has ended only when `get` says so.
        """

    def close(self) -> None:  # noqa: B027  nothing to give back is fine
        """Give back connections. Safe to call twice."""


class LiveLog(ABC):
    @abstractmethod
    def read_log(self, job: RemoteJob, *, offset: int, max_bytes: int) -> LogPiece:
        """What the job has written since `offset` bytes, without waiting for more. Raises NotFound, Unavailable."""


class FinalLog(ABC):
    @abstractmethod
    def fetch_log(self, job: RemoteJob) -> Iterator[bytes]:
        """The whole output of an ended job, in pieces of at most 1 MiB. Raises NotFound, Unavailable."""


class Artifacts(ABC):
    @abstractmethod
    def fetch_artifacts(self, job: RemoteJob) -> Iterator[bytes] | None:
        """What the job left in $PORTAL_OUTPUT_DIR as one tar.gz stream; None when it left nothing. Raises Unavailable.

        A provider without this ability gets a put URL in the job's manifest instead (portal.providers.bootstrap).
        """


class Arrays(ABC):
    """Many copies of one job that the provider takes, counts and ends as one. Each copy is a job of its own as well."""

    @abstractmethod
    def submit_array(self, spec: JobSpec, each: Sequence[Mapping[str, str]]) -> RemoteJob:
        """Hand over one copy for each mapping, whose variables that copy has besides the spec's: its manifest.

        A copy has $PORTAL_ARRAY_INDEX (from 0) and $PORTAL_ARRAY_SIZE, and a directory, claim and log of its own.
        `find` by the spec's key, `get` and `cancel` by the id returned mean the array as a whole; `list_jobs` and
        `usage` name each copy by `element_key`. Raises as `submit`.
        """

    @abstractmethod
    def array_jobs(self, remote_id: str) -> list[RemoteJob]:
        """Its copies by index. One that was ended before it started may be missing. Raises as `get`."""


def element_key(key: str, index: int) -> str:
    """The key of one copy in an array. No job of ours can be called so."""
    return f"{key}[{index}]"


class DataPush(ABC):
    """Files laid beside the job before it is handed over, for machines that reach nothing outside their cluster."""

    #: whether this account's jobs get their manifest and inputs so, instead of fetching them by address
    pushes: bool = False

    @abstractmethod
    def push(self, key: str, name: str, pieces: Callable[[int], Iterator[bytes]], *, size_bytes: int) -> None:
        """Bring one file to the job with this key, where its manifest calls it `file:<name>`. `pieces`: its bytes from
        an offset on. One that is whole is left alone, and one that broke off goes on where it broke.

        Raises Unavailable, Misconfigured: the job itself has certainly not been handed over.
        """

    @abstractmethod
    def take_back(self, key: str) -> None:
        """Remove what was pushed and is still there. Nothing there: return quietly. Raises Unavailable."""


class MoreTime(ABC):
    """Changes the time limit of a job while it runs."""

    #: whether this account may
    gives_time: bool = False

    @abstractmethod
    def set_time_limit(self, remote_id: str, *, time_limit_s: int) -> None:
        """Let the job run so long, counted from its start. The same again changes nothing.

        Raises NotFound where it is over, Rejected or Misconfigured where the limit stays as it was, Unavailable: ask
        again, it may have been done.
        """


class PriceList(ABC):
    @abstractmethod
    def offerings(self) -> list[RemoteOffering]:
        """Plans and prices as published now."""


class Availability(ABC):
    @abstractmethod
    def availability(self) -> list[RemoteAvailability]:
        """How much is free, per plan."""


class UsageStatement(ABC):
    @abstractmethod
    def usage(self, *, since: datetime, until: datetime) -> Iterator[RemoteUsage]:
        """The provider's own count of what was used in [since, until)."""


class BillingStatement(ABC):
    @abstractmethod
    def charges(self, *, year: int, month: int, day: int | None = None) -> list[RemoteCharge]:
        """The provider's bill of one day, or of the month without `day`, by its own calendar (Japan). Nothing: empty.

        Raises Unavailable, also for a line that cannot be read: a bill with a line left out would be a wrong one.
        """


class Deletion(ABC):
    @abstractmethod
    def delete(self, remote_id: str) -> None:
        """Take an ended job, its log and its output out of the account. Unknown there: return quietly.

        Raises Rejected where it has not ended (nothing is ended by this), Unavailable, Misconfigured.
        """


class PrivateImages(ABC):
    """Fetches an image with JobSpec.registry. The login lies at the provider only as long as jobs need it."""

    @abstractmethod
    def forget_login(self, remote_id: str) -> None:
        """Delete the login that was kept there for this ended job. None kept, or job unknown: return quietly.

        Raises Unavailable, Misconfigured.
        """


class WebAccess(ABC):
    """Shows JobSpec.web_port to the world. Nothing is known of an access control: assume that it is public."""

    @abstractmethod
    def web_address(self, job: RemoteJob) -> str | None:
        """http(s) address, new for each job, 503 until the program listens; None: it has none (yet, or any more).

        Raises NotFound, Unavailable.
        """
