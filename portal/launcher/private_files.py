"""Files and folders that no other account of the machine may read, and JSON in them."""

import json
import os
import stat
from pathlib import Path
from typing import Any

from portal.launcher.errors import CannotContinue


def make_private_folder(path: Path, *, owners: tuple[int, ...] = ()) -> None:
    """Make it for this account alone. In the shared temporary folder somebody may have been there before us: refuse."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (os.getuid(), *owners):
        raise CannotContinue("folder_not_ours", path=path)
    if stat.S_IMODE(found.st_mode) != 0o700:
        path.chmod(0o700)


def write_private(path: Path, value: Any) -> None:
    """As JSON, whole or not at all."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(value, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def read_json(path: Path) -> Any:
    """None when it is not there or not whole."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None
