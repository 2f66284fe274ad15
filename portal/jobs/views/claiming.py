from __future__ import annotations

import re

from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from portal.jobs import claims

_COPY = re.compile(r"[0-9A-Za-z-]{16,64}\Z")
_REMOTE_ID = re.compile(r"[0-9A-Za-z_.-]{0,100}\Z")


@csrf_exempt  # a machine asks: no session, no cookie, and the token in its address is all it needs
@require_POST
def claim(request: HttpRequest, token: str) -> HttpResponse:
    """May this copy of the job run? One word for people; machines read the status (portal.providers.bootstrap)."""
    code = claims.code_in(token)
    if code is None:
        return _said(404, "unknown")
    copy, remote_id = request.POST.get("copy", ""), request.POST.get("remote_id", "")
    if not _COPY.match(copy) or not _REMOTE_ID.match(remote_id):
        return _said(400, "malformed")
    answer = claims.claim(code, copy=copy, remote_id=remote_id)
    return _said(404, "unknown") if answer is None else _said(answer.value, answer.name.lower())


def _said(status: int, word: str) -> HttpResponse:
    return HttpResponse(f"{word}\n", status=status, content_type="text/plain; charset=utf-8")
