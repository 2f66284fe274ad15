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
    "running": ("実行中", ["受付", "待機中"], ["複製して作成", "+1時間", "停止"], "", "step "),
    "done": (
        "完了", ["受付", "待機中", "実行中", "成果物の保存", "完了"], ["複製して作成"], "",
        "Saved counts.csv (16 rows) and summary.json.",
    ),
    "failed": (
        "失敗", ["受付", "待機中", "実行中", "成果物の保存"], ["複製して作成"],
        "Pythonプログラムが例外で終了しました。", "KeyError: 'hidden_size'",
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


def test_without_script_nothing_is_called_live_and_reloading_is_offered(
    jobs_under_way: World, page_for: Callable[..., Page]
) -> None:
    page = page_for(javascript=False, width=390)
    sign_in_as("owner", page, jobs_under_way)
    page.goto(jobs_under_way.address("/jobs/{running}/"))
    foot = page.inner_text("#log-foot").split("\n")
    assert [foot[0], len(foot)] == ["最新の行は再読み込みで表示されます", 2]  # and how many lines there are
    page.click("#job-live .page-head a:text('最新の状態は再読み込みで表示されます')")
    assert page.inner_text("#job-live h1 + .badge").strip() == "実行中"
    page.goto(jobs_under_way.address("/jobs/{done}/"))
    assert page.locator("a:text('再読み込み')").count() == 0


@pytest.mark.parametrize("language", ["ja", "en"])
def test_a_phone_shows_every_tab_and_every_day_at_once(
    language: str, jobs_under_way: World, page_for: Callable[..., Page]
) -> None:
    page = page_for(javascript=False, width=390, language=language)
    sign_in_as("owner", page, jobs_under_way)
    beyond = (
        "all => all.filter(one => { const at = one.getBoundingClientRect(); return at.left < 0 || at.right > 390; })"
    )
    page.goto(jobs_under_way.address("/jobs/{done}/config/"))
    assert page.locator(".tabs a").count() == 4
    assert page.eval_on_selector_all(".tabs a", beyond) == []
    page.goto("/usage/")
    assert page.locator(".chart.days .day").count() >= 28
    assert page.eval_on_selector_all(".chart.days rect, .chart.days text", beyond) == []


def test_the_ticks_of_other_plans_stay_with_their_plans(jobs_under_way: World, page_for: Callable[..., Page]) -> None:
    """The list beside them changes with every plan that is chosen; what is sent is what the person ticked."""
    page = page_for(language="en")
    sign_in_as("owner", page, jobs_under_way)
    page.goto(jobs_under_way.address("/jobs/new/?template=failing&offering=dok-h100"))

    def choose(plan: str) -> None:
        with page.expect_response(lambda answer: "/jobs/new/quote/" in answer.url):
            page.check(f'input[name="offering"][value="{plan}"]')
        while page.locator(".htmx-request").count():
            page.wait_for_timeout(50)

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


def _take_pictures(page: Page, name: Path) -> None:
    for width in (1440, 390):
        page.set_viewport_size({"width": width, "height": 900})
        for theme in ("light", "dark"):
            page.evaluate("theme => { document.documentElement.dataset.theme = theme; }", theme)
            page.screenshot(path=name.with_name(f"{name.name}-{width}-{theme}.png"), full_page=True)
