"""Every page, in Japanese and English, light and dark, wide and narrow: nothing for axe-core to report.

The markup is the same in every look, so every run has each page wide and light in Japanese, narrow and dark in English.
    .venv/bin/python -m pytest tests/browser/test_pages.py -m pages_full     # each language, width and theme
SCREENSHOTS=folder keeps a picture of each look.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.urls import URLPattern, URLResolver, get_resolver
from playwright.sync_api import Page, Response

from tests.browser.walk import DRAWN_ERRORS, NO_PAGE, WALK, drawn_error, sign_in_as
from tests.browser.world import World

pytestmark = pytest.mark.browser

AXE = Path(__file__).parent / "vendor" / "axe-core" / "axe.min.js"
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
# A theme changes colours and nothing else, so the second look asks only about these.
COLOURS = ["color-contrast", "link-in-text-block"]
# What stands in a frame of ours has no scripts, so none could look at it from inside.
LOOK = """async (runOnly) => {
  const found = await axe.run(document, {runOnly, resultTypes: ["violations"], preload: false, iframes: false});
  return found.violations.flatMap(v => v.nodes.map(n => `${v.id} at ${n.target.join(" ")}: ${n.failureSummary}`));
}"""
OVERFLOW = "document.scrollingElement.scrollWidth - document.scrollingElement.clientWidth"
SCREENSHOTS = os.environ.get("SCREENSHOTS")
WIDE, NARROW = 1440, 390
THEMES = ("light", "dark")
LOOKS = [
    ("ja", (WIDE,), ("light",)),
    ("en", (NARROW,), ("dark",)),
    pytest.param("ja", (WIDE, NARROW), THEMES, marks=pytest.mark.pages_full),
    pytest.param("en", (WIDE, NARROW), THEMES, marks=pytest.mark.pages_full),
]

FIRST_VIEW = {
    "catalog": "/catalog/", "jobs": "/jobs/", "job": "/jobs/{done}/", "usage": "/usage/", "datasets": "/datasets/",
}  # fmt: skip
MOST_BYTES, MOST_REQUESTS = 60_000, 12


def test_every_url_name_is_on_the_walk_or_said_to_have_no_page() -> None:
    walked = {stop.name for stops in WALK.values() for stop in stops if not stop.name.startswith("error ")}
    pageless = {name for names in NO_PAGE.values() for name in names}
    assert walked & pageless == set()
    assert set(_names(get_resolver())) == walked | pageless


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("language", "widths", "themes"), LOOKS)
def test_no_page_has_a_violation_or_scrolls_sideways(
    language: str,
    widths: tuple[int, ...],
    themes: tuple[str, ...],
    jobs_under_way: World,
    page_for: Callable[..., Page],
) -> None:
    world, problems = jobs_under_way, []
    for persona, stops in WALK.items():
        page = page_for(language=language)
        page.context.add_cookies([{"name": "django_language", "value": language, "url": world.portal.url}])
        _prepare(page)
        sign_in_as(persona, page, world)
        for stop in stops:
            page.set_viewport_size({"width": WIDE, "height": 900})
            stop.open(page, world, persona)
            assert page.get_attribute("html", "lang") == language
            problems += look(page, f"{language} {stop.label}", widths, themes)
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("language", ["ja", "en"])
def test_error_pages_of_an_unwell_portal_have_no_violation(
    language: str, world: World, page_for: Callable[..., Page]
) -> None:
    page = page_for(language=language)
    _prepare(page)
    problems: list[str] = []
    for status in DRAWN_ERRORS:
        _show_at(page, f"/drawn/{status}/", drawn_error(status, language=language))
        problems += look(page, f"{language} error {status} drawn", (WIDE, NARROW), THEMES)
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("name", FIRST_VIEW)
def test_first_view_is_light(name: str, world: World, page_for: Callable[..., Page]) -> None:
    signed_in = page_for()
    sign_in_as("owner", signed_in, world)
    page = page_for()  # a browser that has nothing of ours yet but the session
    page.context.add_cookies(signed_in.context.cookies())  # type: ignore[arg-type]
    responses: list[Response] = []
    page.on("response", lambda response: responses.append(response))  # a builtin cannot be a listener
    page.goto(world.address(FIRST_VIEW[name]), wait_until="load")
    sizes = {r.url: r.request.sizes()["responseBodySize"] for r in responses}
    assert sum(sizes.values()) <= MOST_BYTES, sizes
    assert len(responses) <= MOST_REQUESTS, sizes


def look(page: Page, label: str, widths: tuple[int, ...], themes: tuple[str, ...]) -> list[str]:
    """What is wrong with the page that is open, at these widths in these themes, and at the narrowest that is read."""
    problems = []
    for width in widths:
        page.set_viewport_size({"width": width, "height": 900})
        for theme in themes:
            first = {"type": "tag", "values": TAGS}
            rules = first if theme == themes[0] else {"type": "rule", "values": COLOURS}
            page.evaluate("theme => { document.documentElement.dataset.theme = theme; }", theme)
            problems += [f"{label} {width} {theme}: {line}" for line in page.evaluate(LOOK, rules)]
            if SCREENSHOTS:
                name = f"{label} {width} {theme}".replace(" ", "-").replace(":", "-")
                page.screenshot(path=Path(SCREENSHOTS) / f"{name}.png", full_page=True)
    page.set_viewport_size({"width": 320, "height": 900})
    if over := page.evaluate(OVERFLOW):
        problems.append(f"{label} 320: {over} px beyond the right edge")
    return problems


def _prepare(page: Page) -> None:
    page.add_init_script(path=AXE)
    page.emulate_media(reduced_motion="reduce")  # else a colour is looked at on its way to another


def _show_at(page: Page, path: str, body: str) -> None:
    page.route(f"**{path}", lambda route: route.fulfill(body=body, content_type="text/html"))
    page.goto(path)


def _names(resolver: URLResolver, namespace: str = "") -> Iterator[str]:
    for entry in resolver.url_patterns:
        if isinstance(entry, URLResolver):
            yield from _names(entry, namespace + (f"{entry.namespace}:" if entry.namespace else ""))
        elif isinstance(entry, URLPattern):
            yield f"{namespace}{entry.name}"
