from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from portal.home import views

PROBES = {"/healthz": views.healthz, "/readyz": views.readyz}


class Probes:
    """Load balancers and kubelets ask by IP address and without TLS: answered before Host and scheme are checked."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return PROBES.get(request.path, self.get_response)(request)
