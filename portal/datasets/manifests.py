"""The manifest of a version: what is in it, so that anybody can check it and everybody computes the same hash.

Canonical form: one line a file, in the order of the paths' UTF-8 bytes, each ended by one LF (0x0A), nothing else:

    {"path":"train/a.csv","size":1024,"sha256":"<64 lower-case hexadecimal digits>"}

The three keys in this order, no blanks between the signs, UTF-8 without a byte order mark. In a path only `"` and `\\`
are escaped, by a `\\` before them; control characters occur in none, and all other letters stand as they are. `size` is
in bytes. The version's hash is the SHA-256 of these bytes. It is an object in the store like the files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator

from django.db import transaction
from django.utils import timezone

from portal.datasets import residency, storage
from portal.datasets.models import DataFile, DatasetVersion, VersionState
from portal.datasets.sites import primary_site

PAGE = 5_000  # files read at once
PIECE_BYTES = 256 * 1024


def line_of(path: str, size_bytes: int, sha256: str) -> bytes:
    said = {"path": path, "size": size_bytes, "sha256": sha256}
    return json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def key_of(version: DatasetVersion) -> str:
    dataset = version.dataset
    return f"t/{dataset.organization.code}/versions/{dataset.code}/{version.number}"


def files_of(version: DatasetVersion, *fields: str, after: str = "") -> Iterator[DataFile]:
    """In path order, some thousands in memory at a time. `name` and `fields` are read."""
    while True:
        rows = DataFile.objects.of_version(version).in_path_order(after=after).only("name", *fields)
        page = list(rows[:PAGE])
        yield from page
        if len(page) < PAGE:
            return
        after = page[-1].name


def write(version_id: int) -> bool:
    """From `making` to `ready`. Twice at once: the same bytes go to the same key. False: it was ready, or is no more.

    Raises StorageUnavailable; the version stays in `making` and the sweep comes back to it.
    """
    making = DatasetVersion.objects.filter(pk=version_id, state=VersionState.MAKING, dataset__removed_at=None)
    version = making.select_related("dataset__organization").first()
    if version is None:
        return False
    sums = {"file_count": 0, "size_bytes": 0}
    stored = storage.put_stream(key_of(version), _pieces(_lines(version, sums)))
    _read_back(key_of(version), stored)
    version.manifest_sha256, version.manifest_key = stored.sha256, key_of(version)
    with transaction.atomic():
        changed = making.update(
            state=VersionState.READY, manifest_sha256=stored.sha256, manifest_key=version.manifest_key, **sums
        )
        if changed:
            residency.manifest_arrived(
                version, primary_site(), storage.primary(), size_bytes=stored.size_bytes, at=timezone.now()
            )
    return bool(changed)


def _read_back(key: str, stored: storage.Stored) -> None:
    found = hashlib.sha256()
    for piece in storage.pieces(key):
        found.update(piece)
    if found.hexdigest() != stored.sha256:
        raise storage.StorageUnavailable("the manifest came back with other bytes")


def to_write() -> list[int]:
    """Versions whose manifest is not written yet."""
    making = DatasetVersion.objects.filter(state=VersionState.MAKING, dataset__removed_at=None)
    return list(making.order_by("pk").values_list("pk", flat=True)[:100])


def _lines(version: DatasetVersion, sums: dict[str, int]) -> Iterator[bytes]:
    for file in files_of(version, "size_bytes", "sha256"):
        sums["file_count"] += 1
        sums["size_bytes"] += file.size_bytes
        yield line_of(file.name, file.size_bytes, file.sha256)


def _pieces(lines: Iterable[bytes]) -> Iterator[bytes]:
    waiting = bytearray()
    for line in lines:
        waiting += line
        if len(waiting) >= PIECE_BYTES:
            yield bytes(waiting)
            waiting.clear()
    if waiting:
        yield bytes(waiting)
