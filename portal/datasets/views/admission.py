"""Who sends: a browser by its session and CSRF token, or a terminal by `Authorization: Bearer`. Never both at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from allauth.usersessions.models import UserSession
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt, csrf_protect

from portal.datasets.models import Dataset
from portal.datasets.tokens import Scope, scope_of

View = Callable[..., HttpResponse]


def browser_or_terminal(view: View) -> View:
    """The person is `request.user` either way. Only a request without the header is asked for its CSRF token: no other
    site can make a browser send the header, and with it the cookie counts for nothing."""
    by_browser = csrf_protect(login_required(view))

    @csrf_exempt
    @wraps(view)
    def wrapped(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        said = request.headers.get("Authorization")
        if said is None:
            return by_browser(request, *args, **kwargs)
        scheme, _space, token = said.partition(" ")
        scope = scope_of(token.strip()) if scheme.lower() == "bearer" else None
        if scope is None:
            sentence = _("This upload command has expired or was taken back. Make a new one: what has arrived is kept.")
            answer = JsonResponse({"error": sentence}, status=401)
            answer["WWW-Authenticate"] = "Bearer"
            return answer
        request.user = scope.user
        request.upload_scope = scope  # type: ignore[attr-defined]
        return view(request, *args, **kwargs)

    return wrapped


def session_of(request: HttpRequest) -> UserSession:
    """The browser's, which tokens made in it end with."""
    UserSession.objects.create_from_request(request)  # where the browser signed in before we kept a row of it
    return UserSession.objects.get(session_key=request.session.session_key)


def scope_in(request: HttpRequest) -> Scope | None:
    """None: a browser, which reaches whatever its person does."""
    return getattr(request, "upload_scope", None)


def is_covered(request: HttpRequest, dataset: Dataset) -> bool:
    scope = scope_in(request)
    return scope is None or scope.covers(dataset)
