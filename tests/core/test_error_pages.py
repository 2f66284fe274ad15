import pytest
from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.test import RequestFactory
from structlog.contextvars import bound_contextvars

from portal.core import error_pages
from portal.home import views as home


@pytest.mark.parametrize(
    ("view", "status"),
    [
        (error_pages.bad_request, 400), (home.permission_denied, 403), (error_pages.page_not_found, 404),
        (error_pages.too_many_requests, 429), (error_pages.server_error, 500), (error_pages.csrf_failure, 403),
    ],
)  # fmt: skip
def test_error_page_needs_no_database(view, status: int) -> None:  # type: ignore[no-untyped-def]
    # No `db` fixture: pytest-django fails this test on any query.
    response = view(RequestFactory().get("/x/", headers={"Cookie": "theme=dark"}))
    assert response.status_code == status
    assert b'data-theme="dark"' in response.content
    assert (b"csrfmiddlewaretoken" in response.content) == (status < 500)


def test_unavailable_page_speaks_both_languages() -> None:
    html = error_pages.error_page(RequestFactory().get("/"), 503).content.decode()
    assert ('lang="ja"' in html, 'lang="en"' in html) == (True, True)


def test_too_much_sent_is_another_page_than_what_cannot_be_read() -> None:
    request, reasons = RequestFactory().post("/x/"), (RequestDataTooBig(), SuspiciousOperation(), None)
    assert [error_pages.bad_request(request, why).status_code for why in reasons] == [413, 400, 400]


def test_an_error_page_names_the_request_for_the_support_desk() -> None:
    with bound_contextvars(request_id="3f2a-77"):
        html = error_pages.server_error(RequestFactory().get("/x/")).content.decode()
    assert "3f2a-77" in html


def test_a_theme_that_does_not_exist_is_no_theme() -> None:
    request = RequestFactory().get("/x/", headers={"Cookie": 'theme="><script>'})
    html = error_pages.page_not_found(request).content.decode()
    assert ('data-theme="auto"' in html, "><script>" in html) == (True, False)
