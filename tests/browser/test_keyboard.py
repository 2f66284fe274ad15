"""The core flows without a mouse: what Tab reaches, what Enter and Space do, what Escape spares."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.walk import sign_in_as
from tests.browser.world import World

pytestmark = pytest.mark.browser

FOCUSED = "document.activeElement"


def test_from_the_skip_link_to_the_job_form_of_a_compared_plan(world: World, page_for: Callable[..., Page]) -> None:
    page = page_for()
    sign_in_as("owner", page, world)
    page.goto("/catalog/")
    page.keyboard.press("Tab")
    assert page.evaluate(f"{FOCUSED}.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate(f"{FOCUSED}.id") == "main"
    _tab_to(page, "#cmp-dok-h100")
    page.keyboard.press("Space")
    expect(page.locator("#cmp-t thead th")).to_have_count(1)
    assert page.evaluate(f"{FOCUSED}.id") == "cmp-dok-h100"  # the list was swapped under the focus
    _tab_to(page, "#cmp-t thead a.btn")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/jobs/new/\?.*offering=dok-h100"))
    assert page.locator("[name=offering]:checked").get_attribute("value") == "dok-h100"
    _tab_to(page, "[name=name]")
    page.keyboard.type("キーボードから")
    _tab_to(page, "[name=script]")
    page.keyboard.type("echo keyboard")
    _tab_to(page, "[name=image]")
    page.keyboard.type("python:3.11-slim")
    _tab_to(page, ".quote button.primary", most=120)
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/jobs/J-[^/]+/$"))
    expect(page.get_by_role("heading", level=1)).to_have_text("キーボードから")


def test_stop_dialog_offers_the_safe_way_first_and_escape_keeps_the_job(
    jobs_under_way: World, page_for: Callable[..., Page]
) -> None:
    page = page_for()
    sign_in_as("owner", page, jobs_under_way)
    page.goto(jobs_under_way.address("/jobs/{running}/"))
    opener = "#job-live [data-open='#stop']"
    _tab_to(page, opener)
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog#stop[open]")
    assert page.evaluate(f"{FOCUSED}.matches('dialog#stop [data-close]')")
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog#stop", state="hidden")
    assert page.evaluate(f"{FOCUSED}.matches({opener!r})")
    # A poll that swaps the page's head does not close the dialog over it, nor take the focus.
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog#stop[open]")
    with page.expect_response(lambda response: response.url.endswith(jobs_under_way.address("/jobs/{running}/"))):
        pass
    page.wait_for_timeout(300)
    assert page.evaluate(f"{FOCUSED}.matches('dialog#stop[open] [data-close]')")
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog#stop", state="hidden")
    page.reload()
    expect(page.locator("#job-live h1 + .badge")).to_have_text("実行中")
    expect(page.locator("#job-live .notice")).to_have_count(0)


def test_palette_goes_where_its_chosen_line_says(world: World, page_for: Callable[..., Page]) -> None:
    page = page_for()
    sign_in_as("owner", page, world)
    page.keyboard.press("Control+k")
    page.keyboard.type("データ")
    page.keyboard.press("Enter")
    page.wait_for_url("**/datasets/")


def _tab_to(page: Page, selector: str, *, most: int = 80) -> None:
    for _ in range(most):
        page.keyboard.press("Tab")
        if page.evaluate(f"selector => {FOCUSED}.matches(selector)", selector):
            return
    raise AssertionError(f"{selector} is not reached by {most} times Tab")
