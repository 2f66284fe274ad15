from __future__ import annotations

from typing import Any

import pytest
from django.http import HttpResponse, JsonResponse
from django.test import RequestFactory
from django.urls import resolve

from portal.accounts.middleware import FormErrors


def status(method: str, path: str, response: HttpResponse) -> int:
    request: Any = getattr(RequestFactory(), method)(path)
    request.resolver_match = resolve(path)
    return FormErrors(lambda request: response)(request).status_code


@pytest.mark.parametrize(
    ("method", "path", "response", "expected"),
    [
        ("post", "/account/login/", HttpResponse("form"), 422),
        ("get", "/account/login/", HttpResponse("form"), 200),
        ("post", "/account/login/", HttpResponse(status=302), 302),
        ("post", "/account/login/", JsonResponse({}), 200),
        ("post", "/jobs/new/", HttpResponse("quote"), 200),
    ],
)
def test_a_form_sent_back_by_allauth_is_422(method: str, path: str, response: HttpResponse, expected: int) -> None:
    assert status(method, path, response) == expected


def test_an_address_that_no_page_has_is_left_alone() -> None:
    answer = FormErrors(lambda request: HttpResponse("early"))(RequestFactory().post("/account/login/"))
    assert answer.status_code == 200
