"""A server whose folder is a disk of its own, so small that a test can fill it."""

from __future__ import annotations

import errno
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from portal.launcher.processes import Child, Program, words

IN_A_NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount"]
# What lies in the folder is copied to the disk, which is then put in its place. Nobody else sees either.
ON_A_DISK = """
mount -t tmpfs -o size="$1" none "$2" && cp -a "$3/." "$2/" && mount --bind "$2" "$3" && shift 3 && exec "$@"
"""
CHUNK_BYTES = 1024 * 1024


def can_be_made() -> bool:
    """Not where the machine forbids namespaces to those who ask."""
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*IN_A_NAMESPACE, "true"], capture_output=True).returncode == 0


def on_small_disk(program: Program, folder: Path, *, size_bytes: int) -> Child:
    """Not started yet. What is on the disk is lost when the server ends."""
    aside = folder.with_name(f"{folder.name}.disk")

    def make_folders() -> None:
        program.before_start()
        folder.mkdir(parents=True, exist_ok=True)
        aside.mkdir(exist_ok=True)

    argv = [*IN_A_NAMESPACE, *words("sh", "-c", ON_A_DISK, "sh", size_bytes, aside, folder), *program.argv]
    return Child(replace(program, argv=argv, before_start=make_folders))


@contextmanager
def full(child: Child, folder: Path) -> Iterator[None]:
    """Nothing of size fits on the disk until the block ends, also where the server gives room back."""
    ballast = Path(f"/proc/{child.pid}/root") / folder.relative_to("/") / "ballast"
    ended = threading.Event()

    def keep_full() -> None:
        while not ended.wait(0.05):
            fill(ballast)

    fill(ballast)
    keeper = threading.Thread(target=keep_full)
    keeper.start()
    try:
        yield
    finally:
        ended.set()
        keeper.join()
        ballast.unlink()


def fill(ballast: Path) -> None:
    with ballast.open("ab", buffering=0) as file:
        for size in (CHUNK_BYTES, 4096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError as refused:
                if refused.errno != errno.ENOSPC:
                    raise
