"""Free GPUs and processors by partition, from what /slurm/vX/nodes says: pure functions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from portal.providers.architectures import architecture

_UNUSABLE = {"DOWN", "DRAIN", "DRAINED", "DRAINING", "FAIL", "FAILING", "FUTURE", "MAINT", "NOT_RESPONDING", "UNKNOWN"}
_UNUSABLE |= {"INVALID", "INVALID_REG", "POWERED_DOWN", "REBOOT_ISSUED", "RESERVED"}


MOST_GPUS = 1_000_000  # no partition has more


def free_by_partition(nodes: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """A node of two partitions counts in both. A name or a number that nobody could store is left out."""
    free: dict[str, int] = {}
    for node in nodes:
        words = {word.upper() for word in _words(node.get("state")) + _words(node.get("state_flags"))}
        left = 0 if words & _UNUSABLE else max(0, _gpus(node.get("gres")) - _gpus(node.get("gres_used")))
        for partition in _words(node.get("partitions")):
            if partition.isprintable():  # neither NUL nor half a character
                free[partition] = free.get(partition, 0) + left
    return {partition: gpus for partition, gpus in free.items() if partition and gpus <= MOST_GPUS}


def architectures_by_partition(nodes: Iterable[Mapping[str, Any]]) -> dict[str, set[str]]:
    """ "amd64", "arm64"; a node that never reported says nothing."""
    known: dict[str, set[str]] = {}
    for node in nodes:
        for word in _words(node.get("architecture")):
            for partition in _words(node.get("partitions")):
                known.setdefault(partition, set()).add(architecture(word))
    return known


def _gpus(gres: object) -> int:
    """8 in "gpu:h200:8(S:0-1)", 3 in "gpu:h200:3(IDX:0-2)", 2 in "gpu:2,shard:4"."""
    if not isinstance(gres, str):
        return 0
    plain = re.sub(r"\([^)]*\)", "", gres)
    return sum(int(match[1]) for match in re.finditer(r"(?:^|,)gpu(?::[^:,]*[^:,\d][^:,]*)?:(\d{1,5})(?=,|$)", plain))


def _words(value: object) -> list[str]:
    if isinstance(value, str):
        return [word for word in re.split(r"[,+*~#$@^!%-]", value) if word]
    return [word for word in value if isinstance(word, str)] if isinstance(value, list) else []
