from __future__ import annotations

import time
from collections.abc import Callable

from allauth.usersessions.models import UserSession
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

ALLAUTH = ("account_", "mfa_", "usersessions_")


class FormErrors:
    """allauth shows a form with errors as 200; here it is 422 like everywhere in the portal.

    It answers what was accepted with a redirect, so a page after a POST is always a form sent back.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        match = request.resolver_match
        if (
            request.method == "POST"
            and response.status_code == 200
            and match
            and (match.url_name or "").startswith(ALLAUTH)
            and response.get("Content-Type", "").startswith("text/html")
        ):
            response.status_code = 422
        return response


class LastSeen:
    """When a signed-in browser was here last, to a few minutes. allauth's own tracking reads and writes at each
    request; here each process writes once per browser and while."""

    EVERY_S = 300
    MOST = 10_000  # sessions remembered, then it begins anew

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        self.written: dict[str, float] = {}

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        key, now = request.session.session_key, time.monotonic()
        if key and response.status_code < 500:  # else the database may be away
            if len(self.written) >= self.MOST:
                self.written.clear()
            # Signing in wrote the first time.
            if now - self.written.setdefault(key, now) >= self.EVERY_S and request.user.is_authenticated:
                self.written[key] = now
                UserSession.objects.filter(session_key=key).update(last_seen_at=timezone.now())
        return response
