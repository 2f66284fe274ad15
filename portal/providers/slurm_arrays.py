"""Slurm's job arrays: one submission, a number for the whole ("12") and one for each element ("12_3").

[T] 22.05: an element gets a record of its own when it starts; until then all that wait are one record with the indexes
as "2-3,7%2", in accounting as a mask ("0x8C"). One that is ended before it starts leaves no record at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from portal.providers.base import RemoteJob, RemoteState, element_key
from portal.providers.errors import NotFound, Rejected, Unavailable
from portal.providers.slurm import exports

SIZE_MAX = 1000  # MaxArraySize is 1001 where a cluster does not say otherwise

_ID = re.compile(r"\d{1,18}(_\d{1,7})?", re.ASCII)
_ELEMENT_KEY = re.compile(r"(.+)\[(\d{1,7})\]", re.ASCII)


def checked_id(remote_id: str) -> str:
    """The number of a job, an array or an element. Raises NotFound for anything else."""
    if not _ID.fullmatch(remote_id):
        raise NotFound("not a Slurm job number")
    return remote_id


def age(job: RemoteJob) -> tuple[int, int]:
    """Orders jobs by number, elements by index."""
    number, _, index = job.remote_id.partition("_")
    return int(number or 0), int(index or 0)


def element_of(key: str) -> tuple[str, str]:
    """The array's key and the index in an element's key; of any other job its key and ""."""
    match = _ELEMENT_KEY.fullmatch(key)
    return (match[1], match[2]) if match else (key, "")


def check_size(each: Sequence[Mapping[str, str]]) -> None:
    if not 1 <= len(each) <= SIZE_MAX:
        raise Rejected(f"an array has 1 to {SIZE_MAX} elements, not {len(each)}")


def array_lines(size: int) -> list[str]:
    """Shell that names the element to the program."""
    return [f"export PORTAL_ARRAY_INDEX=$SLURM_ARRAY_TASK_ID PORTAL_ARRAY_SIZE={size}"]


def own_variables(each: Sequence[Mapping[str, str]]) -> list[str]:
    """Shell that sets an element's own variables, and nobody else's."""
    cases = [f"{index})\n{exports(variables)};;" for index, variables in enumerate(each)]
    return ["case $SLURM_ARRAY_TASK_ID in", *cases, "esac"]


def indexes(text: str) -> list[int]:
    """0, 1, 2 and 7 in "0-2,7%2" or in "0x87". What is no such text, or too much, holds none."""
    if re.fullmatch(r"0x[0-9A-Fa-f]{1,2500}", text):
        mask = int(text, 16)
        return [index for index in range(mask.bit_length()) if mask >> index & 1]
    found: list[int] = []
    for part in text.partition("%")[0].split(","):
        match = re.fullmatch(r"(\d{1,7})(?:-(\d{1,7}))?(?::(\d{1,7}))?", part, re.ASCII)
        if match and int(match[2] or match[1]) - int(match[1]) <= 10_000:
            found += range(int(match[1]), int(match[2] or match[1]) + 1, int(match[3] or 1) or 1)
    return found


def with_wholes(jobs: Sequence[RemoteJob], key: str) -> Iterator[RemoteJob]:
    """Those with this key: single jobs, and each array with this key as one."""
    arrays: dict[str, list[RemoteJob]] = {}
    for job in jobs:
        if job.key == key:
            yield job
        elif element_of(job.key)[0] == key:
            arrays.setdefault(job.remote_id.partition("_")[0], []).append(job)
    for number, elements in arrays.items():
        yield whole_array(number, elements)


def chosen(jobs: Sequence[RemoteJob], remote_id: str) -> RemoteJob:
    """The job, element or whole array of this number. Raises NotFound; Unavailable where one is told without a number,
    which may be this one."""
    for job in jobs:
        if job.remote_id == remote_id:
            return job
    if elements := elements_in(jobs, remote_id):
        return whole_array(remote_id, elements)
    if not all(job.remote_id for job in jobs):
        raise Unavailable("a job has no number")
    raise NotFound("Slurm does not know this job")


def elements_in(jobs: Sequence[RemoteJob], number: str) -> list[RemoteJob]:
    return sorted((job for job in jobs if job.remote_id.startswith(f"{number}_")), key=age)


def whole_array(number: str, elements: Sequence[RemoteJob]) -> RemoteJob:
    """The array as one job: it ends with its last element, and well only if all did; else as the first that did not."""
    states = {job.state for job in elements}
    decisive = next((job for job in elements if job.state is not RemoteState.SUCCEEDED), elements[0])
    state = decisive.state
    if not all(one.is_final for one in states):
        waits = states <= {RemoteState.QUEUED, RemoteState.CANCELLED}
        state = RemoteState.QUEUED if waits else RemoteState.RUNNING
    over = state.is_final
    counted = [job.gpu_seconds for job in elements if job.gpu_seconds is not None]
    return RemoteJob(
        remote_id=number,
        key=element_of(elements[0].key)[0],
        state=state,
        reason=decisive.reason,
        exit_code=decisive.exit_code if over else None,
        created_at=min((job.created_at for job in elements if job.created_at), default=None),
        started_at=min((job.started_at for job in elements if job.started_at), default=None),
        ended_at=max((job.ended_at for job in elements if job.ended_at), default=None) if over else None,
        gpu_seconds=sum(counted) if over and counted else None,
    )


def as_element(job: RemoteJob, number: object, index: int) -> RemoteJob:
    """What Slurm says of an array's record, as one element's."""
    return replace(job, remote_id=f"{number}_{index}", key=element_key(job.key, index))
