"""The five faces of a job's page: what each says, and that its parts agree. SCREENSHOTS=folder keeps the pictures."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.browser.walk import sign_in_as
from tests.browser.world import WAITS_FOR_ANOTHER, World

pytestmark = pytest.mark.browser

# badge; headings of the timeline that are behind it; buttons; what the notice above says; the last line of the log
FACES = {
    "waiting": ("待機中", ["受付"], ["複製して作成", "停止"], WAITS_FOR_ANOTHER, ""),
    "running": ("実行中", ["受付", "待機中"], ["複製して作成", "停止"], "", "step "),
    "done": (
        "完了", ["受付", "待機中", "実行中", "成果物の保存", "完了"], ["複製して作成"], "",
        "Saved counts.csv (16 rows) and summary.json.",
    ),
    "failed": (
        "失敗", ["受付", "待機中", "実行中", "成果物の保存"], ["複製して作成"],
        "プログラムがエラーで終了しました。", "KeyError: 'hidden_size'",
    ),
    "stopped": (
        "停止済み", ["受付", "待機中", "実行中", "成果物の保存"], ["複製して作成"],
        "ジョブを停止しました。", "Asked to stop: saved checkpoint.json at step ",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = Path(os.environ.get("SCREENSHOTS") or tmp_path_factory.mktemp("faces"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.mark.parametrize("face", FACES)
def test_page_of_a_job(face: str, jobs_under_way: World, page_for: Callable[..., Page], pictures: Path) -> None:
    badge, behind, buttons, notice, last_line = FACES[face]
    page = page_for()
    page.emulate_media(reduced_motion="reduce")
    sign_in_as("owner", page, jobs_under_way)
    page.goto(jobs_under_way.address(f"/jobs/{{{face}}}/"))
    if last_line:
        page.wait_for_selector("#log-lines li")
    _take_pictures(page, pictures / face)
    steps = page.locator("#job-live .tl li.done b").all_inner_texts()
    notices = page.locator("#job-live .notice").all_inner_texts()
    lines = page.locator("#log-lines li .t, #log-lines li").all_inner_texts()
    assert page.inner_text("#job-live h1 + .badge").strip() == badge
    assert steps == behind
    assert [b.strip() for b in page.locator("#job-live .page-head .actions .btn").all_inner_texts()] == buttons
    assert len(notices) == bool(notice) and "".join(notices).startswith(notice)
    assert last_line in (lines[-1] if lines else "")
    # What still moves asks for news by itself; what is final does not.
    moving = face in ("waiting", "running")
    assert page.locator("#job-live[hx-get]").count() == moving
    assert page.locator("#log-foot[hx-get]").count() == moving


def _take_pictures(page: Page, name: Path) -> None:
    for width in (1440, 390):
        page.set_viewport_size({"width": width, "height": 900})
        for theme in ("light", "dark"):
            page.evaluate("theme => { document.documentElement.dataset.theme = theme; }", theme)
            page.screenshot(path=name.with_name(f"{name.name}-{width}-{theme}.png"), full_page=True)
