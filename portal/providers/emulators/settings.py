"""What the command line of an emulator says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    state: Path
    port: int
    running_limit: int | None  # None: what the real provider has
    time_scale: float
    versions: tuple[str, ...]
    terms_agreed: bool
    defect: str = ""  # machine.DEFECTS: what this provider gets wrong
    private_registry: tuple[str, ...] = ()  # sakura_dok: host, user name and password of a registry that asks for them
