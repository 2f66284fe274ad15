"""access.json: how to reach an emulator, made on its first start and kept, so that stored accounts stay valid."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from portal.providers.emulators.sandbox import is_sandboxed


def read_or_make(state: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What the file holds, else what `make` returns: {"credentials": {...}, "options": {...}, ...}."""
    path = state / "access.json"
    if path.exists():
        return cast(dict[str, Any], json.loads(path.read_text()))
    return make()


def write(state: Path, kind: str, endpoint: str, control_url: str, access: Mapping[str, Any]) -> None:
    """Only when the emulator answers: whoever waits for this file may connect at once."""
    options = {**access["options"], "emulated": "true", "sandbox": "bubblewrap" if is_sandboxed() else "none"}
    content = {
        "kind": kind,
        "endpoint": endpoint,
        "credentials": access["credentials"],
        "options": options,
        "control": {"url": control_url, "token": access["control"]["token"]},
        "private": access.get("private", {}),  # the emulator's own secrets, no part of an account
    }
    partial = state / "access.json.part"
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(content, file, indent=2)
    partial.replace(state / "access.json")
