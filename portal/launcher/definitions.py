"""What a service from a wheel is: where it is found, and how it is run."""

import hashlib
import importlib.util
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from portal.launcher.errors import CannotContinue
from portal.launcher.processes import Child, Program


@dataclass(frozen=True)
class Definition:
    """A service not started yet: where it will be found, and how to run it."""

    url: str
    environment: Mapping[str, str]
    program: Program


@dataclass(frozen=True)
class Service:
    """A running service."""

    url: str
    environment: Mapping[str, str]
    process: Child

    def stop(self) -> None:
        self.process.stop()


def short_folder(directory: Path) -> Path:
    """Where the sockets of this folder's service are: a Unix socket's path may have 107 bytes only."""
    name = hashlib.sha256(str(directory.resolve()).encode()).hexdigest()[:10]
    return Path(tempfile.gettempdir()) / f"portal-{os.getuid()}-{name}"


def package_folder(name: str) -> Path:
    """Folder of an installed package, without running its code."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise CannotContinue("module_missing", module=name)
    return Path(spec.origin).parent
