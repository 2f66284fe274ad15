"""Pages for what went wrong. They ask no database and no context processor, so they render when those are down."""

from __future__ import annotations

import structlog
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import get_token
from django.template.loader import render_to_string


def error_page(request: HttpRequest, status: int, *, template: str | None = None) -> HttpResponse:
    """The page of `status`: templates/400.html and so on, with the request's id for the support desk."""
    html = render_to_string(template or f"{status}.html", _context(request, status))
    return HttpResponse(html, status=status)


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    if isinstance(exception, RequestDataTooBig):
        return error_page(request, 413)
    return error_page(request, 400)


def permission_denied(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return error_page(request, 403)


def page_not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return error_page(request, 404)


def too_many_requests(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return error_page(request, 429)


def server_error(request: HttpRequest) -> HttpResponse:
    return error_page(request, 500)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """A form whose protection token is missing or old: nothing was stored."""
    return error_page(request, 403, template="403_csrf.html")


def _context(request: HttpRequest, status: int) -> dict[str, object]:
    theme = request.COOKIES.get("theme", "auto")
    return {
        "request": request,
        "request_id": structlog.contextvars.get_contextvars().get("request_id", ""),
        "theme": theme if theme in ("light", "dark") else "auto",
        # A page that says "the server failed" offers no form that needs the server to be well.
        "csrf_token": get_token(request) if status < 500 else "",
    }
