"""What a person asks for when they submit a job, and its documented limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from portal.catalog.models import LONGEST_RUN_S, Offering
from portal.datasets.models import DataFile, DatasetVersion
from portal.jobs.placement.rule import Placed

NAME_MAX = 50
SCRIPT_MAX_BYTES = 1024 * 1024
COMMAND_MAX = 4000
IMAGE_MAX = 300
ENVIRONMENT_MAX = 200  # variables and secrets together
ENVIRONMENT_MAX_BYTES = 64 * 1024  # they travel in the manifest, not in the provider's own (8 KB) environment
INPUTS_MAX = 10_000  # tests/bench/data.py: what a hand-over bears within its lease
TIME_LIMIT_MIN_S = 60
TIME_LIMIT_MAX_S = LONGEST_RUN_S
COST_CAP_MIN = 1
COST_CAP_MAX = 999_999_999
RETRIES_MAX = 3


@dataclass(frozen=True)
class Attached:
    """A version of a dataset for a job to read: all of it, or the files chosen of it."""

    version: DatasetVersion
    files: tuple[DataFile, ...] | None = None  # None: all

    @property
    def file_count(self) -> int:
        return self.version.file_count if self.files is None else len(self.files)

    @property
    def size_bytes(self) -> int:
        return self.version.size_bytes if self.files is None else sum(file.size_bytes for file in self.files)


@dataclass(frozen=True)
class JobRequest:
    """Well formed (forms.py has seen to it); whether it is allowed is for submission.py to say."""

    name: str
    offering: Offering
    gpus: int
    time_limit_s: int
    cost_cap: int  # yen, tax included; the job is stopped before it costs more
    command: str = ""
    script: str = ""
    script_name: str = ""
    image: str = ""
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    attached: tuple[Attached, ...] = ()
    inputs: tuple[DataFile, ...] = ()  # files that are in no version
    template: str = ""
    alternatives: tuple[Offering, ...] = ()  # where it may go if the offering cannot take it, the first first
    retries: int = 0  # times it begins anew when the provider interrupts it
    placed: Placed | None = None  # offering and alternatives are what this has chosen; None: a person has
    seen_prices: frozenset[int] | None = None  # ids of those that the person was shown; None: nobody was shown any
