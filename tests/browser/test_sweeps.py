"""A sweep from the form to its table of results, by a person in a browser."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser import acts
from tests.browser.walk import sign_in_as
from tests.browser.world import World

pytestmark = pytest.mark.browser


def test_a_sweep_becomes_a_table_of_results(world: World, page_for: Callable[..., Page]) -> None:
    page = page_for()
    sign_in_as("owner", page, world)
    code = acts.sweep(page, parameters="SEED = 1..3", name="種の探索")
    expect(page.locator("#far-h")).to_have_text("3 件のうち 3 件が終了", timeout=90_000)  # by itself
    page.goto(f"/jobs/sweeps/{code}/?sort=loss")
    rows = page.locator("#sweep tbody tr")
    cells = [[cell.strip() for cell in row.locator("th, td").all_inner_texts()] for row in rows.all()]
    assert [(int(row[0].split()[0]), row[1], row[2], row[3]) for row in cells] == [
        (3, "3", "完了", "0.25"), (2, "2", "完了", "0.3333"), (1, "1", "完了", "0.5"),
    ]  # fmt: skip
    total = acts.yen(page.locator("section:has(#far-h) header").inner_text())
    assert total == sum(acts.yen(row[-1]) for row in cells)
    with page.expect_download() as download:
        page.click("a[href$='tasks.csv']")
    lines = download.value.path().read_text("utf-8-sig").splitlines()
    assert (len(lines), re.split(",", lines[0])[:2]) == (4, ["タスク", "SEED"])
    rows.first.locator("a").click()
    expect(page.locator("main a[href*='/jobs/sweeps/']").first).to_have_text(re.compile("種の探索"))
