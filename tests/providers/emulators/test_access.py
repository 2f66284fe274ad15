import json
import stat
from pathlib import Path
from typing import Any

from portal.providers.emulators.access import read_or_make, write


def made() -> dict[str, Any]:
    return {"credentials": {"token": "a"}, "options": {"partition": "gpu"}, "control": {"token": "c"}}


def test_access_is_made_once_and_only_this_account_reads_it(tmp_path: Path) -> None:
    write(
        tmp_path, "slurm_rest", "http://127.0.0.1:1", "http://127.0.0.1:1/_emulator/fault", read_or_make(tmp_path, made)
    )
    path = tmp_path / "access.json"
    content = json.loads(path.read_text())
    sandbox = content["options"].pop("sandbox")
    assert content == {
        "kind": "slurm_rest",
        "endpoint": "http://127.0.0.1:1",
        "credentials": {"token": "a"},
        "options": {"partition": "gpu", "emulated": "true"},
        "control": {"url": "http://127.0.0.1:1/_emulator/fault", "token": "c"},
        "private": {},
    }
    assert (sandbox in ("bubblewrap", "none"), stat.S_IMODE(path.stat().st_mode)) == (True, 0o600)
    assert list(tmp_path.iterdir()) == [path]


def test_a_second_start_keeps_the_keys_and_takes_the_new_port(tmp_path: Path) -> None:
    write(tmp_path, "slurm_rest", "http://127.0.0.1:1", "u", made())
    known = read_or_make(tmp_path, lambda: {"credentials": {"token": "another"}})
    write(tmp_path, "slurm_rest", "http://127.0.0.1:2", "u", known)
    content = json.loads((tmp_path / "access.json").read_text())
    assert (content["credentials"], content["endpoint"]) == ({"token": "a"}, "http://127.0.0.1:2")
