from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlencode, urlsplit, urlunsplit

from django.conf import settings
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.http import HttpRequest, HttpResponse
from django.shortcuts import resolve_url
from django.utils.cache import patch_cache_control

from portal.core.error_pages import error_page, page_not_found


class PrivatePages:
    """What a signed-in person sees is not kept by any cache, unless the view said otherwise."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if not response.has_header("Cache-Control"):
            patch_cache_control(response, private=True, no_store=True)
        return response


class NoNul:
    """The database refuses NUL, and no address or cookie of ours has one: 404, or as if it had not been sent."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        for name in [name for name, value in request.COOKIES.items() if "\0" in value]:
            del request.COOKIES[name]
        if "\0" in request.path:
            return page_not_found(request)
        return self.get_response(request)


class HtmxRedirects:
    """A redirect answered to htmx becomes a whole-page visit. Else the browser follows it unseen and htmx swaps that
    page, often the sign-in form, into a corner of this one. After signing in the reader is back on the page."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if request.headers.get("HX-Request") != "true" or not 300 <= response.status_code < 400:
            return response
        target = response.headers.get("Location")
        if not target:
            return response  # 304
        visit = HttpResponse(status=204)
        visit.cookies = response.cookies
        visit["HX-Redirect"] = _return_to_page(request, target)
        return visit


class WrongMethods:
    """Django answers a method that a view does not have with nothing at all; people get a page that says so."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if response.status_code != 405 or response.content:
            return response
        page = error_page(request, 405)
        page["Allow"] = response["Allow"]
        return page


def _return_to_page(request: HttpRequest, target: str) -> str:
    parts = urlsplit(target)
    if parts.path != resolve_url(settings.LOGIN_URL):
        return target
    try:
        page = urlsplit(request.headers.get("HX-Current-URL", ""))
    except ValueError:  # no browser sends an address that cannot be read
        page = urlsplit("")
    path = urlunsplit(("", "", page.path, page.query, ""))
    if page.netloc != request.get_host() or not path.startswith("/") or path.startswith("//"):
        path = "/"
    return f"{parts.path}?{urlencode({REDIRECT_FIELD_NAME: path})}"
