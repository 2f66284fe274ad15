from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from portal.core.middleware import HtmxRedirects, NoNul, PrivatePages


def redirected(location: str, *, status: int = 302, **headers: str) -> HttpResponse:
    def view(request: Any) -> HttpResponse:
        response = HttpResponse(status=status, headers={"Location": location} if location else {})
        response.set_cookie("kept", "1")
        return response

    request = RequestFactory().post("/jobs/new/", headers={n.replace("_", "-"): v for n, v in headers.items()})
    return HtmxRedirects(view)(request)


def test_redirect_to_htmx_becomes_a_visit_and_keeps_cookies() -> None:
    response = redirected("/jobs/J-1/", HX_Request="true")
    assert (response.status_code, response["HX-Redirect"], response.cookies["kept"].value) == (204, "/jobs/J-1/", "1")


def test_redirect_to_a_browser_stays_a_redirect() -> None:
    response = redirected("/jobs/J-1/")
    assert (response.status_code, response["Location"]) == (302, "/jobs/J-1/")


def test_304_is_no_redirect() -> None:
    assert redirected("", status=304, HX_Request="true").status_code == 304


@pytest.mark.parametrize(
    ("page", "next_"),
    [
        ("http://testserver/jobs/?state=running", "%2Fjobs%2F%3Fstate%3Drunning"),
        ("http://evil.example/jobs/", "%2F"),
        ("http://testserver//evil.example/", "%2F"),
        ("", "%2F"),
    ],
)
def test_after_signing_in_the_reader_is_back_on_the_page_that_polled(page: str, next_: str) -> None:
    response = redirected("/account/login/?next=/jobs/J-1/state/", HX_Request="true", HX_Current_URL=page)
    assert response["HX-Redirect"] == f"/account/login/?next={next_}"


def test_a_page_is_kept_by_no_cache_unless_its_view_says_so() -> None:
    def said(**headers: str) -> str:
        page = HttpResponse("page", headers=headers)
        return PrivatePages(lambda request: page)(RequestFactory().get("/"))["Cache-Control"]

    assert (said(), said(**{"Cache-Control": "max-age=60"})) == ("private, no-store", "max-age=60")


def test_an_address_with_nul_reaches_no_view_and_a_cookie_with_nul_is_dropped() -> None:
    seen: list[dict[str, str]] = []

    def view(request: HttpRequest) -> HttpResponse:
        seen.append(request.COOKIES)
        return HttpResponse("page")

    fine, hostile = RequestFactory().get("/jobs/"), RequestFactory().get("/jobs/a%00b/")
    fine.COOKIES = {"theme": "dark", "sessionid": "a\0"}
    statuses = [NoNul(view)(request).status_code for request in (fine, hostile)]
    assert (statuses, seen) == ([200, 404], [{"theme": "dark"}])
