"""Page or fragment: the one helper every view uses. Header names: read in the source of htmx 4.0.1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils.cache import patch_vary_headers


def respond(
    request: HttpRequest,
    page_template: str,
    fragment_template: str,
    context: Mapping[str, Any] | None = None,
    *,
    status: int = 200,
    etag: str | None = None,
) -> HttpResponse:
    """The whole page, or only its fragment when htmx will swap just that. `etag` is the version the fragment shows: it
    goes out for htmx to send back (portal.js), and a poll that already has it gets 304 and no body."""
    if etag is not None and (unchanged := not_modified(request, etag)):
        return unchanged
    fragment = wants_fragment(request)
    template = fragment_template if fragment else page_template
    response = HttpResponse(render_to_string(template, dict(context or {}), request), status=status)
    if etag is not None and fragment:
        response["HX-PTag"] = etag
    return _varying(response)


def not_modified(request: HttpRequest, version: str) -> HttpResponse | None:
    """304 when the element that polls already shows `version`, else None. Ask before the costly part of the view.

    The version is ASCII and names everything the fragment shows, its language and the reader's rights included.
    """
    if not wants_fragment(request) or request.headers.get("HX-PTag") != version:
        return None
    response = HttpResponse(status=304)
    response["HX-PTag"] = version
    return _varying(response)


def wants_fragment(request: HttpRequest) -> bool:
    """htmx says "full" when it selects from the answer or replaces the body; in history it sends no HX-Request."""
    headers = request.headers
    return (
        headers.get("HX-Request") == "true"
        and headers.get("HX-Request-Type") != "full"
        and headers.get("HX-Boosted") != "true"
        and headers.get("HX-History-Restore-Request") != "true"
    )


def _varying(response: HttpResponse) -> HttpResponse:
    # One URL has two bodies. Without this the browser's Back button could show a bare fragment.
    patch_vary_headers(response, ["HX-Request", "HX-Request-Type"])
    return response
