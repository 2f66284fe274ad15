"""DOK's logins for registries, and the one registry that --private-registry makes private.

Chosen, as nothing is documented: a list without pages; several entries may have the same host and user name; an entry
may be deleted while tasks name it; a task on the private registry without a valid login never starts and ends as
`error` with the one message that the document shows.
"""

from __future__ import annotations

import json
import os
import threading
import uuid
from pathlib import Path
from typing import Any

from portal.providers.emulators.http_server import Answer, Request

REFUSAL = "invalid registry permission"
_FIELDS = ("hostname", "username", "password")


class Registries:
    def __init__(self, state: Path, private: tuple[str, ...]) -> None:
        """`private` is host, user name and password of the registry that asks for them; empty: all are public."""
        self._file = state / "registries.json"
        self._private = private
        self._lock = threading.Lock()
        self._entries: dict[str, dict[str, str]] = json.loads(self._file.read_text()) if self._file.exists() else {}

    def answer(self, request: Request, path: list[str], *, now: str) -> Answer:
        """`path` is what follows /registries/."""
        if path and (len(path) > 1 or path[0] not in self._entries):
            return Answer(404, {"detail": "Not found."})
        with self._lock:
            match request.method, path:
                case "GET", []:
                    return Answer(200, [_shown(entry) for entry in self._entries.values()])
                case "GET", [known]:
                    return Answer(200, _shown(self._entries[known]))
                case "POST", []:
                    return self._keep(request, {"id": str(uuid.uuid4()), "created_at": now, "updated_at": now}, 201)
                case "PUT", [known]:
                    return self._keep(request, {**self._entries[known], "updated_at": now}, 200)
                case "DELETE", [known]:
                    del self._entries[known]
                    self._save()
                    return Answer(204)
        return Answer(404, {"detail": "Not found."})

    def knows(self, entry_id: object) -> bool:
        return entry_id in self._entries

    def allows(self, image: str, entry_id: str | None) -> bool:
        if not self._private or image.partition("/")[0] != self._private[0]:
            return True
        entry = self._entries.get(entry_id or "")
        return entry is not None and tuple(entry[name] for name in _FIELDS) == self._private

    def _keep(self, request: Request, entry: dict[str, str], status: int) -> Answer:
        try:
            given = request.json()
        except ValueError:
            given = None
        wanted: Any = given if isinstance(given, dict) else {}
        for name in _FIELDS:
            if not isinstance(wanted.get(name), str) or not wanted[name]:
                return Answer(422, {"detail": f"{name}: required"})
        entry = {**entry, **{name: wanted[name] for name in _FIELDS}}
        self._entries[entry["id"]] = entry
        self._save()
        return Answer(status, _shown(entry))

    def _save(self) -> None:
        descriptor = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(self._entries, file)


def _shown(entry: dict[str, str]) -> dict[str, str]:
    """The password is never told."""
    return {name: value for name, value in entry.items() if name != "password"}
