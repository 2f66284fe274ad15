"""What a client says of its body, reduced to what browsers say: Django believes it before any middleware runs."""

from __future__ import annotations

import re
from typing import Any

from django.core.handlers.wsgi import WSGIHandler, WSGIRequest

_BOUNDARY = re.compile(r'(?i)(?:^|;)\s*boundary=("[^"\\]*"|[^;\s"]+)')


class Request(WSGIRequest):
    def __init__(self, environ: dict[str, Any]) -> None:
        environ["CONTENT_TYPE"] = plain_content_type(environ.get("CONTENT_TYPE", ""))
        super().__init__(environ)


class Handler(WSGIHandler):
    request_class = Request


def plain_content_type(given: str) -> str:
    """Kind and boundary. Forms are UTF-8: a charset such as `idna` or NUL would end in an empty 500."""
    kind, _, parameters = given.partition(";")
    boundary = _BOUNDARY.search(parameters)
    return f"{kind}; boundary={boundary[1]}" if boundary else kind
