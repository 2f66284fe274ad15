from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

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
