"""Pages for what went wrong. They ask no database and no context processor, so they render when those are down."""

from __future__ import annotations

import structlog
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import get_token
from django.template.loader import render_to_string

log = structlog.get_logger(__name__)

# Should even the page fail to render: both languages, for choosing one may be what failed.
BARE = """<!doctype html><html lang="ja"><meta charset="utf-8"><title>{status}</title>
<h1>{status}</h1><p>ページを表示できませんでした。1分ほど待ってから、読み込み直してください。</p>
<p lang="en">The page could not be shown. Wait about a minute and reload it.</p></html>
"""


def error_page(request: HttpRequest, status: int, *, template: str | None = None) -> HttpResponse:
    """The page of `status`: templates/400.html and so on, with the request's id for the support desk."""
    try:
        html: str = render_to_string(template or f"{status}.html", _context(request, status))
    except Exception:
        log.exception("error page cannot be rendered", status=status)
        html = BARE.format(status=status)
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
