"""Who may come to the staff desk: our own people, after a second step of signing in. For others it does not exist."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from allauth.account.authentication import get_authentication_records
from allauth.account.decorators import reauthentication_required
from allauth.mfa.models import Authenticator
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import AnonymousUser
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.http import urlencode

from portal.accounts.models import User

View = Callable[..., HttpResponse]
_SECOND_STEPS = (Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN)


def at_desk(view: View) -> View:
    """Signed in with a second step, in this session; what is sent asks who it is again after five minutes."""
    acting: View = reauthentication_required(allow_get=True, app="portal.accounts")(view)

    @login_required
    @wraps(view)
    def wrapped(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not has_desk(request.user):
            raise Http404
        if not any(record.get("method") == "mfa" for record in get_authentication_records(request, request.user)):
            # Signed in before the second step was set up: it is taken now, and the page is shown then.
            by_code = _has(request.user, Authenticator.Type.TOTP)
            step = reverse("mfa_reauthenticate" if by_code else "mfa_reauthenticate_webauthn")
            return redirect(f"{step}?{urlencode({'next': request.get_full_path()})}")
        return acting(request, *args, **kwargs)

    return wrapped


def has_desk(user: User | AnonymousUser) -> bool:
    """Staff with a second step set up. One query for staff, none for others."""
    return isinstance(user, User) and user.is_active and user.is_staff and _has(user, *_SECOND_STEPS)


def _has(user: Any, *kinds: str) -> bool:
    return bool(Authenticator.objects.filter(user=user, type__in=kinds).exists())
