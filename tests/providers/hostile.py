"""Any JSON that a provider could answer with, and answers that no provider should give."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from tests.providers.answering import Reply

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)

LONG_ID = 10**30
PAGE = b"<!DOCTYPE html><html><body><h1>502 Bad Gateway</h1></body></html>"
BODIES: dict[str, Reply] = {
    "nothing": Reply(200, b""),
    "null": Reply(200, b"null"),
    "a number": Reply(200, b"7"),
    "a list": Reply(200, b"[null, 7, [], {}]"),
    "an empty object": Reply(200, b"{}"),
    "a page that says it went well": Reply(200, PAGE, {"Content-Type": "text/html"}),
    "a page of a gateway": Reply(502, PAGE, {"Content-Type": "text/html"}),
    "no UTF-8": Reply(200, b'{"jobs": "\xff\xfe\xc3("}'),
    "cut": Reply(200, b'{"jobs": [{"job_id": 1, "name": "jga-', cut=True),
    "20 MB of opening brackets": Reply(200, b"[" * 20_000_000),
    "20 MB of one text": Reply(200, b'{"jobs": "' + b"x" * 20_000_000 + b'"}'),
    "a number of 5000 digits": Reply(200, b'{"job_id": ' + b"9" * 5000 + b"}"),
    "compressed, by its own word": Reply(200, b"\x1f\x8b no gzip", {"Content-Encoding": "gzip"}),
    "redirected": Reply(302, b"", {"Location": "http://169.254.169.254/latest/meta-data/"}),
    "no HTTP status that there is": Reply(599, b"?"),
}


def told_oddly(job: dict[str, Any]) -> dict[str, Reply]:
    """Answers that hold this job and are odd all the same: it must not be lost, whatever else is not understood."""
    odd = {**job, "a new field": {"of": ["any", None, LONG_ID]}}
    return {
        "unknown fields": _holding(odd),
        "numbers as texts": _holding({name: _as_text(value) for name, value in odd.items()}),
        "others that are nothing": _holding(None, 7, [], {}, {"id": [], "job_id": {}, "name": None}, odd),
        "errors that are none": Reply(
            200, json.loads(json.dumps({**_lists(odd), "errors": 7, "meta": [], "warnings": "x"}))
        ),
    }


def _holding(*jobs: object) -> Reply:
    return Reply(200, _lists(*jobs))


def _lists(*jobs: object) -> dict[str, Any]:
    """A list of jobs as slurmrestd and as DOK make it."""
    return {"errors": [], "jobs": list(jobs), "results": list(jobs), "meta": {"page": 1, "total_pages": 1}}


def _as_text(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value
