"""Bodies that no provider should answer with, by the words of the fault `malformed`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

TWENTY_MB = 20_000_000


def malformed(word: str, answer: bytes) -> bytes:
    """`answer` is the true one; empty where nobody was asked."""
    return MALFORMED[word](answer)


def _without_ids(answer: bytes) -> bytes:
    """JSON without its "id" and "job_id" on any level; of what Slurm's commands print, lines without their number."""
    if answer[:1] not in (b"", b"{", b"["):
        return re.sub(rb"^\d+[^|\s]*", b"", answer, flags=re.MULTILINE)
    return json.dumps(_stripped(json.loads(answer or b"{}")), ensure_ascii=False).encode()


def _stripped(value: object) -> object:
    if isinstance(value, list):
        return [_stripped(one) for one in value]
    if isinstance(value, dict):
        return {name: _stripped(one) for name, one in value.items() if name not in ("id", "job_id")}
    return value


MALFORMED: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "html": lambda _: b"<!DOCTYPE html><html><body><h1>502 Bad Gateway</h1></body></html>\n",
    "invalid_utf8": lambda _: b'{"id": "\xff\xfe\xc3(", "job_id": "\xff", "jobs": [], "results": []}\n',
    "wrong_type": lambda _: b'[null, 7, "text"]\n',
    "missing_id": _without_ids,
    "20_mb": lambda _: b'{"jobs": "' + b"x" * TWENTY_MB + b'"}\n',
}
