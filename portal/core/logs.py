"""What must not stand in a log, taken out on the way there."""

from __future__ import annotations

import logging
import re
from collections.abc import MutableMapping
from typing import Any

# An invitation's link is as good as the invitation itself; a machine's address stands for its job.
_LINK_TOKEN = re.compile(r"(/(?:invitations|machine/claims)/)[^/\s?'\"]{8,}")


def without_link_tokens(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor."""
    for name in ("request", "event"):
        value = event.get(name)
        if isinstance(value, str) and ("/invitations/" in value or "/machine/" in value):
            event[name] = _LINK_TOKEN.sub(r"\1…", value)
    return event


def without_traceback(record: logging.LogRecord) -> bool:
    """A filter of the standard library's logging that lets every record pass, as one line."""
    record.exc_info = None
    return True
