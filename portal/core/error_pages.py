"""Pages for what went wrong. The plain ones ask no database and no context processor, so they render when those are
down; somebody signed in gets the page inside the usual menu when all that it needs answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import structlog
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import get_token
from django.template.loader import render_to_string
from django.utils.http import url_has_allowed_host_and_scheme

log = structlog.get_logger(__name__)

# Should even the page fail to render: both languages, for choosing one may be what failed.
BARE = """<!doctype html><html lang="ja"><meta charset="utf-8"><title>{status}</title>
<h1>{status}</h1><p>ページを表示できませんでした。1分ほど待ってから、読み込み直してください。</p>
<p lang="en">The page could not be shown. Wait about a minute and reload it.</p></html>
"""


def error_page(
    request: HttpRequest, status: int, *, template: str | None = None, context: Mapping[str, Any] | None = None
) -> HttpResponse:
    """The page of `status`: templates/400.html and so on, with the request's id for the support desk."""
    template, context = template or f"{status}.html", context or {}
    html = _with_menu(request, template, context) if status < 500 else None
    if html is None:
        try:
            html = render_to_string(template, {**context, **_plain(request, status)})
        except Exception:
            log.exception("error page cannot be rendered", status=status)
            html = BARE.format(status=status)
    return HttpResponse(html, status=status)


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    if isinstance(exception, RequestDataTooBig):
        return error_page(request, 413)
    return error_page(request, 400)


def page_not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return error_page(request, 404)


def too_many_requests(
    request: HttpRequest, exception: Exception | None = None, *, wait_s: int | None = None
) -> HttpResponse:
    """`wait_s`: after so many seconds the same is allowed again, where that is known."""
    page = urlsplit(request.headers.get("Referer", ""))
    # Back to the form that was sent too often; what was typed there is still in it.
    back = page.path if page.netloc == request.get_host() and url_has_allowed_host_and_scheme(page.path, None) else ""
    response = error_page(request, 429, context={"wait_s": wait_s, "back": back})
    response["Retry-After"] = str(wait_s or 60)
    return response


def server_error(request: HttpRequest) -> HttpResponse:
    return error_page(request, 500)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """A form whose protection token is missing or old: nothing was stored."""
    return error_page(request, 403, template="403_csrf.html")


def _with_menu(request: HttpRequest, template: str, context: Mapping[str, Any]) -> str | None:
    user = getattr(request, "user", None)  # missing when a request was refused before anybody asked who it is from
    if user is None or request.headers.get("HX-Request") == "true":  # htmx shows a toast, no page
        return None
    try:
        if not user.is_authenticated:
            return None
        return render_to_string(template, {**context, "layout": "base.html"}, request)
    except Exception:  # whatever is down: the plain page needs none of it
        log.warning("error page without its menu", exc_info=True)
        return None


def _plain(request: HttpRequest, status: int) -> dict[str, object]:
    theme = request.COOKIES.get("theme", "auto")
    return {
        "layout": "base_plain.html",
        "request": request,
        "request_id": structlog.contextvars.get_contextvars().get("request_id", ""),
        "theme": theme if theme in ("light", "dark") else "auto",
        # A page that says "the server failed" offers no form that needs the server to be well.
        "csrf_token": get_token(request) if status < 500 else "",
    }
