from typing import Any

import pytest
from django.template import engines
from django.test import RequestFactory

from portal.core import htmx


@pytest.fixture(autouse=True)
def _templates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(htmx, "render_to_string", lambda name, context, request: f"{name} {context}")


def ask(**headers: str) -> Any:
    request = RequestFactory().get("/jobs/", headers={name.replace("_", "-"): value for name, value in headers.items()})
    return htmx.respond(request, "page", "fragment", {"a": 1}, etag="v7")


@pytest.mark.parametrize(
    ("headers", "template"),
    [
        ({}, "page"),
        ({"HX_Request": "true"}, "fragment"),
        ({"HX_Request": "true", "HX_Request_Type": "partial"}, "fragment"),
        ({"HX_Request": "true", "HX_Request_Type": "full"}, "page"),
        ({"HX_Request": "true", "HX_Boosted": "true"}, "page"),
        ({"HX_Request": "true", "HX_History_Restore_Request": "true"}, "page"),
        ({"HX_History_Restore_Request": "true", "HX_Request_Type": "full"}, "page"),
    ],
)
def test_fragment_only_where_htmx_swaps_just_that(headers: dict[str, str], template: str) -> None:
    response = ask(**headers)
    assert (response.status_code, response.content, response["Vary"]) == (
        200,
        f"{template} {{'a': 1}}".encode(),
        "HX-Request, HX-Request-Type",
    )
    assert response.get("HX-PTag") == ("v7" if template == "fragment" else None)


def test_poll_that_already_shows_the_version_gets_304_without_a_body() -> None:
    response = ask(HX_Request="true", HX_Request_Type="partial", HX_PTag="v7")
    assert (response.status_code, response.content, response["HX-PTag"]) == (304, b"", "v7")


def test_poll_with_an_older_version_gets_the_fragment() -> None:
    assert ask(HX_Request="true", HX_PTag="v6").content == b"fragment {'a': 1}"


def test_version_header_without_htmx_means_nothing() -> None:
    assert ask(HX_PTag="v7").content == b"page {'a': 1}"


def test_the_engine_knows_the_built_in_tags() -> None:
    assert (
        engines["django"].from_string("{{ 1200|yen }}{% badge 'x' %}").render()
        == '¥1,200<span class="badge plain">x</span>'
    )
