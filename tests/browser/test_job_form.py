"""The job form in a browser: what its script must not change behind the person's back."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page

from tests.browser.walk import sign_in_as
from tests.browser.world import World

pytestmark = pytest.mark.browser


def test_the_ticks_of_other_plans_stay_with_their_plans(jobs_under_way: World, page_for: Callable[..., Page]) -> None:
    """The list beside them changes with every plan that is chosen; what is sent is what the person ticked."""
    page = page_for(language="en")
    sign_in_as("owner", page, jobs_under_way)
    page.goto(jobs_under_way.address("/jobs/new/?template=failing&offering=dok-h100"))

    def choose(plan: str) -> None:
        with page.expect_response(lambda answer: "/jobs/new/quote/" in answer.url):
            page.check(f'input[name="offering"][value="{plan}"]')
        page.wait_for_function("document.querySelectorAll('.htmx-request').length === 0")

    def ticked() -> list[str]:
        return page.eval_on_selector_all('[name="alternatives"]:checked', "found => found.map(box => box.value)")

    with page.expect_response(lambda answer: "/jobs/new/quote/" in answer.url):
        page.check('input[name="alternatives"][value="dok-v100"]')
    assert ticked() == ["dok-v100"]
    choose("dok-v100")
    assert ticked() == []
    choose("demo-gb200")
    offered = page.eval_on_selector_all('[name="alternatives"]', "found => found.map(box => box.value)")
    assert (page.input_value("#id_gpus"), [plan for plan in offered if plan.startswith("dok")], ticked()) == (
        "4",
        [],
        [],
    )
